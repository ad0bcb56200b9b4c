"""Rules about the sections of the actions after training: `evaluate.*`, `export.*` and so on."""

from __future__ import annotations

from typing import Any

from dino_api.actions import ACTIONS, ActionFacts
from dino_api.base import Section
from dino_api.experiment.spec import ExperimentSpec
from dino_api.names import WEIGHTS_ALONE, Action
from dino_api.rules.experiment.rule import (
    HOLDS,
    NAME_S3,
    ONE_PROCESS,
    PATH_OR_S3,
    Rule,
    breaks,
    fixed,
    names_store,
    value_of,
)

_ENGINE = "gen_trt_engine.tensorrt"


def _places(facts: ActionFacts) -> tuple[str, ...]:
    """Keys of the section that name a file or a folder. Where the resource decides them, the API
    server refuses them for that."""
    return (*facts.model_keys, *facts.writes, "results_dir")


def _place(action: Action, leaf: str) -> Rule:
    id, path = f"{action}-{leaf}-uri".replace("_", "-"), f"{action}.{leaf}"
    return Rule(id, path, PATH_OR_S3, NAME_S3, names_store(path))


def _one_model(facts: ActionFacts) -> Rule:
    keys, action = facts.model_keys, facts.action

    def check(spec: ExperimentSpec) -> object:
        given = [name for name in keys if value_of(spec, f"{action}.{name}")]
        return breaks(len(given) > 1, ", ".join(given))

    must = f"must be the only model that is named, of {', '.join(keys[:-1])} and {keys[-1]}"
    return Rule(f"{action}-one-model", f"{action}.{keys[0]}", must, "Leave the others out.", check)


def _both_sides(action: Action) -> Rule:
    def check(spec: ExperimentSpec) -> object:
        width, height = (value_of(spec, f"{action}.input_{side}") for side in ("width", "height"))
        return breaks((width is None) != (height is None), width)

    return Rule(
        f"{action}-size",
        f"{action}.input_width",
        "and input_height must be given together",
        "Give both, or leave both out.",
        check,
        cel="has(self.input_width) == has(self.input_height)",
    )


def _no_empty_batch(action: Action) -> Rule:
    return Rule(
        f"{action}-batch",
        f"{action}.batch_size",
        "must be -1, or 1 and more",
        "Leave it out.",
        lambda spec: breaks(value_of(spec, f"{action}.batch_size") == 0, 0),
        cel="{batch_size} != 0",
    )


def _empty(id: str, path: str, remedy: str) -> Rule:
    """A list of TAO's that this release does not read: only the empty one is accepted."""
    leaf = path.rpartition(".")[2]
    return Rule(
        id,
        path,
        "must be empty in this release",
        remedy,
        lambda spec: breaks(bool(value_of(spec, path)), _shown(value_of(spec, path))),
        cel=f"!has(self.{leaf}) || size(self.{leaf}) == 0",
    )


def _shown(values: list[Any]) -> list[Any]:
    return [one.model_dump() if isinstance(one, Section) else one for one in values]


def _opset(spec: ExperimentSpec) -> object:
    return breaks(spec.export.opset_version not in (17, 18), spec.export.opset_version)


def _batches(spec: ExperimentSpec) -> object:
    engine = spec.gen_trt_engine.tensorrt
    rising = engine.min_batch_size <= engine.opt_batch_size <= engine.max_batch_size
    return breaks(not rising, engine.opt_batch_size)


def _backend(spec: ExperimentSpec) -> object:
    return breaks(spec.quantize.backend not in ("onnxruntime", "torchao"), spec.quantize.backend)


def _mode(spec: ExperimentSpec) -> object:
    section = spec.quantize
    of_weights = section.mode == WEIGHTS_ALONE
    return breaks((section.backend == "torchao") != of_weights, section.mode)


