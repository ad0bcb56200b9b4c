"""What is done about a search on Katib: rows of what Katib shows, and the step that follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dino_api.names import FailureReason
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Patch
from dino_operator.plan.observed.children import Refusal, StatusCause
from dino_operator.plan.search.engines.contract import Step
from dino_operator.plan.search.engines.katib import engine
from tests.builders import Object, at
from tests.unit.katib_cases import (
    NAME,
    SETTINGS,
    UID,
    a_job,
    a_search,
    a_trial,
    a_view,
    an_experiment,
    complete,
    held,
    observed,
    running,
    step,
    written,
)

pytestmark = pytest.mark.usefixtures("no_end")


def suspends(told: Step) -> dict[str, bool]:
    """Which Jobs are held and released, by their last letter."""
    return {each.name[-1]: each.body["spec"]["suspend"] for each in told.patches}


def test_first_the_experiment_is_made() -> None:
    told = step(resource=a_search(), experiment=None)
    assert [each["kind"] for each in told.creates][-2:] == ["ConfigMap", "Experiment"]
    assert told.facts == {"experiment": NAME}
    assert not told.ended


def test_a_suspended_search_makes_none() -> None:
    assert not step(resource=a_search(suspend=True), experiment=None).creates


def test_a_deleted_experiment_ends_the_search() -> None:
    """Its trials went with it. It is not made again: deleting is Katib's only way to stop."""
    told = step(resource=written(("a", "Succeeded"), ("b", "Running")), experiment=None)
    assert not told.creates
    assert told.failure is not None
    assert told.failure.rule.reason is FailureReason.KATIB_FAILED
    assert "was deleted" in told.failure.message
    assert [each.state for each in told.trials] == ["Succeeded", "Stopped"]


def test_an_invalid_template_ends_it() -> None:
    """Such as one that an older operator let pass."""
    view = a_view(a_search())
    wrong = view.search.template.model_copy(update={"experiment": {"model": {"num_queris": 3}}})
    told = engine.step(replace(view, search=replace(view.search, template=wrong)))
    assert told.failure is not None
    assert told.failure.rule.reason is FailureReason.INVALID_SPEC
    assert "num_queries" in told.failure.message


def test_what_katib_cannot_do_ends_it_before_it_begins() -> None:
    told = step(resource=a_search(pruning={"name": "median"}), experiment=None)
    assert told.creates == ()
    assert told.failure is not None
    assert "not pruned by median. Use Embedded" in told.failure.message


def test_anothers_experiment_is_left_alone() -> None:
    other = an_experiment()
    other["metadata"]["ownerReferences"][0]["uid"] = "another"
    told = step(experiment=other)
    assert told.failure is not None
    assert told.failure.rule.reason is FailureReason.CHILD_NAME_CONFLICT


def test_a_running_search_is_left_alone_and_looked_at_again() -> None:
    told = step(running("a"), running("b"))
    assert (told.creates, told.patches, told.deletes) == ((), (), ())
    assert told.requeue_after == SETTINGS.katib_poll
    assert not told.ended
    assert [each.state for each in told.trials] == ["Running", "Running"]


def test_what_katib_is_about_to_say_is_asked_for_soon() -> None:
    trial = a_trial("a", "Running")
    assert step((trial, a_job(trial, complete(59)))).requeue_after == engine.SOON
    assert step().requeue_after == engine.SOON


def test_suspending_holds_every_job() -> None:
    told = step(running("a"), held("b"), resource=written(suspend=True))
    assert suspends(told) == {"a": True}


def test_what_someone_else_suspended_is_left_to_them() -> None:
    """In a queue, also one that the search does not name, and without the operator's mark: Kueue
    clears the start of what it suspends, a person leaves it."""
    queued, taken, started = (running(letter, suspend=True) for letter in "abc")
    queued[1]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "default"
    del taken[1]["status"]["startTime"]
    assert not suspends(step(queued, taken, started))
    assert not suspends(step(taken, started, resource=written(suspend=True)))
    admitted = running("a")
    admitted[1]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "default"
    assert not suspends(step(admitted, resource=written(suspend=True)))


