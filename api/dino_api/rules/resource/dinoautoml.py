"""Rules about a DinoAutoML that the API server applies, in CEL.

What it cannot know (limits of a key, dead knobs, the size of a grid) stands in `rules.search`.
"""

from __future__ import annotations

from dataclasses import replace

from dino_api.actions import taking_only
from dino_api.names import LONGEST_SEARCH_NAME, LONGEST_SEARCHED_OUTPUT
from dino_api.resources.dinoautoml import DinoAutoMLSpec
from dino_api.rules.resource.dinojob import TEMPLATE_RULES, immutable
from dino_api.rules.resource.rule import ResourceRule

EDITABLE = ("suspend", "parallelTrials", "maxTrials", "maxFailedTrials")
TEMPLATE = "spec.template"
SEARCH = "spec.search"
_TRIALS = DinoAutoMLSpec.model_fields["max_trials"].default
_ITEM = f"{SEARCH}[]"


def below_template(text: str) -> str:
    """A scope or a sentence of a DinoJob as it reads in a DinoAutoML."""
    text = text.replace("use spec.parent", "it is the winner of the search")
    text = text.replace("use spec.datasets.inference", "a search does not read it")
    if text.startswith("spec."):
        return f"{TEMPLATE}.{text[5:]}"
    return text.replace(" spec.", f" {TEMPLATE}.")


def _in_template(rule: ResourceRule) -> ResourceRule:
    scope = TEMPLATE if rule.scope == "spec" else below_template(rule.scope)
    return replace(rule, scope=scope, remedy=below_template(rule.remedy))


def _katib(id: str, path: str, must: str, remedy: str, holds: str) -> ResourceRule:
    """What a search with engine Katib cannot do."""
    cel = f"self.?engine.orValue('Auto') != 'Katib' || {holds}"
    return ResourceRule(f"katib-{id}", "spec", path, must, remedy, cel)


_EMBEDDED = "use engine: Embedded, or Auto"

_ACTIONS = "(has(self.then) ? self.then.map(t, t.action) : [])"
_DATA = "self.template.?datasets"
_INT8 = (
    "self.template.?experiment.?gen_trt_engine.?tensorrt.?data_type.orValue('FP32') == 'INT8' && "
    f"'gen_trt_engine' in {_ACTIONS}"
)


def _follower(id: str, path: str, must: str, remedy: str, holds: str) -> ResourceRule:
    return ResourceRule(f"then-{id}", "spec", path, must, remedy, holds)


def _after_export(action: str) -> ResourceRule:
    """The first export comes before the first of them. Lists have no positions in CEL but this."""
    return _follower(
        f"{action.replace('_', '-')}-after-export",
        "then",
        f"must have an export before {action}",
        f"{action} reads the ONNX file that it leaves",
        f"[{_ACTIONS}].all(a, !('{action}' in a) || "
        f"('export' in a && a.indexOf('export') < a.indexOf('{action}')))",
    )


THEN_RULES: tuple[ResourceRule, ...] = (
    ResourceRule(
        "then-epochs",
        "spec.then[]",
        "epochs",
        "is for train",
        "leave it out",
        "!has(self.epochs) || self.action == 'train'",
    ),
    _follower(
        "test-data",
        "template.datasets.test",
        "must be given where then has evaluate",
        "name the data to score on",
        f"!('evaluate' in {_ACTIONS}) || {_DATA}.?test.hasValue()",
    ),
    _follower(
        "test-unread",
        "template.datasets.test",
        "is read by evaluate, export, gen_trt_engine and quantize in then only",
        "leave it out, or add one of them to spec.then",
        f"!{_DATA}.?test.hasValue() || {_ACTIONS}.exists(a, a != 'train')",
    ),
    _follower(
        "calibration-data",
        "template.datasets.calibration",
        "must be given where then has quantize, or gen_trt_engine with data_type INT8",
        "name a few hundred images like those that the model will see",
        f"!('quantize' in {_ACTIONS} || ({_INT8})) || {_DATA}.?calibration.hasValue()",
    ),
    _follower(
        "calibration-unread",
        "template.datasets.calibration",
        "is read by quantize, and by gen_trt_engine with data_type INT8, in then only",
        "leave it out, or add one of them to spec.then",
        f"!{_DATA}.?calibration.hasValue() || 'quantize' in {_ACTIONS} || ({_INT8})",
    ),
    *(_after_export(each) for each in taking_only("onnx")),
)

