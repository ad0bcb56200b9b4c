"""Rules about the resource that depend on its action: data, parent, GPUs. CEL alone."""

from __future__ import annotations

from collections.abc import Iterable

from dino_api.actions import ACTIONS, DatasetSplit, needing, reading, taking_only
from dino_api.base import either
from dino_api.formats import CALLED, Format, endings
from dino_api.names import WEIGHTS_ALONE, Action
from dino_api.rules.resource.rule import ResourceRule, sources

_DATA = "spec.datasets"
_INT8 = (
    "self.?experiment.?gen_trt_engine.?tensorrt.?data_type.orValue('FP32') == 'INT8' && "
    "self.action == 'gen_trt_engine'"
)
_WEIGHTS = (
    "(self.action == 'quantize' && "
    f"self.?experiment.?quantize.?mode.orValue('') == '{WEIGHTS_ALONE}')"
)
_RANGES = f"(self.action == 'quantize' && !{_WEIGHTS}) || {_INT8}"
_TRAINS = needing(DatasetSplit.TRAIN)
_SCORES, _LOOKS = needing(DatasetSplit.TEST), needing(DatasetSplit.INFERENCE)
_MANY = tuple(each.action for each in ACTIONS.values() if each.several)

SOURCE_RULES: tuple[ResourceRule, ...] = (
    *(
        rule
        for part in DatasetSplit
        if part is not DatasetSplit.INFERENCE
        for rule in sources(f"{_DATA}.{part}[]", ("images", "annotations"))
    ),
    *sources(f"{_DATA}.inference", ("images", "classmap")),
)


def _in(actions: Iterable[str]) -> str:
    quoted = ", ".join(f"'{each}'" for each in actions)
    return f"self.action in [{quoted}]"


def _words(actions: Iterable[str]) -> str:
    *most, last = actions
    return f"{', '.join(most)} and {last}" if most else last


def _has_data(part: str) -> str:
    return f"(has(self.datasets) && has(self.datasets.{part}))"


def _needed(part: str, who: str, remedy: str, asked: str, otherwise: str = "false") -> ResourceRule:
    return ResourceRule(
        f"{part}-data-needed",
        "spec",
        f"datasets.{part}",
        f"must be given for {who}",
        remedy,
        f"!({asked}) || {_has_data(part)} || {otherwise}".removesuffix(" || false"),
    )


def _unread(part: str, who: str, asked: str) -> ResourceRule:
    return ResourceRule(
        f"{part}-data-unread",
        "spec",
        f"datasets.{part}",
        f"is read by {who} only",
        "leave it out",
        f"!{_has_data(part)} || {asked}",
    )


_HELD_OUT = (
    "name images that are not trained on; the training data itself may be named, which flatters "
    "the result"
)
# A job without any data takes the smoke profile, or is refused for that.
_PROFILE = "(self.action == 'train' && !has(self.datasets))"

DATA_RULES: tuple[ResourceRule, ...] = (
    _needed("train", _words(_TRAINS), "add its URI", _in(_TRAINS), _PROFILE),
    _needed("validation", _words(_TRAINS), _HELD_OUT, _in(_TRAINS), _PROFILE),
    _needed("test", _words(_SCORES), "name the data to score on", _in(_SCORES)),
    _needed("inference", _words(_LOOKS), "name images and a class map", _in(_LOOKS)),
    _needed(
        "calibration",
        f"quantize without mode {WEIGHTS_ALONE}, and for gen_trt_engine with data_type INT8 "
        "without a parent",
        "name a few hundred images like those that the model will see, or the quantize job as "
        "spec.parent",
        # A parent's file may be quantized already; once it is known not to be, the job is refused.
        f"(self.action == 'quantize' && !{_WEIGHTS}) || ({_INT8} && !has(self.parent))",
    ),
    *(
        _unread(part, _words(reading(part)), _in(reading(part)))
        for part in DatasetSplit
        if part is not DatasetSplit.CALIBRATION
    ),
    _unread(
        "calibration",
        f"quantize without mode {WEIGHTS_ALONE}, and by gen_trt_engine with data_type INT8,",
        _RANGES,
    ),
)


