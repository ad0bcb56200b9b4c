"""Searches on Katib: our operator, a real API server and Job controller, a double of Katib.

The double (tests/katib) follows what a running Katib was seen to do. All searches run at the same
time in one namespace; each test looks at its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from dino_api.names import Label
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.rendered import names
from tests.api.clients import ROOT, Kubectl
from tests.api.job_webhook import urging_jobs
from tests.api.operator_cluster import Cluster, Operating, condition_of
from tests.api.operator_process import Process, eventually
from tests.builders import stamp
from tests.katib.double import Double
from tests.katib.kubelet import Ending, Kubelet, scored

Object = dict[str, Any]
pytestmark = pytest.mark.alone
CRDS = ROOT / "tests" / "katib" / "crds.yaml"
KATIB = "experiments.kubeflow.org"
GROUP = {"group": "dino-operator.io", "version": "v1alpha1", "plural": "dinoautomls"}
BROKEN_SEED = 13
PATIENCE = 240.0
"""Seven searches at once, on two cores that others use as well."""
SEARCH = [
    {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"},
    {"path": "model.num_queries", "min": 100, "max": 900, "step": 50},
]


def draw(_: int, parameters: list[Object]) -> dict[str, str]:
    """As Katib's random: texts, floats with an exponent among them."""
    texts = {}
    for one in parameters:
        space = one["feasibleSpace"]
        low, high = float(space["min"]), float(space["max"])
        value = low + (high - low) * random.random()
        texts[one["name"]] = str(int(value)) if one["parameterType"] == "int" else f"{value:.3e}"
    return texts


@dataclass
class KatibRun:
    """Everything that a test looks at."""

    cluster: Cluster
    operator: Process
    double: Double
    kubelet: Kubelet

    def __post_init__(self) -> None:
        self.api = kubernetes.client.CustomObjectsApi(self.cluster.client)
        self.where = {**GROUP, "namespace": self.cluster.namespace}

    def create(self, name: str, **spec: Any) -> None:
        """A DinoAutoML on Katib: a baseline and three trials, two at a time."""
        uri = {"uri": f"s3://bucket/{name}"}
        template = {
            "datasets": {
                "train": [{"uri": "s3://bucket/train"}],
                "validation": [{"uri": "s3://bucket/val"}],
            },
            "output": uri,
            "resources": {"gpus": 0},
        }
        told = {"engine": "Katib", "maxTrials": 4, "search": SEARCH, "template": template, **spec}
        body = {
            "apiVersion": "dino-operator.io/v1alpha1",
            "kind": "DinoAutoML",
            "metadata": {"name": name},
            "spec": told,
        }
        self.api.create_namespaced_custom_object(**self.where, body=body, field_validation="Strict")

    def get(self, name: str) -> Object:
        """The DinoAutoML."""
        found: Object = self.api.get_namespaced_custom_object(**self.where, name=name)
        return found

    def status(self, name: str) -> Object:
        """The DinoAutoML's status; empty before its first."""
        return dict(self.get(name).get("status", {}))

    def suspend(self, name: str, on: bool) -> None:
        """spec.suspend."""
        self.edit(name, suspend=on)

    def edit(self, name: str, **spec: Any) -> None:
        """Fields of the spec."""
        self.api.patch_namespaced_custom_object(
            **self.where,
            name=name,
            body={"spec": spec},
            _content_type="application/merge-patch+json",
        )

    def phase(self, name: str, phase: str) -> Object:
        """The status once it has that phase."""

        def reached() -> Object | None:
            status = self.status(name)
            return status if status.get("phase") == phase else None

        return eventually(reached, f"DinoAutoML {name} {phase}", PATIENCE)

    def experiment(self, name: str) -> str:
        """The name of its Experiment."""
        return names.experiment_name(self.get(name)["metadata"]["uid"])

    def katib(self, plural: str) -> list[Object]:
        """Katib's objects of that kind."""
        where = {"group": "kubeflow.org", "version": "v1beta1", "plural": plural}
        found = self.api.list_namespaced_custom_object(**where, namespace=self.cluster.namespace)
        return list(found["items"])

    def most_trials(self, name: str) -> int:
        """How many trials the Experiment of that search is to have."""
        own = self.experiment(name)
        found = (
            each["spec"] for each in self.katib("experiments") if each["metadata"]["name"] == own
        )
        return int(next(found)["maxTrialCount"])

    def jobs(self, name: str) -> list[Object]:
        """The Jobs of Katib's trials of that search."""
        chosen = {Label.AUTOML.value: name, Label.ACTION.value: "train"}
        return [
            each
            for each in self.cluster.jobs()
            if chosen.items() <= each["metadata"].get("labels", {}).items()
        ]

    def pods(self, name: str) -> list[Object]:
        """The live pods of them."""
        uids = {each["metadata"]["uid"] for each in self.jobs(name)}
        return [
            each
            for each in self.cluster.pods()
            if each["metadata"].get("ownerReferences", [{}])[0].get("uid") in uids
            and each["status"]["phase"] in ("Pending", "Running")
        ]

    def holds(self, name: str) -> list[str]:
        """How often the operator has suspended each Job."""
        notes = (each["metadata"].get("annotations", {}) for each in self.jobs(name))
        return [each.get(Annotation.HOLDS.value, "") for each in notes]

    def insists(self, name: str) -> bool:
        """Whether someone has its Jobs run whatever is written."""
        job = self.jobs(name)[0]["metadata"]["name"]
        tried = self.cluster.kubectl(
            "patch", "job", job, "--type=merge", "-p", '{"spec":{"suspend":true}}',
            "--dry-run=server", "-o=jsonpath={.spec.suspend}",
        )  # fmt: skip
        return tried.stdout == "false"

    def obstacle(self, name: str) -> str:
        """What keeps it from being suspended; empty while nothing does."""
        message = str(condition_of(self.get(name), "Suspended").get("message", ""))
        return message.partition("; someone else resumed Job ")[2]

    def running(self, name: str, count: int) -> None:
        """Waits for so many live pods."""
        said = f"{count} pods of {name}"
        eventually(lambda: len(self.pods(name)) == count, said, PATIENCE)


