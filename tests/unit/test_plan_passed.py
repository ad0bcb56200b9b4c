"""Labels and annotations that children take over from what they are made for."""

from __future__ import annotations

from typing import Any

import pytest

from dino_operator.plan.job import routing
from dino_operator.plan.model import Object
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import carried_labels, children, pods, spec_file
from dino_operator.plan.rendered.pods import Attempt
from dino_operator.plan.search.after import followers, report
from dino_operator.plan.search.engines.katib import experiment
from dino_operator.plan.search.trials import dinojobs
from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.keys import Key, Kind
from tests.builders import NOON, JobBuilder, a_job
from tests.unit.katib_cases import a_search, a_view
from tests.unit.plan_cases import SETTINGS

TRACKING = {
    "app.kubernetes.io/instance": "Argo CD",
    "app.kubernetes.io/managed-by": "Helm",
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "meta.helm.sh/release-name": "Helm",
    "helm.sh/chart": "Helm",
    "kubectl.kubernetes.io/last-applied-configuration": "kubectl",
    "applyset.kubernetes.io/part-of": "kubectl",
    "kapp.k14s.io/app": "kapp",
    "objectset.rio.cattle.io/hash": "Fleet",
    "config.k8s.io/owning-inventory": "kpt",
    "dino-operator.io/job": "ours",
    "dino-operator.io/retries": "ours",
    "kueue.x-k8s.io/podset": "Kueue",
    "batch.kubernetes.io/job-name": "the Job controller",
    "controller-uid": "the Job controller",
    "katib.kubeflow.org/experiment": "Katib",
}
OURS = {key for key, whose in TRACKING.items() if whose == "ours"}
USUAL = {"team": "vision", "example.com/cost-center": "7", "nothelm.sh/x": "y"}
SELECTING = {"app": "web", "app.kubernetes.io/name": "web", "app.kubernetes.io/component": "ui"}
FROM_POD = {"app": "trainer", "zone": "red"}
NOTES = {"example.com/contact": "me"}


def labelled(job: JobBuilder) -> JobBuilder:
    """With all of it in its metadata, and more in podTemplate."""
    job.meta["labels"] = {**TRACKING, **USUAL, **SELECTING}
    job.meta["annotations"] = {**TRACKING, **NOTES}
    template = {"labels": FROM_POD, "annotations": {"example.com/note": "n"}}
    return job.spec(podTemplate=template, resources={"gpus": 0, "nodes": 2})


def theirs(thing: Object, kind: str = "labels") -> dict[str, Any]:
    """What is not the operator's own."""
    own = ("dino-operator.io/", "app.kubernetes.io/managed-by")
    return {k: v for k, v in thing["metadata"].get(kind, {}).items() if not k.startswith(own)}


@pytest.mark.parametrize("key", TRACKING)
def test_marks_of_tools_are_not_taken_over(key: str) -> None:
    assert not carried_labels.is_usual(key)


@pytest.mark.parametrize("key", [*USUAL, *SELECTING, *NOTES])
def test_the_usual_ones_are(key: str) -> None:
    assert carried_labels.is_usual(key)


ON_CHILDREN = {**USUAL, **SELECTING, **FROM_POD}
NOTED = {**NOTES, "example.com/note": "n"}