def test_a_trial_that_is_held_past_its_deadline_goes_on_with_what_is_left() -> None:
    limited = {"template": {"runPolicy": {"activeDeadlineSeconds": 100}}}
    trial = running("a", activeDeadlineSeconds=100)
    (held_back,) = step(trial, resource=written(suspend=True, **limited)).patches
    notes = held_back.body["metadata"]["annotations"]
    assert notes == {
        "dino-operator.io/held": "true",
        "dino-operator.io/spent-seconds": "40",
        "dino-operator.io/spent-until": at(60),
    }
    assert held_back.body["spec"] == {"suspend": True, "activeDeadlineSeconds": None}
    job = running("a", suspend=True)
    job[1]["metadata"]["annotations"] = dict(notes)
    (freed,) = step(job, resource=written(**limited)).patches
    assert freed.body["spec"] == {"suspend": False}
    again = running("a")
    again[1]["metadata"]["annotations"] = {**notes}
    del again[1]["metadata"]["annotations"]["dino-operator.io/held"]
    again[1]["status"]["startTime"] = at(60)
    (left,) = step(again, resource=written(**limited)).patches
    assert left.body == {"spec": {"activeDeadlineSeconds": 60}}


def test_resuming_lets_them_go_on() -> None:
    told = step(held("a"), running("b"))
    assert suspends(told) == {"a": False}


def insisted(job: Object, patch: Patch) -> None:
    """The patch, written where a policy has no Job suspended."""
    notes = {**job["metadata"].get("annotations", {}), **patch.body["metadata"]["annotations"]}
    job["metadata"]["annotations"] = {key: text for key, text in notes.items() if text is not None}
    spec = {**job["spec"], **patch.body.get("spec", {}), "suspend": False}
    job["spec"] = {key: value for key, value in spec.items() if value is not None}


def fought(trio: tuple[Object, ...], resource: Object) -> tuple[list[Patch], Step]:
    """What is written until nothing is any more, and the last step."""
    patches: list[Patch] = []
    while (told := step(trio, resource=resource)).patches:
        (patch,) = told.patches
        patches.append(patch)
        assert len(patches) < 20, "an endless fight"
        insisted(trio[1], patch)
    return patches, told


def test_one_that_insists_on_running_is_not_fought_for_ever() -> None:
    """A mutating policy changes the operator's own write, which would wake the next."""
    trio = running("a", activeDeadlineSeconds=100)
    limited = {"template": {"runPolicy": {"activeDeadlineSeconds": 100}}}
    patches, told = fought(trio, written(suspend=True, **limited))
    assert [each.body["spec"].get("suspend") for each in patches] == [True, True, True, None]
    assert told.waiting.startswith(f"someone else resumed Job {NAME}-a each of the 3 times")
    assert "kubectl get mutatingwebhookconfigurations" in told.waiting
    assert trio[1]["spec"]["activeDeadlineSeconds"] == 100, "what has run is counted once"
    assert Annotation.HELD.value not in trio[1]["metadata"]["annotations"]

    (freed,), told = fought(trio, written(**limited))
    assert freed.body == {"metadata": {"annotations": {Annotation.HOLDS.value: None}}}
    assert told.waiting == ""
    again, _ = fought(trio, written(suspend=True, **limited))
    assert len(again) == 4, "it is asked anew"


def test_one_that_obeys_after_a_while_is_held() -> None:
    trio = running("a")
    resource = written(suspend=True)
    for _ in range(2):
        (patch,) = step(trio, resource=resource).patches
        insisted(trio[1], patch)
    (patch,) = step(trio, resource=resource).patches
    insisted(trio[1], patch)
    trio[1]["spec"]["suspend"] = True
    told = step(trio, resource=resource)
    assert (told.patches, told.waiting) == ((), "")
    (resumed,) = step(trio).patches
    assert resumed.body == {
        "metadata": {"annotations": {Annotation.HELD.value: None, Annotation.HOLDS.value: None}},
        "spec": {"suspend": False},
    }


