"""What must hold of every operation, whatever it is.

- What is refused is refused by a sentence that names a field and says what to do.
- What is taken is planned: no plan raises, and none refuses what the preview takes, or the reverse.
- What is made of it the API server takes, too.
- A change that means something shows in a child, in what is planned for one, or in what is said of
  it; those that rightly do not are listed, with the reason (`operation_exemptions`).
- A change that means nothing, as a default that is written out, changes no child.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import yaml
from pydantic import ValidationError

from dino_api.experiment.paths import without_nulls
from dino_api.names import AUTOML_KIND, ConditionType, FailureReason
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SmokeProfile
from dino_api.resources.dinojob import DinoJobSpec
from dino_operator import preview
from dino_operator.admission import FieldError, refusals
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan as plan_job
from dino_operator.plan.model import Condition, Object, Plan, Settings
from dino_operator.plan.observed import crd_schema
from dino_operator.plan.observed.children import Children
from dino_operator.plan.rendered.spec_file import InvalidSpec
from dino_operator.plan.search.decide import plan as plan_search
from tests.builders import NOON, at
from tests.proof.operation_exemptions import exempt
from tests.proof.operation_moments import moments
from tests.proof.operations import BASES, Operation
from tests.unit.plan_store import copied

SETTINGS = Settings(
    "trainer:1", profile=SmokeProfile(train_uri="s3://smoke/train", validation_uri="s3://smoke/val")
)
OURS = frozenset({"DinoJob", "DinoAutoML"})
TOLD_BY_THE_API_SERVER = ("metadata.labels", "metadata.annotations")
NAMED = re.compile(r"^(spec|metadata)[.[]")
"""How a sentence of ours begins: with the field."""
SENTENCES = re.compile(r"[.?] \S")
"""What is wrong, then what to do: two of them at least."""


def stored(manifest: Object) -> Object:
    """As the API server would have it."""
    spec = crd_schema.without_nulls(manifest["spec"], crd_schema.of_spec(manifest["kind"]))
    born = {"generation": 1, "resourceVersion": "1", "creationTimestamp": at(0)}
    meta = {"namespace": "team", "uid": "uid-x", **born, **manifest["metadata"]}
    return {**copied(manifest), "metadata": meta, "spec": spec}


@dataclass(frozen=True)
class Judged:
    """What becomes of a manifest. refused: by the API server. invalid: by the operator."""

    manifest: Object
    settings: Settings = SETTINGS

    @cached_property
    def refused(self) -> tuple[FieldError, ...]:
        """What the API server says, and what is said of nulls that it drops."""
        return tuple(preview.refused(self.manifest))

    @cached_property
    def _made(self) -> tuple[tuple[Object, ...], tuple[str, ...], bool]:
        try:
            return preview.preview(self.manifest, self.settings).objects, (), False
        except preview.InvalidManifest as error:
            by_a_trial = isinstance(error.__cause__, InvalidSpec)
            return (), tuple(_sentences(str(error))), by_a_trial

    @property
    def invalid(self) -> tuple[str, ...]:
        """The operator's sentences, of what the API server takes."""
        return () if self.refused else self._made[1]

    @property
    def is_told_by_a_trial(self) -> bool:
        """Whether the first trial of a search is what is invalid."""
        return self.manifest["kind"] == AUTOML_KIND and self._made[2]

    @cached_property
    def children(self) -> tuple[Object, ...]:
        """What is made of it, were all to go well."""
        return () if self.refused else tuple(map(without_words, self._made[0]))

    @property
    def is_taken(self) -> bool:
        """Whether it is neither refused nor ends as invalid."""
        return not self.refused and not self.invalid

    @cached_property
    def stored(self) -> Object:
        """As the API server has it."""
        return stored(self.manifest)

    @cached_property
    def meaning(self) -> Object:
        """The spec with its defaults, without what is as if left out. Raises ValidationError."""
        spec = self.stored["spec"]
        if self.manifest["kind"] == AUTOML_KIND:
            model = DinoAutoMLSpec.model_validate(spec).to_dict()
            return {**model, "template": _plain(model["template"])}
        return _plain(DinoJobSpec.model_validate(spec).to_dict())

    def first_plan(self) -> Plan:
        """The plan of a resource that nobody has looked at yet."""
        plan = plan_search if self.manifest["kind"] == AUTOML_KIND else plan_job
        return plan(copied(self.stored), Children(), NOON, self.settings)

    @cached_property
    def _moments(self) -> Iterator[Any]:
        return moments(self.stored, self.settings)

    @cached_property
    def _looks(self) -> list[Any]:
        return []

    def look(self, index: int) -> Any:
        """What is to be seen of it at the so manyth moment; None behind the last."""
        while len(self._looks) <= index:
            self._looks.append(next(self._moments, None))
        return self._looks[index]


