"""How a search on Katib ends: with Katib, before Katib, without Katib."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dino_api.names import FailureReason
from dino_api.resources.dinoautoml import MOST_TRIALS
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed import failure
from dino_operator.plan.search import ends, status
from dino_operator.plan.search.after import completion
from dino_operator.plan.search.engines.katib import hangs
from tests.builders import at, later
from tests.unit.katib_cases import (
    NAME,
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
    running,
    step,
    written,
)

pytestmark = pytest.mark.usefixtures("no_end")


@pytest.fixture
def goal(no_end: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline has reached the goal."""
    monkeypatch.setattr(ends, "reached", lambda view, trials: ends.End("the goal is reached"))


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


def test_a_trial_whose_job_katib_has_not_made_yet_is_waited_for() -> None:
    """Katib makes it also after its Experiment has ended."""
    done = a_trial("a", "Succeeded", observation=observed("0.4"))
    both = ((done, a_job(done, complete())), (a_trial("b", "Running", born=50),))
    told = step(*both, experiment=ended("Succeeded"))
    assert not told.ended
    assert told.trials[1].is_live
    late = step(*both, experiment=ended("Succeeded"), now=later(50 + hangs.PATIENCE))
    assert late.ended
    assert [each.state for each in late.trials] == ["Succeeded", "Stopped"]


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
def test_an_experiment_that_stays_though_it_is_deleted_does_not_keep_the_search_from_ending() -> (
    None
):
    """Katib's controller, which alone lets it go and ends its Jobs with it, is gone."""
    resource = written(("a", "Succeeded"), ("b", "Running"))
    present = an_experiment()
    present["metadata"]["deletionTimestamp"] = at(50)
    trial, job, pod = running("b")
    left = step((trial, job, pod), resource=resource, experiment=present)
    assert not left.ended
    (patch,) = left.patches
    assert patch.body["spec"] == {"activeDeadlineSeconds": 1}
    job["metadata"]["annotations"] = patch.body["metadata"]["annotations"]
    job["status"]["conditions"] = [failed("DeadlineExceeded")]
    pod["status"]["phase"] = "Failed"
    over = step((trial, job, pod), resource=resource, experiment=present)
    assert (over.ended, over.failure, over.patches) == (True, None, ())
    assert [each.state for each in over.trials] == ["Succeeded", "Stopped"]


@pytest.mark.usefixtures("goal")
def test_katib_is_not_waited_for_for_ever_once_all_its_trials_have_ended() -> None:
    """It would say so itself; its controller is gone."""
    status = {"observation": observed("0.4"), "completionTime": at(80)}
    done = [a_trial(letter, "Succeeded", **status) for letter in "abcd"]
    pairs = [(trial, a_job(trial, complete())) for trial in done]
    resource = written(*((letter, "Succeeded") for letter in "abcd"))
    assert step(*pairs, resource=resource, now=later(200)).deletes == ()
    late = step(*pairs, resource=resource, now=later(80 + hangs.PATIENCE))
    assert [each.kind for each in late.deletes] == ["experiments"]


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


@pytest.mark.usefixtures("goal")
def test_more_trials_than_a_history_has_room_for_do_not_keep_the_search_from_ending() -> None:
    """Its status could not be written any more."""
    numbers = range(1, MOST_TRIALS + 1)
    trios = [
        (a_trial(f"{number}", "Succeeded", born=number, observation=observed("0.4")),)
        for number in numbers
    ]
    rows = [(f"{number}", "Succeeded") for number in numbers[:-1]]
    resource = written(*rows, maxTrials=MOST_TRIALS)
    over = step(*trios, resource=resource, experiment=ended("Succeeded"))
    assert len(over.trials) == MOST_TRIALS
    view = a_view(resource)
    first = replace(over.trials[0], number=0)
    facts = status.of_trials(view, (first, *over.trials))
    assert len(facts["history"]) == MOST_TRIALS
    assert facts["trials"]["total"] == MOST_TRIALS + 1
    before = step(*trios, running("z"), resource=resource, now=later(60 + MOST_TRIALS))
    assert [each.kind for each in before.deletes] == ["experiments"], "all that fits is written"


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


def test_of_a_search_that_is_not_understood_any_more_katib_is_stopped_too() -> None:
    trial, job, pod = running("a")
    found = {"katib_trials": (trial,), "jobs": (job,), "pods": (pod,)}
    view = a_view(written(("a", "Running")), experiment=an_experiment(), **found)
    plan = completion.stopping(view.resource, view.children)
    assert plan is not None
    assert [each.kind for each in plan.deletes] == ["experiments"], "it would make more trials"
    assert [each.name for each in plan.patches] == [job["metadata"]["name"]]
    assert plan.requeue_after, "no watch tells that the Experiment has gone"
    left = a_view(written(("a", "Running")), jobs=(a_job(trial),))
    assert completion.stopping(left.resource, left.children), "its Job still works"
    gone = a_view(written(("a", "Running")), jobs=(a_job(trial, complete()),))
    assert completion.stopping(gone.resource, gone.children) is None
    over = a_view(written(), experiment=ended("Succeeded"))
    assert completion.stopping(over.resource, over.children) is None, "Katib has ended by itself"
