"""What is done about a search on Katib: rows of what Katib shows, and the step that follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dino_api.names import FailureReason
from dino_operator.plan import failure
from dino_operator.plan.katib import engine, hangs
from dino_operator.plan.names import Annotation
from dino_operator.plan.search import ends
from dino_operator.plan.search.engine import Step
from tests.builders import Object, at, later
from tests.unit.katib_cases import (
    NAME,
    SETTINGS,
    UID,
    a_job,
    a_pod,
    a_search,
    a_trial,
    a_view,
    an_experiment,
    complete,
    ended,
    failed,
    observed,
)


@pytest.fixture(autouse=True)
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search itself has no reason to end, unless a test says so."""
    monkeypatch.setattr(ends, "reached", lambda view, trials: None)


@pytest.fixture
def goal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline has reached the goal."""
    monkeypatch.setattr(ends, "reached", lambda view, trials: ends.End("the goal is reached"))


def running(letter: str, **spec: Any) -> tuple[Object, Object, Object]:
    """A Trial, its Job and its pod."""
    trial = a_trial(letter, "Running")
    job = a_job(trial, **spec)
    return trial, job, a_pod(job)


def step(*trios: tuple[Object, ...], resource: Object | None = None, **more: Any) -> Step:
    """The step of a search with these Trials, Jobs and pods."""
    found = {"experiment": an_experiment(), **more}
    now = found.pop("now", later(60))
    view = a_view(
        resource or written(),
        now=now,
        katib_trials=tuple(trio[0] for trio in trios),
        jobs=tuple(trio[1] for trio in trios if len(trio) > 1),
        pods=tuple(trio[2] for trio in trios if len(trio) > 2),
        **found,
    )
    return engine.step(view)


def written(*rows: tuple[str, str], **spec: Any) -> Object:
    """The search with a status that knows its Experiment, and trials by letter and state."""
    resource = a_search(**spec)
    history = [
        {"number": number, "name": f"{NAME}-{letter}", "state": state}
        for number, (letter, state) in enumerate(rows, 1)
    ]
    resource["status"] = {"engine": "Katib", "experiment": NAME, "history": history}
    return resource


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
    told = step(running("a"), running("b", suspend=True), resource=written(suspend=True))
    assert suspends(told) == {"a": True}


def test_resuming_lets_them_go_on() -> None:
    told = step(running("a", suspend=True), running("b"))
    assert suspends(told) == {"a": False}


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


@pytest.mark.parametrize("status, ends_it", [(400, True), (403, True), (500, False)])
def test_an_experiment_that_katib_does_not_take(status: int, ends_it: bool) -> None:
    """Its webhook's word is final; a webhook that does not answer may answer later."""
    told = step(resource=a_search(), experiment=None, refusal=(status, "spec.algorithm: Invalid"))
    assert told.creates == ()
    assert (told.failure is not None) == ends_it
    said = told.failure.message if told.failure else told.waiting
    assert "does not take the Experiment: spec.algorithm: Invalid" in said


def test_finished_jobs_are_neither_held_nor_counted() -> None:
    trial = a_trial("a", "Succeeded", observation=observed("0.4"))
    told = step((trial, a_job(trial, complete())), running("b"), running("c"))
    assert told.patches == ()


def test_jobs_in_a_queue_are_kueues() -> None:
    template = {"queueName": "gpus"}
    told = step(running("a", suspend=True), resource=written(template=template, suspend=True))
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


def test_succeeded_ends_it() -> None:
    trial = a_trial("a", "Succeeded", observation=observed("0.4"))
    told = step((trial, a_job(trial, complete())), experiment=ended("Succeeded"))
    assert told.ended
    assert told.failure is None


def test_succeeded_without_a_best_trial_is_failed() -> None:
    trial = a_trial("a", "MetricsUnavailable")
    told = step((trial, a_job(trial, complete())), experiment=ended("Succeeded"))
    assert told.ended
    assert told.failure is not None
    assert "none of its trials has a result" in told.failure.message
    assert "MetricsUnavailable" in told.failure.message


def test_a_nan_that_katib_takes_for_the_best_is_not() -> None:
    """Its currentOptimalTrial is not believed."""
    best = {"bestTrialName": f"{NAME}-a", "observation": observed("nan")}
    trial = a_trial("a", "Succeeded", observation=observed("nan"))
    over = ended("Succeeded", found=an_experiment(currentOptimalTrial=best))
    told = step((trial, a_job(trial, complete())), experiment=over)
    assert told.failure is not None
    assert told.trials[0].mAP50 is None


def test_too_many_failures_end_it_with_one_of_them() -> None:
    trial = a_trial("a", "Failed")
    job = a_job(trial, failed(message="failed with exit code 76 matching FailJob rule"))
    over = ended("Failed", "Experiment has failed because max failed count has reached")
    told = step((trial, job), experiment=over)
    assert told.failure is not None
    assert "max failed count" in told.failure.message
    assert "Diverged" in told.failure.message


def test_the_searchs_own_word_on_failures_is_the_better_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cause = failure.cause(FailureReason.MAX_FAILED_TRIALS, "4 trials failed")
    monkeypatch.setattr(ends, "reached", lambda view, trials: ends.End("over", cause))
    trial = a_trial("a", "Failed")
    told = step((trial, a_job(trial, failed())), experiment=ended("Failed", "max failed"))
    assert told.ended
    assert told.failure is None