def _sentences(text: str) -> Iterator[str]:
    """Each with its field; what was given may have line breaks of its own."""
    sentence = ""
    for line in text.split("\n"):
        if NAMED.match(line) and sentence:
            yield sentence
            sentence = ""
        sentence = f"{sentence} {line}".strip()
    yield sentence


def _plain(training: Object) -> Object:
    return {**training, "experiment": without_nulls(training.get("experiment") or {})}


def without_words(thing: Object) -> Object:
    """Without what is doubtful about the spec, which is no part of the work."""
    notes = thing["metadata"].get("annotations", {})
    if Annotation.WARNINGS.value not in notes:
        return thing
    made = copied(thing)
    del made["metadata"]["annotations"][Annotation.WARNINGS.value]
    return dict(made)


@cache
def before(base: str) -> Judged:
    """The object that operations change, judged once."""
    return Judged(BASES[base])


@dataclass
class OperationOutcome:
    """What came of one operation. unshown: the reason for which it shows nowhere, where it may."""

    operation: Operation
    verdict: str
    violations: list[str]
    unshown: str = ""


def judged(operation: Operation) -> OperationOutcome:
    """One operation before every oracle."""
    now = Judged(operation.after())
    outcome = OperationOutcome(operation, _verdict(now), [])
    try:
        for found in _violations(operation, now, outcome):
            outcome.violations.append(f"{operation}: {found}")
    except Exception as error:  # noqa: BLE001 - a crash is what is looked for
        outcome.violations.append(f"{operation}: raised {type(error).__name__}: {error}")
    return outcome


def _verdict(now: Judged) -> str:
    try:
        if now.refused:
            return "refused"
        return "invalid" if now.invalid else "taken"
    except Exception:  # noqa: BLE001 - it is told by the oracles
        return "crashed"


def _violations(operation: Operation, now: Judged, outcome: OperationOutcome) -> Iterator[str]:
    yield from _refusal_without_remedy(now)
    if now.refused:
        yield from _crash_of_an_older_crd(now)
        return
    yield from _other_plan(now)
    yield from _child_that_is_refused(now)
    if now.is_taken and before(operation.base).is_taken:
        yield from _unshown(operation, now, outcome)


# ---- oracles -------------------------------------------------------------------------------------


def _refusal_without_remedy(now: Judged) -> Iterator[str]:
    for each in now.refused:
        if each.field == "" and not each.message.startswith("some validation rules"):
            yield f"a refusal that names no field: {each}"
    for line in now.invalid:
        if not NAMED.match(line):
            yield f"the operator's sentence names no field first: {line}"
        elif not SENTENCES.search(line):
            yield f"the operator's sentence has no remedy: {line}"


def _crash_of_an_older_crd(now: Judged) -> Iterator[str]:
    """Rules and bounds may be newer than the object: it is planned, and does not crash."""
    if any(each.blocking or each.message.startswith("is ") for each in now.refused):
        return
    try:
        now.first_plan()
    except Exception as error:  # noqa: BLE001 - a crash is what is looked for
        yield f"taken by an older CRD, the plan raises {type(error).__name__}: {error}"