def test_fewer_at_a_time_are_held_and_not_deleted() -> None:
    """Katib answers a lower parallelTrialCount by deleting the newest trials."""
    told = step(running("a"), running("b"), resource=written(parallelTrials=1))
    assert suspends(told) == {"b": True}
    assert all(each.kind == "jobs" for each in told.patches)


def test_the_baseline_is_one_of_those_that_run() -> None:
    """Katib does not know of it."""
    resource = written(parallelTrials=2)
    first = {
        "metadata": {
            "name": "tune-trial-0",
            "uid": "uid-0",
            "labels": {"dino-operator.io/trial": "0"},
            "ownerReferences": [{"uid": UID, "controller": True}],
        },
        "spec": {},
        "status": {"startTime": at(0)},
    }
    told = step(running("a"), running("b"), resource=resource, dinojobs=(first,))
    assert suspends(told) == {"b": True}


KATIBS = 'admission webhook "validator.experiment.katib.kubeflow.org" denied the request: bad'
FIELD = StatusCause("FieldValueInvalid", "spec.algorithm", "Invalid")


@pytest.mark.parametrize(
    "status, said, causes, ends_it",
    [
        (400, KATIBS, (), True),
        (403, KATIBS, (), True),
        (422, "spec.algorithm: Invalid", (FIELD,), True),
        (500, KATIBS, (), False),
        (500, 'failed calling webhook "validator.experiment.katib.kubeflow.org"', (), False),
        (403, 'admission webhook "kyverno.svc" denied the request: no team', (), False),
        (403, "exceeded quota: few, requested: count/experiments.kubeflow.org=1", (), False),
        (403, 'User "u" cannot create resource "experiments"', (), False),
    ],
)
def test_an_experiment_that_katib_does_not_take(
    status: int, said: str, causes: tuple[StatusCause, ...], ends_it: bool
) -> None:
    """The word of its own webhook and schema is final; anybody else may change his mind."""
    refusal = Refusal("create", "Experiment", NAME, status, "Invalid", said, causes)
    told = step(resource=a_search(), experiment=None, refusal=refusal)
    assert told.creates == ()
    assert (told.failure is not None) == ends_it
    what = "Katib does not take the" if ends_it else "the API server refuses"
    words = told.failure.message if told.failure else told.waiting
    assert words.startswith(f"{what} Experiment")
    assert said in words


@pytest.mark.parametrize("kind", ["ServiceAccount", "RoleBinding", "ConfigMap", "Service"])
def test_what_an_experiment_needs_besides_is_waited_for(kind: str) -> None:
    refusal = Refusal("create", kind, "n", 403, message="exceeded quota: few, requested: n=1")
    told = step(resource=a_search(), experiment=None, refusal=refusal)
    assert (told.creates, told.failure) == ((), None)
    assert f"refuses {kind} n: exceeded quota: few" in told.waiting


def test_finished_jobs_are_neither_held_nor_counted() -> None:
    trial = a_trial("a", "Succeeded", observation=observed("0.4"))
    told = step((trial, a_job(trial, complete())), running("b"), running("c"))
    assert told.patches == ()


def test_jobs_in_a_queue_are_kueues() -> None:
    template = {"queueName": "gpus"}
    waiting = running("a", suspend=True)
    waiting[1]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    told = step(waiting, resource=written(template=template, suspend=True))
    assert told.patches == ()
    assert "waits in queue gpus" in told.waiting


def test_raised_numbers_are_passed_on() -> None:
    resource = written(maxTrials=9, parallelTrials=3, maxFailedTrials=5)
    told = step(running("a"), resource=resource)
    (edit,) = told.patches
    assert (edit.kind, edit.name) == ("experiments", NAME)
    assert edit.body["spec"] == {
        "maxTrialCount": 8,
        "parallelTrialCount": 3,
        "maxFailedTrialCount": 6,
    }


def test_numbers_are_kept_once_katib_refuses_to_change_them() -> None:
    """It takes none when maxTrialCount trials exist."""
    resource = written(maxFailedTrials=1)
    assert step(running("a"), resource=resource).patches
    full = an_experiment(trials=4)
    assert step(running("a"), resource=resource, experiment=full).patches == ()