@pytest.mark.parametrize("preflight", [True, False])
def test_every_child_of_a_dinojob_has_them(preflight: bool) -> None:
    job = DinoJob(labelled(a_job()).obj())
    resolved = spec_file.read_spec(job)
    attempt = Attempt(1, preflight=preflight)
    made = [
        children.config_map(job, resolved),
        children.service(job, resolved),
        children.job(job, resolved, attempt, SETTINGS),
    ]
    for thing in made:
        assert theirs(thing) == ON_CHILDREN, thing["kind"]
        assert theirs(thing, "annotations") == NOTED
        assert thing["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "dino-operator"
        assert thing["metadata"]["labels"]["dino-operator.io/job"] == "x", "ours win"
    assert made[-1]["metadata"]["annotations"]["dino-operator.io/retries"] == "0"
    chosen = made[1]["spec"]["selector"]
    assert all(key.startswith("dino-operator.io/") for key in chosen), "the Service's, ours alone"


def test_pods_do_not_take_over_what_services_select_by() -> None:
    """A Service of the same application would send its users to a training."""
    job = DinoJob(labelled(a_job()).obj())
    resolved = spec_file.read_spec(job)
    pod = pods.template(job, resolved, Attempt(1), SETTINGS)
    assert theirs(pod) == {**USUAL, **FROM_POD}, "podTemplate may: there somebody wished it"
    assert pod["metadata"]["annotations"] == NOTED


def test_shared_objects_belong_to_no_job() -> None:
    for thing in children.shared(DinoJob(labelled(a_job()).obj())):
        assert theirs(thing) == {}


def test_a_job_without_any_is_as_before() -> None:
    job = DinoJob(a_job().obj())
    resolved = spec_file.read_spec(job)
    assert "annotations" not in children.config_map(job, resolved)["metadata"]
    assert "annotations" not in pods.template(job, resolved, Attempt(1), SETTINGS)["metadata"]


def test_the_search_of_a_job_has_them() -> None:
    job = DinoJob(labelled(a_job().searched()).obj())
    made = routing.search_for(JobView(job, Children(), NOON, SETTINGS))
    assert theirs(made) == ON_CHILDREN
    assert theirs(made, "annotations") == NOTED


def a_labelled_view(**spec: Any) -> Any:
    made = a_search(**spec)
    made["metadata"]["labels"] = {**TRACKING, **USUAL, **SELECTING}
    made["metadata"]["annotations"] = {**TRACKING, **NOTES}
    made["spec"]["template"]["podTemplate"] = {"labels": FROM_POD}
    return a_view(made)


def test_every_trial_has_them_and_its_jobs_with_it() -> None:
    trial = dinojobs.render(a_labelled_view(), 1, {})
    assert theirs(trial) == ON_CHILDREN
    assert theirs(trial, "annotations") == NOTES
    assert trial["metadata"]["annotations"]["dino-operator.io/data-checked-by"]
    trial["metadata"]["uid"] = "u"
    resource = DinoJob(trial)
    child = children.job(resource, spec_file.read_spec(resource), Attempt(1), SETTINGS)
    assert theirs(child) == ON_CHILDREN
    assert theirs(child["spec"]["template"]) == {**USUAL, **FROM_POD}
    assert "dino-operator.io/trial" not in child["metadata"]["labels"]


def test_the_report_has_them() -> None:
    view = a_labelled_view()
    view.resource.raw.setdefault("status", {})["history"] = []
    config, job = report.to_create(view, "it ended")[-2:]
    for thing in (config, job):
        assert theirs(thing) == ON_CHILDREN
        assert theirs(thing, "annotations") == NOTES
    assert theirs(job["spec"]["template"]) == {**USUAL, **FROM_POD}


def test_a_job_on_the_winner_has_them() -> None:
    view = a_labelled_view(then=[{"action": "train"}])
    view.resource.raw["status"] = {"best": {"specification": {}}}
    made = followers.render(view, 1)
    assert theirs(made) == ON_CHILDREN
    assert theirs(made, "annotations") == NOTES


def test_katibs_experiment_and_its_trials_have_them() -> None:
    made = experiment.to_create(a_labelled_view())[-2:]
    for thing in made:
        assert theirs(thing) == ON_CHILDREN
        assert theirs(thing, "annotations") == NOTES
    job = made[-1]["spec"]["trialTemplate"]["trialSpec"]
    assert theirs(job) == ON_CHILDREN
    assert theirs(job, "annotations") == NOTES
    assert "dino-operator.io/job" not in job["metadata"]["labels"]
    assert "ownerReferences" not in job["metadata"]
    assert theirs(job["spec"]["template"]) == {**USUAL, **FROM_POD}


def test_what_is_taken_over_is_kept_in_the_cache() -> None:
    job, cache = DinoJob(labelled(a_job()).obj()), ObjectCache()
    cache.put(Kind.DINOJOBS, job.raw)
    cached = cache.resource(Key(Kind.DINOJOBS, "team", "x"))
    assert cached is not None
    kept = DinoJob(cached)
    assert children.config_map(kept, spec_file.read_spec(kept)) == children.config_map(
        job, spec_file.read_spec(job)
    )
    assert not TRACKING.keys() & kept.annotations.keys() - {*OURS}