def _other_plan(now: Judged) -> Iterator[str]:
    """The first plan ends the job where the preview refuses it, and nowhere else."""
    plan = now.first_plan()
    status = plan.status or {}
    failed = Condition.of({"status": status}, ConditionType.FAILED.value)
    ends = failed is not None and failed.is_true
    if now.invalid and not (ends or now.is_told_by_a_trial or _waits(now)):
        yield f"the preview refuses it, and the plan goes on: {now.invalid[0]}"
    if now.is_taken and ends and not _is_stopped(now):
        yield f"the preview takes it, and the plan ends it: {failed.message if failed else ''}"
    if ends and failed and failed.reason != FailureReason.INVALID_SPEC and not _is_stopped(now):
        yield f"it ends at once, for {failed.reason}"
    if ends and failed and "pydantic" in failed.message:
        yield f"what is said is not ours: {failed.message}"
    if ends and not _is_stopped(now) and not status.get("failure", {}).get("remedy"):
        yield "it ends at once, without a remedy"


def _waits(now: Judged) -> bool:
    """Whether something else comes before the spec is read: a parent, another search, a hold."""
    spec = now.stored["spec"]
    policy = spec.get("runPolicy") or {}
    named = (spec.get("parent") or {}).get("name") or spec.get("warmStartFrom")
    trains = now.manifest["kind"] != AUTOML_KIND and spec["action"] == "train"
    searched = trains and spec.get("automlPolicy") != "Disabled"
    return bool(named or policy.get("suspend") or searched or spec.get("engine") == "Katib")


def _is_stopped(now: Judged) -> bool:
    return bool((now.stored["spec"].get("runPolicy") or {}).get("stop"))


def _child_that_is_refused(now: Judged) -> Iterator[str]:
    """Labels and annotations apart: no schema says what their keys may be, and the API server's
    sentence about a child is what users are told, of a Job as of these."""
    for each in now.children:
        if each["kind"] in OURS:
            name = f"{each['kind']} {each['metadata']['name']}"
            found = (why for why in refusals(each) if why.field not in TOLD_BY_THE_API_SERVER)
            yield from (f"its {name} is refused: {why}" for why in found)


def _unshown(operation: Operation, now: Judged, outcome: OperationOutcome) -> Iterator[str]:
    was = before(operation.base)
    try:
        means_nothing = now.meaning == was.meaning
    except ValidationError as error:
        yield f"it is taken, and its model cannot be read: {error}"
        return
    if means_nothing:
        if now.children != was.children and _work(now) != _work(was):
            yield "it means what it meant before, and other children are made"
        return
    same = _without_empty(now.meaning) == _without_empty(was.meaning)
    if same or now.children != was.children or _shows(was, now):
        return
    outcome.unshown = exempt(operation, now.stored["spec"])
    if not outcome.unshown:
        yield "it is taken, and shows nowhere"


def _work(judged: Judged) -> str:
    """The children, whatever the order of keys in the spec, but for the search of a job: its
    template is the spec as it was written."""
    made = [each for each in copied(list(judged.children)) if each["kind"] != AUTOML_KIND]
    configs = [each for each in made if each["kind"] == "ConfigMap"]
    for each in configs:
        each["data"] = {key: yaml.safe_load(text) for key, text in each["data"].items()}
    text = json.dumps(made, sort_keys=True)
    for each in configs:
        text = text.replace(each["metadata"]["name"], "CONFIG")
    return text


def _without_empty(value: Any) -> Any:
    """Without lists and sections that have nothing in them, which mean nothing. Texts stay."""
    if isinstance(value, list):
        return [_without_empty(each) for each in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _without_empty(each) for key, each in value.items()}
    return {key: each for key, each in inner.items() if each not in ({}, [])}


def _shows(was: Judged, now: Judged) -> bool:
    index = 0
    while True:
        old, new = was.look(index), now.look(index)
        if old != new:
            return True
        if old is None:
            return False
        index += 1