@pytest.fixture(scope="module")
def katib_crds(cluster_kubectl: Kubectl) -> Iterator[None]:
    """Katib's kinds, gone afterwards: other tests run without Katib."""
    found = cluster_kubectl("get", "crd", KATIB, "-o", "jsonpath={.metadata.labels}")
    if found.returncode == 0 and "test-double" not in found.stdout:
        pytest.skip(f"{KATIB} of a real Katib is installed here; its controller would interfere")
    _remove(cluster_kubectl)  # what a session that was killed has left, perhaps half deleted
    applied = cluster_kubectl("apply", "--server-side", "-f", str(CRDS))
    assert applied.returncode == 0, applied.stderr
    waited = cluster_kubectl(
        "wait", "--for=condition=Established", "--timeout=300s", "-f", str(CRDS)
    )
    assert waited.returncode == 0, waited.stderr
    yield
    _remove(cluster_kubectl)


def _remove(kubectl: Kubectl) -> None:
    """The kinds with all of their objects, whose finalizers no controller takes off any more."""
    asked = kubectl("delete", "--wait=false", "--ignore-not-found", "-f", str(CRDS))
    assert asked.returncode == 0, asked.stderr
    form = '{range .items[*]}{.metadata.namespace} {.metadata.name}{"\\n"}{end}'
    for kind in ("experiments", "suggestions", "trials"):
        listed = kubectl("get", f"{kind}.kubeflow.org", "-A", f"-o=jsonpath={form}")
        for line in listed.stdout.splitlines():
            where, name = line.split()
            bare = ("--type=merge", "-p", '{"metadata": {"finalizers": null}}')
            kubectl("patch", f"{kind}.kubeflow.org", name, f"--namespace={where}", *bare)
    gone = kubectl("wait", "--for=delete", "--timeout=300s", "-f", str(CRDS))
    assert gone.returncode == 0, gone.stderr


@pytest.fixture(scope="module")
def world(katib_crds: None, operating: Operating) -> Iterator[KatibRun]:
    """The operator and the double, and all searches on their way."""
    with operating("--katib-poll-seconds", "1") as (cluster, operator):
        double = Double(cluster.kubectl.kubeconfig, cluster.namespace, draw).start()
        double.broken[str(BROKEN_SEED)] = "gamma should be in the range of (0, 1)"
        kubelet = Kubelet(cluster.core, cluster.namespace, double, now=stamp).start()
        found = KatibRun(cluster, operator, double, kubelet)
        try:
            submit(found)
            yield found
        finally:
            found.cluster.kubectl("delete", "dinoautomls", "--all", "--wait=false")
            _let_go(found)
            kubelet.stop()
            double.stop()