def _alone(field: str, most: Iterable[Action], remedy: str) -> ResourceRule:
    allowed = tuple(most)
    return ResourceRule(
        f"{field}-of-action",
        "spec",
        f"resources.{field}",
        f"may be above 1 for {_words(allowed)} only",
        remedy,
        f"self.?resources.?{field}.orValue(1) <= 1 || {_in(allowed)}",
    )


SHAPE_RULES: tuple[ResourceRule, ...] = (
    _alone("nodes", _MANY, "other actions run in one pod; leave it out"),
    _alone("gpus", _MANY, "other actions run in one process; give 1 or 0"),
    _alone("processes", _MANY, "other actions run in one process; leave it out"),
    ResourceRule(
        "engine-gpu",
        "spec",
        "resources.gpus",
        "must be 1 for gen_trt_engine",
        "a TensorRT engine is built on a GPU of the kind that it will run on; leave it out",
        "self.action != 'gen_trt_engine' || self.?resources.?gpus.orValue(1) == 1",
    ),
)


def _choice(ends: Iterable[str]) -> str:
    return "|".join(each.removeprefix(".") for each in ends)


def _takes(model: Format, who: str, asked: str, remedy: str) -> ResourceRule:
    """A file of that format must be named as the parent where CEL says `asked`."""
    ends = endings(model)
    return ResourceRule(
        f"parent-{model}",
        "spec",
        "parent.uri",
        f"must be {CALLED[model]} ({either(ends)}) for {who}",
        remedy,
        f"!self.?parent.?uri.hasValue() || !({asked}) || "
        f"self.parent.uri.matches('[.](?i:{_choice(ends)})$')",
    )


_FROM_CHECKPOINT, _FROM_ONNX = taking_only("checkpoint"), taking_only("onnx")

PARENT_RULES: tuple[ResourceRule, ...] = (
    ResourceRule(
        "parent-one",
        "spec.parent",
        "",
        "must have a name or a uri",
        "name the job or search whose model is used, or give the s3:// URI of a model file",
        "has(self.name) != has(self.uri)",
    ),
    ResourceRule(
        "parent-kind",
        "spec.parent",
        "kind",
        "does not go with uri",
        "leave it out",
        "!has(self.kind) || !has(self.uri)",
    ),
    ResourceRule(
        "parent-uri",
        "spec.parent",
        "uri",
        f"must be an s3:// URI that ends in {either(endings())}",
        "the ending says what kind of model it is",
        "!has(self.uri) || "
        f"self.uri.matches('^s3://[a-z0-9][a-z0-9.-]+/.+[.](?i:{_choice(endings())})$')",
    ),
    _takes(
        "checkpoint",
        f"train, export, distill, and quantize with mode {WEIGHTS_ALONE}",
        f"{_in(_FROM_CHECKPOINT)} || {_WEIGHTS}",
        "name the training that the file was made from",
    ),
    _takes(
        "onnx",
        _words(_FROM_ONNX),
        f"{_in(_FROM_ONNX)} && !{_WEIGHTS}",
        "export the checkpoint first",
    ),
    ResourceRule(
        "teacher-needed",
        "spec",
        "parent",
        "must be given for distill",
        "name the job, search or checkpoint of the teacher",
        "self.action != 'distill' || has(self.parent)",
    ),
)

ACTION_JOB_RULES: tuple[ResourceRule, ...] = (*DATA_RULES, *SHAPE_RULES, *PARENT_RULES)


def _in_data(part: str) -> ResourceRule:
    remedy = _HELD_OUT if part == "validation" else "add its URI"
    return ResourceRule(
        f"{part}-data-needed", _DATA, part, "must be given", remedy, f"has(self.{part})"
    )


ACTION_TEMPLATE_RULES: tuple[ResourceRule, ...] = (
    _in_data("train"),
    _in_data("validation"),
    ResourceRule(
        "inference-data-unread",
        _DATA,
        "inference",
        "is not read by a search",
        "leave it out, and run inference on the winner by a DinoJob with spec.parent",
        "!has(self.inference)",
    ),
)
