"""Rules about the resource around the experiment. Only the API server applies them, so CEL alone.

TRAINING_RULES hold for a DinoJob and for the template of a DinoAutoML; their scopes are those of a
DinoJob. See rules/automl.py for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

_S3 = "write s3://bucket/path; set another server than AWS by spec.storage.endpoint"
_BELOW = "must be a name below uri: not absolute, and without .."


@dataclass(frozen=True)
class ResourceRule:
    """One statement about the resource.

    scope: dotted path, below the object, of what CEL's `self` is; `[]` means each entry.
    path: the field below it that is named, empty for the scope itself. cel: true where it holds.
    """

    id: str
    scope: str
    path: str
    must: str
    remedy: str
    cel: str

    @property
    def message(self) -> str:
        """The sentence of the API server; it puts the path before it."""
        leaf = self.path or self.scope.rpartition(".")[2].removesuffix("[]")
        return f"{leaf} {self.must}: {self.remedy}"


def _sources(part: str) -> tuple[ResourceRule, ...]:
    scope = f"spec.datasets.{part}[]"
    return (
        ResourceRule(
            f"datasets-{part}-uri",
            scope,
            "uri",
            "must be an s3:// URI with a bucket",
            _S3,
            _is_s3("uri"),
        ),
        *(
            ResourceRule(
                f"{part}-{name}",
                scope,
                name,
                _BELOW,
                "move it under uri, or point uri at its folder",
                f"!has(self.{name}) || !(self.{name}.startsWith('/') || "
                f"self.{name}.contains('..') || self.{name}.contains('://'))",
            )
            for name in ("images", "annotations")
        ),
    )


def _is_s3(name: str) -> str:
    return f"self.{name}.matches('^s3://[a-z0-9][a-z0-9.-]+(/.*)?$')"


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


TRAINING_RULES: tuple[ResourceRule, ...] = (
    *_sources("train"),
    *_sources("validation"),
    ResourceRule(
        "output-uri",
        "spec.output",
        "uri",
        "must be an s3:// URI with a bucket",
        _S3,
        _is_s3("uri"),
    ),
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
    ResourceRule(
        "classes-without-data",
        "spec",
        "numClasses",
        "needs datasets",
        "the smoke profile, which fills them in, is used as a whole or not at all: add "
        "spec.datasets, or leave numClasses out as well",
        "has(self.datasets) || !has(self.numClasses)",
    ),
)

JOB_RULES: tuple[ResourceRule, ...] = (
    ResourceRule(
        "name-length",
        "",
        "metadata.name",
        "must have at most 50 characters",
        "the names of its Jobs and pods add to it and may have 63",
        "size(self.metadata.name) <= 50",
    ),
    ResourceRule(
        "datasets-given",
        "spec",
        "datasets",
        "must be given where automlPolicy is Disabled",
        "add spec.datasets.train with the URI of the data",
        "has(self.datasets) || self.?automlPolicy.orValue('Auto') != 'Disabled'",
    ),
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
        "!has(self.spec.parent) || self.spec.parent.name != self.metadata.name || "
        "self.spec.parent.?kind.orValue('DinoJob') != 'DinoJob'",
    ),
    ResourceRule(
        "parent-or-weights",
        "spec",
        "parent",
        "excludes spec.experiment.train.pretrained_model_path",
        "the job starts from the checkpoint of its parent; leave one of them out",
        "!has(self.parent) || !self.?experiment.?train.?pretrained_model_path.hasValue()",
    ),
)

RESOURCE_RULES = (*JOB_RULES, *TRAINING_RULES)
