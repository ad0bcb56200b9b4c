"""Operations from the CRDs' schemas before every oracle, and walks of edits; no cluster needed.

`make test` takes some of them, evenly spread, `make proof-operations` all (`DINO_OPERATIONS`).
`tests/api/test_operations.py` puts them before a real API server and the running operator.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from dino_api.names import AUTOML_KIND
from dino_api.rules.resource.dinoautoml import EDITABLE
from dino_operator.plan.model import Object
from dino_operator.plan.observed import crd_schema
from dino_operator.plan.rendered import children
from tests.proof.operation_edits import refusals_of_edit
from tests.proof.operation_exemptions import EXEMPTIONS
from tests.proof.operation_oracles import Judged, OperationOutcome, before, judged, stored
from tests.proof.operation_share import ALL, WALKS, chosen
from tests.proof.operation_walks import walked
from tests.proof.operations import BASES, GONE, Operation, operations, properties
from tests.unit.plan_store import copied

ENOUGH = 320
"""Operations that are tried at least, in `make test` as well."""
FREE = {AUTOML_KIND: EDITABLE, "DinoJob": ("runPolicy",)}
"""Fields of spec that can be edited."""


@cache
def outcomes() -> tuple[OperationOutcome, ...]:
    """Of every operation that is tried."""
    return tuple(judged(each) for each in chosen(operations()))


def test_the_objects_that_are_changed_are_good() -> None:
    for name in BASES:
        assert before(name).is_taken, (name, before(name).refused, before(name).invalid)


def test_every_property_of_both_kinds_is_changed() -> None:
    tried = {(each.before()["kind"], each.path) for each in operations()}
    for kind in crd_schema.KINDS:
        known = {
            (kind, ".".join("[]" if isinstance(part, int) else part for part in ("spec", *at)))
            for at, _ in properties(crd_schema.of_spec(kind))
        }
        assert not known - tried


def test_every_operation_is_refused_with_a_sentence_or_planned_and_seen() -> None:
    found = [each for outcome in outcomes() for each in outcome.violations]
    verdicts = Counter(outcome.verdict for outcome in outcomes())
    print(f"{len(outcomes())} of {len(operations())} operations: {dict(verdicts)}")
    assert not found, "\n".join(found)
    assert len(outcomes()) >= ENOUGH
    assert min(verdicts[each] for each in ("taken", "refused", "invalid")) > 0


def test_no_exemption_is_needless() -> None:
    """Where only some operations are tried, some are not met."""
    used = {outcome.unshown for outcome in outcomes()} - {""}
    known = {each.reason for each in EXEMPTIONS}
    assert used == known if ALL else used <= known


def taken() -> list[Operation]:
    """Those that are neither refused nor invalid, of what is tried."""
    return [outcome.operation for outcome in outcomes() if outcome.verdict == "taken"]


def test_what_may_be_edited_is_what_the_documents_say() -> None:
    for operation in taken():
        old, new = stored(operation.before()), stored(operation.after())
        free = FREE[old["kind"]]
        keys = old["spec"].keys() | new["spec"].keys()
        changed = {key for key in keys if old["spec"].get(key) != new["spec"].get(key)}
        refused = refusals_of_edit(old, new)
        frozen = {field for field, said in refused if "is immutable" in said}
        assert frozen == {f"spec.{key}" for key in changed if key not in free}, operation
        others = [said for _, said in refused if "is immutable" not in said]
        assert bool(others) == _goes_back(old["spec"], new["spec"]), (operation, others)


def _goes_back(old: Object, new: Object) -> bool:
    """Whether it would undo what cannot be undone, or change what the profile decides."""
    stopped, stops = ((each.get("runPolicy") or {}).get("stop") for each in (old, new))
    fewer = new.get("maxTrials", 20) < old.get("maxTrials", 20)
    of_profile = "template" in new and "datasets" not in new["template"]
    added = of_profile and ("maxTrials" in new) != ("maxTrials" in old)
    return bool((stopped and not stops) or fewer or added)


# ---- walks ---------------------------------------------------------------------------------------


def edits(base: str, *fields: str) -> list[Operation]:
    """What is done to those fields of that object and taken, but stopping it."""
    tried = (each for each in operations() if each.base == base and each.at[0] in fields)
    good = (each for each in tried if Judged(each.after()).is_taken)
    return [each for each in good if not (each.at[-1] == "stop" and each.changes[0][1] is True)]


@cache
def edits_of_job() -> list[Operation]:
    return [each for each in edits("a training with everything", "runPolicy") if len(each.at) > 1]


@cache
def edits_of_search() -> list[Operation]:
    """Without what lowers its numbers: trials that were begun are not taken back."""
    found = edits("a search with everything", *EDITABLE)
    return [each for each in found if each.at[0] not in ("parallelTrials", "maxTrials")]


@pytest.mark.parametrize("seed", range(WALKS))
def test_a_walk_of_edits_ends_where_its_end_would_have_begun(seed: int) -> None:
    if seed % 5 == 4:
        wrong = walked(stored(BASES["a search with everything"]), edits_of_search(), seed)
    else:
        wrong = walked(stored(BASES["a training with everything"]), edits_of_job(), seed)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("base", ["a training with everything", "a search with everything"])
def test_a_walk_over_specs_leaves_nothing_behind(base: str) -> None:
    """From spec to spec, as far as each is taken: what is made is of the last alone, and what was
    made of the first is made of it again."""
    here, steps = BASES[base], 0
    for operation in [each for each in taken() if each.base == base]:
        there = Judged(operation.on(here))
        if not there.is_taken:
            continue
        back = Judged(copied(here))
        assert back.children == Judged(here).children, operation
        here, steps = there.manifest, steps + 1
    assert steps > 0
    assert Judged(copied(here)).children == Judged(here).children
    assert Judged(BASES[base]).children == before(base).children


# ---- the oracles notice --------------------------------------------------------------------------


def test_a_field_that_is_forgotten_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    render = children.job

    def forgetful(*arguments: object) -> Object:
        made = render(*arguments)  # type: ignore[arg-type]
        made["spec"]["template"]["spec"].pop("priorityClassName", None)
        return made

    monkeypatch.setattr(children, "job", forgetful)
    before.cache_clear()
    changed = Operation("to train", ((("priorityClassName",), "high"),), "set")
    said = judged(changed).violations
    before.cache_clear()
    assert said == [f"{changed}: it is taken, and shows nowhere"]


def test_a_plan_that_crashes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashes(*_: object) -> Object:
        raise KeyError("gpus")

    monkeypatch.setattr(children, "job", crashes)
    changed = Operation("to export", ((("resources", "memory"), "1Gi"),), "set")
    assert any("raised KeyError" in each for each in judged(changed).violations)


def test_a_walk_that_leaves_something_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from dino_operator.plan.rendered import deadline

    monkeypatch.setattr(deadline, "_without", lambda job: {})
    monkeypatch.setattr(deadline, "_wanted", lambda view, job: job.deadline)
    steps = [Operation("", ((("runPolicy", "activeDeadlineSeconds"), GONE),), "removed")]
    wrong = walked(stored(BASES["a training with everything"]), steps, 0)
    assert any("activeDeadlineSeconds" in each for each in wrong)
