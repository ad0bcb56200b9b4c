"""Rules about the resource around the experiment. Only the API server applies them, so CEL alone.

TRAINING_RULES hold for a DinoJob and for the template of a DinoAutoML, TEMPLATE_RULES for the
latter; their scopes are those of a DinoJob. See `dinoautoml` for the rest of it.
"""

from __future__ import annotations

from dino_api.names import LONGEST_JOB_NAME, LONGEST_SEARCHED_OUTPUT
from dino_api.rules.resource.by_action import ACTION_JOB_RULES, ACTION_TEMPLATE_RULES, SOURCE_RULES
from dino_api.rules.resource.rule import ResourceRule, in_bucket


def immutable(name: str, required: bool, kind: str, editable: str) -> ResourceRule:
    """A field of spec that cannot be edited, and the words for those that can."""
    same = f"self.{name} == oldSelf.{name}"
    kept = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
    return ResourceRule(
        f"{name}-immutable",
        "spec",
        name,
        "is immutable",
        f"create another {kind}; only {editable} can be edited",
        same if required else kept,
    )


def _no_prefix(scope: str, prefix: str, remedy: str) -> ResourceRule:
    leaf = scope.rpartition(".")[2]
    return ResourceRule(
        f"{leaf}-reserved",
        scope,
        "",
        f"must not begin with {prefix}, which the operator sets",
        remedy,
        f"self.all(name, !name.startsWith('{prefix}'))",
    )


def _classes(otherwise: str = "") -> ResourceRule:
    return ResourceRule(
        "classes-without-data",
        "spec",
        "numClasses",
        "needs datasets",
        "the smoke profile, which fills them in, is used as a whole or not at all: add "
        "spec.datasets, or leave numClasses out as well",
        f"{otherwise}has(self.datasets) || !has(self.numClasses)",
    )


TRAINING_RULES: tuple[ResourceRule, ...] = (
    *SOURCE_RULES,
    in_bucket("output-uri", "spec.output"),
    ResourceRule(
        "endpoint-url",
        "spec.storage",
        "endpoint",
        "must be an http:// or https:// URL",
        "write it like http://minio.storage:9000",
        "!has(self.endpoint) || self.endpoint.matches('^https?://[^/ ]+')",
    ),
    ResourceRule(
        "processes-on-cpu",
        "spec.resources",
        "processes",
        "must be 1 where the job has GPUs",
        "leave it out, as each GPU has a process of its own; or set gpus: 0",
        "!has(self.processes) || self.processes == 1 || (has(self.gpus) && self.gpus == 0)",
    ),
    ResourceRule(
        "env-reserved",
        "spec.podTemplate.env[]",
        "name",
        "must not begin with DINO_ or AWS_, which the operator sets",
        "use spec.storage for the object store",
        "!(self.name.startsWith('DINO_') || self.name.startsWith('AWS_'))",
    ),
    _no_prefix("spec.podTemplate.labels", "dino-operator.io/", "choose another prefix"),
    _no_prefix("spec.podTemplate.annotations", "dino-operator.io/", "choose another prefix"),
)

JOB_RULES: tuple[ResourceRule, ...] = (
    ResourceRule(
        "name-length",
        "",
        "metadata.name",
        f"must have at most {LONGEST_JOB_NAME} characters",
        "the names of its Jobs and pods add to it and may have 63",
        f"size(self.metadata.name) <= {LONGEST_JOB_NAME}",
    ),
    ResourceRule(
        "datasets-given",
        "spec",
        "datasets",
        "must be given where automlPolicy is Disabled",
        "add spec.datasets.train with the URI of the data",
        "has(self.datasets) || self.action != 'train' || "
        "self.?automlPolicy.orValue('Auto') != 'Disabled'",
    ),
    _classes("self.action != 'train' || "),
    ResourceRule(
        "searched-output-length",
        "spec",
        "output.uri",
        f"must have at most {LONGEST_SEARCHED_OUTPUT} characters where a search may run for the "
        "job (automlPolicy is not Disabled)",
        "the folders of its trials add to it; shorten it, or set automlPolicy: Disabled",
        "self.action != 'train' || self.?automlPolicy.orValue('Auto') == 'Disabled' || "
        f"size(self.output.uri) <= {LONGEST_SEARCHED_OUTPUT}",
    ),
    *ACTION_JOB_RULES,
    ResourceRule(
        "stop-for-good",
        "spec",
        "runPolicy.stop",
        "cannot be taken back",
        "create another DinoJob with the same experiment and output; it resumes from the "
        "checkpoint. To pause one, use spec.runPolicy.suspend",
        "!oldSelf.?runPolicy.?stop.orValue(false) || self.?runPolicy.?stop.orValue(false)",
    ),
    ResourceRule(
        "parent-other",
        "",
        "spec.parent.name",
        "must be another resource than the job itself",
        "name the job or the search that it goes on from",
        "self.spec.?parent.?name.orValue('') != self.metadata.name || "
        "self.spec.parent.?kind.orValue('DinoJob') != 'DinoJob'",
    ),
    ResourceRule(
        "parent-or-weights",
        "spec",
        "parent",
        "excludes spec.experiment.train.pretrained_model_path",
        "the job starts from the checkpoint of its parent; leave one of them out",
        "!has(self.parent) || self.action != 'train' || "
        "!self.?experiment.?train.?pretrained_model_path.hasValue()",
    ),
)

TEMPLATE_RULES = (*TRAINING_RULES, *ACTION_TEMPLATE_RULES, _classes())
RESOURCE_RULES = (*JOB_RULES, *TRAINING_RULES)