def test_a_failed_suggestion_says_why() -> None:
    """Katib's Experiment says only that it failed."""
    suggestion = {"status": {"conditions": [{"type": "Created", "status": "True"}]}}
    suggestion = ended("Failed", "Validation failed: gamma should be in (0, 1)", suggestion)
    told = step(experiment=ended("Failed", "Suggestion has failed"), suggestion=suggestion)
    assert told.failure is not None
    assert "gamma should be in (0, 1)" in told.failure.message


def test_what_still_runs_when_katib_ends_is_stopped() -> None:
    """Katib leaves it running. Deleted it would be made again; it is failed instead."""
    done = a_trial("a", "Succeeded", observation=observed("0.4"))
    trio = running("b")
    both = ((done, a_job(done, complete())), trio)
    told = step(*both, experiment=ended("Succeeded"))
    (patch,) = told.patches
    assert patch.name == f"{NAME}-b"
    assert patch.body["spec"] == {"activeDeadlineSeconds": 1}
    assert patch.body["metadata"]["annotations"][Annotation.STOPPED_FOR.value] == "Stopped"
    assert told.deletes == ()
    assert not told.ended, "a pod may still save its checkpoint"

    trial, job, pod = trio
    job["metadata"]["annotations"] = patch.body["metadata"]["annotations"]
    job["status"]["conditions"] = [failed("DeadlineExceeded")]
    pod["status"]["phase"] = "Failed"
    told = step(both[0], (trial, job, pod), experiment=ended("Succeeded"))
    assert told.ended
    assert told.patches == ()
    assert [each.state for each in told.trials] == ["Succeeded", "Stopped"]


def test_a_held_trial_does_not_keep_the_search_from_ending() -> None:
    done = a_trial("a", "Succeeded", observation=observed("0.4"))
    trial = a_trial("b", "Running")
    both = ((done, a_job(done, complete())), (trial, a_job(trial, suspend=True)))
    told = step(*both, experiment=ended("Succeeded"))
    assert told.ended
    assert [each.state for each in told.trials] == ["Succeeded", "Stopped"]
    assert [each.name[-1] for each in told.patches] == ["b"]


def test_finished_jobs_get_their_time_to_live_only_at_the_end() -> None:
    template = {"runPolicy": {"ttlSecondsAfterFinished": 60}}
    trial = a_trial("a", "Succeeded", observation=observed("0.4"))
    pair = (trial, a_job(trial, complete()))
    assert step(pair, resource=written(template=template)).patches == ()
    told = step(pair, resource=written(template=template), experiment=ended("Succeeded"))
    assert [each.body for each in told.patches] == [{"spec": {"ttlSecondsAfterFinished": 60}}]


@pytest.mark.usefixtures("goal")
def test_a_search_that_ends_before_katib_deletes_the_experiment() -> None:
    """Katib knows no other way; what its trials did is written down first."""
    done = a_trial("a", "Succeeded", observation=observed("0.4"))
    trios = ((done, a_job(done, complete())), running("b"))
    assert step(*trios).deletes == ()
    told = step(*trios, resource=written(("a", "Succeeded"), ("b", "Running")))
    (gone,) = told.deletes
    assert (gone.kind, gone.name, gone.uid) == ("experiments", NAME, "uid-experiment")
    assert not told.ended
    assert told.failure is None


@pytest.mark.usefixtures("goal")
def test_and_has_ended_once_no_job_of_it_runs() -> None:
    resource = written(("a", "Succeeded"), ("b", "Running"))
    trial, job, pod = running("b")
    left = step((trial, job, pod), resource=resource, experiment=None)
    assert not left.ended
    told = step(resource=resource, experiment=None)
    assert told.ended
    assert told.failure is None
    assert [each.state for each in told.trials] == ["Succeeded", "Stopped"]


@pytest.mark.usefixtures("goal")
def test_an_experiment_is_not_made_for_a_search_that_has_ended() -> None:
    told = step(resource=a_search(), experiment=None)
    assert (told.creates, told.ended) == ((), True)


def test_more_trials_than_asked_for_are_all_written_down() -> None:
    """Katib makes one more for each that ended without a metric."""
    bad = a_trial("a", "MetricsUnavailable", born=1)
    trials = [a_trial(x, "Succeeded", born=2, observation=observed("0.4")) for x in "bcde"]
    told = step((bad,), *((each,) for each in trials), experiment=ended("Succeeded"))
    assert [each.number for each in told.trials] == [1, 2, 3, 4, 5]
    assert told.failure is None


def test_a_hang_that_cannot_be_mended_ends_it_once_all_is_written_down() -> None:
    trial, job, _ = running("a")
    bare = a_pod(job, collector=False)
    done = a_trial("b", "Succeeded", observation=observed("0.4"))
    trios = ((trial, job, bare), (done, a_job(done, complete())))
    first = step(*trios)
    assert first.failure is None
    assert "no metrics collector" in first.waiting
    told = step(*trios, resource=written(("a", "Running"), ("b", "Succeeded")))
    assert told.failure is not None
    assert "metrics-collector-injection=enabled" in told.failure.remedy
    assert [each.name for each in told.deletes] == [NAME]


def test_restarting_is_never_taken_back_by_katib_and_means_nothing() -> None:
    present = an_experiment()
    present["status"]["conditions"].append({"type": "Restarting", "status": "True"})
    assert not step(running("a"), experiment=present).ended


def test_an_experiment_that_goes_is_waited_for() -> None:
    present = an_experiment()
    present["metadata"]["deletionTimestamp"] = at(0)
    told = step(running("a"), experiment=present)
    assert (told.failure, told.ended) == (None, False)
    assert "being deleted" in told.waiting


def test_the_patience_is_longer_than_what_is_said_at_once() -> None:
    assert hangs.LATE < hangs.PATIENCE