def _algorithm(spec: ExperimentSpec) -> object:
    section = spec.quantize
    entropy = section.algorithm == "entropy" and section.backend == "onnxruntime"
    return breaks(section.algorithm != "minmax" and not entropy, section.algorithm)


def _processes(action: Action) -> Rule:
    path, gpus = f"{action}.num_processes", f"{action}.num_gpus"
    return Rule(
        f"{action}-processes",
        path,
        ONE_PROCESS,
        f"Leave it out, or set {gpus} to 0.",
        lambda spec: breaks(
            value_of(spec, path) > 1 and value_of(spec, gpus) > 0, value_of(spec, path)
        ),
    )


def _bindings(spec: ExperimentSpec) -> object:
    pairs = ((one.student_module_name, one.teacher_module_name) for one in spec.distill.bindings)
    return next((list(pair) for pair in pairs if not all(pair)), HOLDS)


_ALL = tuple(ACTIONS.values())
_LATER = tuple(each for each in _ALL if each.action is not Action.TRAIN)

ACTION_RULES: tuple[Rule, ...] = (
    *(_place(each.action, leaf) for each in _LATER for leaf in _places(each)),
    *(_one_model(each) for each in _ALL if len(each.model_keys) > 1),
    *(_both_sides(each.action) for each in _ALL if each.own_input),
    *(_no_empty_batch(each.action) for each in _ALL if each.own_input),
    *(_processes(each.action) for each in _ALL if each.several and not each.trains),
    fixed("export-format", "export.format", "onnx", "Leave it out."),
    fixed("export-channels", "export.input_channel", 3, "Leave it out; images are RGB."),
    fixed(
        "export-nvdsinfer",
        "export.serialize_nvdsinfer",
        False,
        "Leave it out; sizes, means and class names are in the metadata of the ONNX file.",
    ),
    Rule(
        "export-opset",
        "export.opset_version",
        "must be 17 or 18",
        "Leave it out for 17, which the most runtimes read.",
        _opset,
        cel="{opset_version} in [17, 18]",
    ),
    Rule(
        "engine-batches",
        f"{_ENGINE}.opt_batch_size",
        "must lie between min_batch_size and max_batch_size",
        "Write them rising, such as 1, 4 and 8.",
        _batches,
        cel="{min_batch_size} <= {opt_batch_size} && {opt_batch_size} <= {max_batch_size}",
    ),
    _empty(
        "layers-precision",
        f"{_ENGINE}.layers_precision",
        "Leave it out; quantize.skip_names keeps layers out of INT8.",
    ),
    Rule(
        "quantize-backend",
        "quantize.backend",
        "must be onnxruntime or torchao in this release",
        "Leave it out, and export the checkpoint first.",
        _backend,
        cel="{backend} in ['onnxruntime', 'torchao']",
    ),
    Rule(
        "quantize-mode",
        "quantize.mode",
        f"must be {WEIGHTS_ALONE} with backend torchao, static_ptq with onnxruntime",
        "For INT8 weights in a checkpoint set both; else leave both out.",
        _mode,
        cel=f"({{backend}} == 'torchao') == ({{mode}} == '{WEIGHTS_ALONE}')",
    ),
    Rule(
        "quantize-algorithm",
        "quantize.algorithm",
        "must be minmax, or entropy with onnxruntime",
        "Leave it out for minmax.",
        _algorithm,
        cel="{algorithm} in ({backend} == 'torchao' ? ['minmax'] : ['minmax', 'entropy'])",
    ),
    _empty(
        "quantize-layers",
        "quantize.layers",
        "Leave it out; what is quantized is chosen, and skip_names leaves more out.",
    ),
    Rule(
        "bindings-named",
        "distill.bindings",
        "must name student_module_name and teacher_module_name in each",
        "For example pred_logits for both.",
        _bindings,
        cel="!has(self.bindings) || self.bindings.all(one, one.?student_module_name.orValue('') "
        "!= '' && one.?teacher_module_name.orValue('') != '')",
    ),
)