def _let_go(world: KatibRun) -> None:
    """Katib's finalizers need its controller."""
    eventually(lambda: not world.katib("trials"), "Trials gone")


def submit(world: KatibRun) -> None:
    """Every search of this module."""
    scripts = world.kubelet.scripts
    ends = [scored(0.5, "one"), Ending(76), scored(0.7, "three")]
    scripts["tune"] = lambda place, name: ends[place]
    scripts["none"] = lambda place, name: Ending(log="Validation mAP50: nan\n")
    for name in ("pause", "bare", "gone", "left", "broken"):
        scripts[name] = lambda place, name: None
    world.kubelet.bare.add("bare")
    world.create("tune")
    world.create("none", maxFailedTrials=1)
    world.create("broken", algorithm={"seed": BROKEN_SEED})
    for name in ("pause", "bare", "gone", "left"):
        world.create(name)


def test_from_apply_to_the_best_of_baseline_and_trials(world: KatibRun) -> None:
    status = world.phase("tune", "Complete")
    rows = status["history"]
    assert [row["state"] for row in rows].count("Succeeded") == 3
    (bad,) = [row for row in rows if row["state"] == "Failed"]
    assert bad["reason"] == "Diverged"
    best = status["best"]
    assert best["mAP50"] == 0.7 == max(row.get("mAP50", 0) for row in rows)
    assert best["trial"].startswith(world.experiment("tune"))
    assert best["checkpoint"]["uri"] == "s3://bucket/three/train/dino_model_best.pth"
    drawn = best["parameters"]
    assert 1e-5 <= drawn["train.optim.lr"] <= 5e-4
    assert best["specification"]["train"]["optim"]["lr"] == drawn["train.optim.lr"]
    assert isinstance(drawn["model.num_queries"], int)
    assert rows[0]["name"] == "tune-trial-0"
    assert status["trials"]["display"] == "4/4"
    assert (status["engine"], status["experiment"]) == ("Katib", world.experiment("tune"))
    complete = ("--for=condition=Complete", "daml/tune", "--timeout=300s")
    waited = world.cluster.kubectl("wait", *complete)
    assert waited.returncode == 0, waited.stderr
    seen = {each["metadata"]["name"] for each in world.katib("experiments")}
    assert len(world.jobs("tune")) == 3
    assert world.experiment("tune") in seen, "it stays, with its trials, for who looks"
    assert not any(world.double.refused.values()), "Katib's webhooks take what is made"


def test_suspend_and_resume_lose_no_trial_and_there_may_be_more(world: KatibRun) -> None:
    world.running("pause", 2)
    before = {each["metadata"]["name"] for each in world.jobs("pause")}
    world.suspend("pause", True)
    world.running("pause", 0)
    status = world.phase("pause", "Suspended")
    assert all(each["spec"]["suspend"] for each in world.jobs("pause"))
    assert status["trials"]["running"] == 2
    world.suspend("pause", False)
    world.running("pause", 2)
    assert {each["metadata"]["name"] for each in world.jobs("pause")} == before
    world.edit("pause", maxTrials=5)
    eventually(lambda: world.most_trials("pause") == 4, "the Experiment has one trial more")
    world.kubelet.scripts["pause"] = lambda place, name: scored(0.6, name)
    status = world.phase("pause", "Complete")
    assert before <= {row["name"] for row in status["history"]}
    assert status["trials"]["succeeded"] == 5