SEARCH_CEL: tuple[ResourceRule, ...] = (
    ResourceRule(
        "search-name-length",
        "",
        "metadata.name",
        f"must have at most {LONGEST_SEARCH_NAME} characters",
        "the names of its trials add to it",
        f"size(self.metadata.name) <= {LONGEST_SEARCH_NAME}",
    ),
    ResourceRule(
        "search-output-length",
        "spec.template.output",
        "uri",
        f"must have at most {LONGEST_SEARCHED_OUTPUT} characters",
        "the folders of its trials add to it",
        f"size(self.uri) <= {LONGEST_SEARCHED_OUTPUT}",
    ),
    ResourceRule(
        "range-or-choices",
        _ITEM,
        "",
        "must have min and max together",
        "give both, or choices in their place",
        "has(self.min) == has(self.max)",
    ),
    ResourceRule(
        "range-order",
        _ITEM,
        "min",
        "must be less than max",
        "swap the two; leave a value that is not searched out, and set it in template.experiment",
        "!has(self.min) || !has(self.max) || self.min < self.max",
    ),
    ResourceRule(
        "log-above-zero",
        _ITEM,
        "min",
        "must be greater than 0 where scale is log",
        "give the smallest value that makes sense, such as 0.000001, or use scale: linear",
        "!has(self.min) || self.?scale.orValue('linear') != 'log' || self.min > 0.0",
    ),
    ResourceRule(
        "step-linear",
        _ITEM,
        "step",
        "does not go with scale log",
        "leave it out, or list the values as choices",
        "!has(self.step) || self.?scale.orValue('linear') != 'log'",
    ),
    ResourceRule(
        "when-other",
        _ITEM,
        "when.path",
        "must be another path than its own",
        "name the parameter that this one depends on",
        "!has(self.when) || self.when.path != self.path",
    ),
    ResourceRule(
        "search-once",
        "spec",
        "search",
        "must not name a path twice",
        "join the ranges, or leave one of them out",
        "!has(self.search) || self.search.all(a, self.search.exists_one(b, b.path == a.path))",
    ),
    ResourceRule(
        "when-searched",
        "spec",
        "search",
        "must contain every path that a when names",
        "add that parameter, or leave the when out",
        "!has(self.search) || self.search.all(a, !has(a.when) || "
        "self.search.exists(b, b.path == a.when.path))",
    ),
    ResourceRule(
        "parallel-in-max",
        "spec",
        "parallelTrials",
        "must not exceed maxTrials",
        "lower it or raise maxTrials",
        f"!has(self.parallelTrials) || self.parallelTrials <= self.?maxTrials.orValue({_TRIALS})",
    ),
    ResourceRule(
        "max-trials-grow",
        "spec",
        "maxTrials",
        "can be raised, not lowered",
        "trials that were started cannot be taken back; set suspend to hold the search",
        f"self.?maxTrials.orValue({_TRIALS}) >= oldSelf.?maxTrials.orValue({_TRIALS})",
    ),
    ResourceRule(
        "max-trials-of-profile",
        "spec",
        "maxTrials",
        "cannot be added to a search of the smoke profile, which decides it",
        "create another DinoAutoML with template.datasets",
        "has(self.template.datasets) || has(self.maxTrials) == has(oldSelf.maxTrials)",
    ),
    ResourceRule(
        "profile-whole",
        "spec",
        "profile",
        "is used as a whole or not at all, and template.datasets is given",
        "leave one of them out",
        "!has(self.profile) || !has(self.template.datasets)",
    ),
    ResourceRule(
        "template-suspend",
        "spec.template.runPolicy",
        "suspend",
        "has no effect in a template",
        "use spec.suspend",
        "!has(self.suspend) || !self.suspend",
    ),
    ResourceRule(
        "template-stop",
        "spec.template.runPolicy",
        "stop",
        "has no effect in a template",
        "delete the DinoAutoML, or set spec.suspend, to end its trials",
        "!has(self.stop) || !self.stop",
    ),
    ResourceRule(
        "warm-start-other",
        "",
        "spec.warmStartFrom",
        "must be other searches than this one",
        "name searches that have ended",
        "!has(self.spec.warmStartFrom) || "
        "self.spec.warmStartFrom.all(w, w.name != self.metadata.name)",
    ),
    *THEN_RULES,
    _katib(
        "pruning",
        "pruning",
        "must be absent or none with engine Katib: its early stopping ends trials by the mean of "
        "others and needs to kill processes of the trainer's pod",
        _EMBEDDED,
        "self.?pruning.?name.orValue('none') == 'none' && (!has(self.pruning) || "
        "has(self.pruning.name))",
    ),
    _katib(
        "warm-start",
        "warmStartFrom",
        "does not go with engine Katib, which cannot be given known results",
        _EMBEDDED,
        "!has(self.warmStartFrom) || size(self.warmStartFrom) == 0",
    ),
    _katib(
        "algorithm",
        "algorithm",
        "must be tpe or random with engine Katib: its cmaes ignores scale log, and its grid loses "
        "the search when its pod starts again",
        _EMBEDDED,
        "self.?algorithm.?name.orValue('tpe') in ['tpe', 'random']",
    ),
)


def immutables() -> list[ResourceRule]:
    """The fields of a DinoAutoML's spec that cannot be edited."""
    fields = DinoAutoMLSpec.model_fields.items()
    names = ((field.alias or name, field.is_required()) for name, field in fields)
    editable = "suspend and the numbers of trials"
    return [
        immutable(name, required, "DinoAutoML", editable)
        for name, required in names
        if name not in EDITABLE
    ]


AUTOML_RULES = (*SEARCH_CEL, *(_in_template(rule) for rule in TEMPLATE_RULES))