def test_a_policy_that_has_no_job_suspended_is_not_fought_for_ever(
    world: KatibRun, tmp_path: Path
) -> None:
    """It changes the operator's own writes. Once it is gone, the operator is told to try again."""
    world.running("left", 2)
    own = {Label.AUTOML.value: "left"}
    with urging_jobs(world.cluster.client, world.cluster.namespace, tmp_path, own):
        eventually(lambda: world.insists("left"), "the policy in force")
        world.suspend("left", True)
        message = eventually(lambda: world.obstacle("left"), "who resumes them is said", PATIENCE)
        assert "kubectl get mutatingwebhookconfigurations" in message
        eventually(lambda: world.holds("left") == ["3", "3"], "both are let run")
        world.operator.settled()
        before = [each["metadata"]["annotations"] for each in world.jobs("left")]
        world.operator.settled()
        assert [each["metadata"]["annotations"] for each in world.jobs("left")] == before
        assert len(world.pods("left")) == 2

    def tries_again() -> bool:
        for each in world.jobs("left"):
            if Annotation.HOLDS.value in each["metadata"].get("annotations", {}):
                name = each["metadata"]["name"]
                world.cluster.kubectl("annotate", "job", name, f"{Annotation.HOLDS.value}-")
        return world.status("left").get("phase") == "Suspended"

    eventually(tries_again, "DinoAutoML left Suspended", PATIENCE)
    assert all(each["spec"]["suspend"] for each in world.jobs("left"))
    world.suspend("left", False)
    world.running("left", 2)


def test_a_namespace_without_the_label_is_seen_and_ends_the_search(world: KatibRun) -> None:
    status = world.phase("bare", "Failed")
    assert status["failure"]["reason"] == "KatibFailed"
    assert "no metrics collector" in status["failure"]["message"]
    assert "kubectl label namespace" in status["failure"]["remedy"]
    eventually(lambda: not world.jobs("bare"), "its Jobs gone: they train for nothing")
    name = world.experiment("bare")
    assert name not in {each["metadata"]["name"] for each in world.katib("experiments")}


def test_a_suggestion_that_fails_says_why(world: KatibRun) -> None:
    status = world.phase("broken", "Failed")
    assert "gamma should be in the range" in status["failure"]["message"]
    assert status["best"]["trial"] == "broken-trial-0", "what was found stays"


def test_metrics_that_are_no_numbers_end_in_failed(world: KatibRun) -> None:
    status = world.phase("none", "Failed")
    assert status["failure"]["reason"] == "MaxFailedTrialsReached"
    bad = [row for row in status["history"] if row["state"] == "Failed"]
    assert {row["reason"] for row in bad} == {"MetricsUnavailable"}
    assert len(bad) >= 2
    assert all("mAP50" not in row for row in bad)


def test_a_deleted_experiment_ends_the_search_and_is_not_made_again(world: KatibRun) -> None:
    world.running("gone", 2)
    name = world.experiment("gone")
    eventually(lambda: len(world.status("gone").get("history", [])) == 3, "written down", PATIENCE)
    deleted = world.cluster.kubectl("delete", KATIB, name, "--wait=false")
    assert deleted.returncode == 0, deleted.stderr
    status = world.phase("gone", "Failed")
    assert "was deleted" in status["failure"]["message"]
    assert [row["state"] for row in status["history"]] == ["Succeeded", "Stopped", "Stopped"]
    eventually(lambda: not world.jobs("gone"), "its Jobs gone")
    assert name not in {each["metadata"]["name"] for each in world.katib("experiments")}


def test_deleting_the_search_deletes_everything(world: KatibRun) -> None:
    world.running("left", 2)
    name = world.experiment("left")
    deleted = world.cluster.kubectl("delete", "daml", "left")
    assert deleted.returncode == 0, deleted.stderr

    def left() -> list[str]:
        found = [*world.katib("experiments"), *world.katib("trials"), *world.katib("suggestions")]
        mine = [each["metadata"]["name"] for each in found]
        return [each for each in mine if each.startswith(name)]

    eventually(lambda: not left() and not world.jobs("left"), "everything gone")


def test_the_operator_may_be_killed_at_any_time(world: KatibRun) -> None:
    """Last: the searches that ended are as they were, and nothing is made again."""
    world.operator.settled()
    jobs = {each["metadata"]["uid"] for each in world.cluster.jobs()}
    statuses = {name: world.get(name)["status"] for name in ("tune", "pause", "gone")}
    world.operator.kill()
    world.operator.start()
    assert world.operator.settled() == 0
    assert {each["metadata"]["uid"] for each in world.cluster.jobs()} == jobs
    assert {name: world.get(name)["status"] for name in statuses} == statuses
    assert not world.double.errors
