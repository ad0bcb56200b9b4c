"""What Argo CD shows of our resources: the chart's Lua, run on statuses that our own plan makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from charts import generate
from dino_api import names
from dino_api.failures import by_reason
from dino_api.names import FailureReason, Phase
from dino_operator.plan.job.decide import plan
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    PodBuilder,
    a_child,
    a_job,
    a_pod,
    around,
    later,
)
from tests.chart.conftest import CHART, EVERYTHING, ROOT, Helm, Objects
from tests.statuses import CHECKED, COMPLETE, QUEUED, RUNNING, STOPPING
from tests.unit.plan_cases import HOLD, SETTINGS
from tests.unit.search_world import SearchWorld

Object = dict[str, Any]
Render = Callable[..., Objects]
Health = tuple[str, str]
LUA = (CHART / "files" / "argocd-health.lua").read_text()
KEYS = {
    f"resource.customizations.health.{names.GROUP}_{kind}"
    for kind in (names.KIND, names.AUTOML_KIND)
}
ABSENT = ("string", "math", "io", "debug", "coroutine", "require", "dofile", "loadfile")
"""What a health check in Argo CD finds no library of, or must not need."""


def interpreter() -> Any:
    """Lua 5.1 without what Argo CD's lacks."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True)
    lua.execute("getmetatable('').__index = nil")  # ('x'):upper() finds `string` by it
    for name in ABSENT:
        lua.globals()[name] = None
    return lua


def health(thing: Object) -> Health:
    """Word and message, asked for as Argo CD asks: the resource is `obj`."""
    lua = interpreter()
    lua.globals().obj = lua.table_from(thing, recursive=True)
    answer = dict(lua.execute(LUA))
    assert set(answer) <= {"status", "message"}
    return answer["status"], answer["message"]


@pytest.mark.parametrize("use", ["string.format('x')", "('x'):upper()", "math.floor(1)"])
def test_the_interpreter_has_no_more_than_argo_cds(use: str) -> None:
    with pytest.raises(lua51.LuaError):
        interpreter().execute(f"return {use}")


def planned(
    job: JobBuilder, *jobs: ChildBuilder, pods: tuple[PodBuilder, ...] = (), now: float = 60
) -> Object:
    """The job with the status that the operator writes for it and those children."""
    children = around(tuple(each.obj() for each in jobs), tuple(each.obj() for each in pods))
    resource = job.obj()
    told = plan(resource, children, later(now), SETTINGS).status
    return resource if told is None else {**resource, "status": told}


def ran(code: int, **policy: Any) -> Object:
    """A job whose one attempt ended with that exit code."""
    job = a_job().policy(maxRetries=0, **policy).status(RUNNING)
    child = a_child(job)
    child = child.complete() if code == 0 else child.failed()
    pod = a_pod(child)
    pod = pod.succeeded(RESULT) if code == 0 else pod.exited(code, message=TOLD)
    return planned(job, child, pods=(pod,))


RESULT = {
    "schema": 1,
    "action": "train",
    "metrics": {"mAP": 0.5, "mAP50": 0.75},
    "checkpoint": {"uri": "s3://results/x/train/best.pth"},
}
FAILURE = {"reason": "Diverged", "message": "the loss is NaN", "remedy": "Lower train.optim.lr."}
TOLD = {"schema": 1, "action": "train", "failure": FAILURE}


def running() -> Object:
    job = a_job().status(QUEUED)
    child = a_child(job)
    return planned(job, child, pods=(a_pod(child).running(),))


def waiting() -> Object:
    """For a job that does not exist yet."""
    return planned(a_job().spec(parent={"name": "base"}))


def read_again(status: Object) -> Object:
    """A later spec, which the operator has not looked at."""
    return a_job().status(status).generation(2).obj()


def with_defaults(status: Object, **policy: Any) -> Object:
    return planned(a_job().policy(**policy).status(status))


UNREAD = "Waiting for the DINO operator"
DONE = COMPLETE["conditions"][[each["type"] for each in COMPLETE["conditions"]].index("Complete")]
FAILED = "Diverged: the loss is NaN Lower train.optim.lr."
JOBS: dict[str, tuple[Callable[[], Object], Health]] = {
    "nobody has looked": (lambda: a_job().obj(), ("Progressing", UNREAD)),
    "progress came before the first status": (
        lambda: {**a_job().obj(), "status": {"progress": {"epoch": 1}}},
        ("Progressing", UNREAD),
    ),
    "it waits for its parent": (waiting, ("Progressing", "Pending")),
    "the data is checked": (lambda: planned(a_job()), ("Progressing", "Preparing")),
    "the first attempt": (lambda: with_defaults(CHECKED), ("Progressing", "Queued")),
    "a pod runs": (running, ("Progressing", "Running")),
    "a pod saves before it is suspended": (
        lambda: a_job().suspended().status(STOPPING).obj(),
        ("Progressing", "Running"),
    ),
    "held from the start": (
        lambda: planned(a_job().suspended()),
        ("Suspended", f"Suspended: {HOLD}"),
    ),
    "complete": (lambda: ran(0), ("Healthy", f"Completed: {DONE['message']}")),
    "complete, and suspended after it": (
        lambda: with_defaults(COMPLETE, suspend=True),
        ("Healthy", f"Completed: {DONE['message']}"),
    ),
    "failed": (lambda: ran(by_reason(FailureReason.DIVERGED).exit_code), ("Degraded", FAILED)),
    "edited since": (
        lambda: read_again(RUNNING),
        ("Progressing", f"{UNREAD} to read generation 2"),
    ),
    "suspended, and edited since": (
        lambda: read_again(planned(a_job().suspended())["status"]),
        ("Progressing", f"{UNREAD} to read generation 2"),
    ),
}


@pytest.mark.parametrize("case", JOBS)
def test_health_of_a_job(case: str) -> None:
    make, expected = JOBS[case]
    assert health(make()) == expected


def phases(things: list[Object]) -> set[str]:
    return {each["status"].get("phase", "") for each in things if "status" in each} - {""}


def test_no_phase_of_a_job_was_left_out() -> None:
    assert phases([make() for make, _ in JOBS.values()]) == set(Phase)


def search_of(*steps: Callable[[SearchWorld], None], **spec: Any) -> Object:
    """The DinoAutoML after those steps, with all done that is to be done."""
    world = SearchWorld(maxTrials=3, **spec)
    world.settle()
    for step in steps:
        step(world)
        world.settle()
    return world.automl


def train(world: SearchWorld) -> None:
    world.baseline(0.5)


def finish(world: SearchWorld) -> None:
    for number in (1, 2):
        world.run(f"x-trial-{number}", 0.2)
        world.complete(f"x-trial-{number}", 0.7)


def report(world: SearchWorld) -> None:
    world.report()


def hold(world: SearchWorld) -> None:
    world.edit(suspend=True)


def obey(world: SearchWorld) -> None:
    for job in world.live():
        world.obey(job["metadata"]["name"])


def fail(world: SearchWorld) -> None:
    world.fail("x-trial-0", "InvalidDataset", "train: no annotations.json")


def edit(world: SearchWorld) -> None:
    """By somebody, while no operator runs."""
    world.edit(suspend=True)


SEARCHES: dict[str, tuple[Callable[[], Object], str, str]] = {
    "nobody has looked": (lambda: SearchWorld().automl, "Progressing", UNREAD),
    "the data is checked": (search_of, "Progressing", "Preparing"),
    "trials run": (lambda: search_of(train), "Progressing", "Running"),
    "trials save before it is held": (lambda: search_of(train, hold), "Progressing", "Running"),
    "held": (lambda: search_of(train, hold, obey), "Suspended", "Suspended: "),
    "over": (lambda: search_of(train, finish, report), "Healthy", "SearchCompleted: "),
    "failed": (lambda: search_of(fail), "Degraded", "InvalidDataset: x-trial-0, which has the"),
}


@pytest.mark.parametrize("case", SEARCHES)
def test_health_of_a_search(case: str) -> None:
    make, word, begins = SEARCHES[case]
    said = health(make())
    assert said[0] == word, said
    assert said[1].startswith(begins)


def test_a_search_that_was_edited_waits_for_the_operator() -> None:
    world = SearchWorld(maxTrials=3)
    world.settle()
    world.edit(suspend=True)
    assert health(world.automl) == ("Progressing", f"{UNREAD} to read generation 2")


def test_a_failure_ends_with_what_to_do() -> None:
    failed = search_of(fail)
    assert health(failed)[1].endswith(failed["status"]["failure"]["remedy"])


def test_the_chart_and_the_patch_for_argocd_cm_hold_the_same_for_both_kinds(
    render: Render,
) -> None:
    """A key that Argo CD cannot read makes every Application Unknown."""
    patch = yaml.safe_load((ROOT / "examples" / "argocd" / "argocd-cm.yaml").read_text())
    assert patch == {"data": dict.fromkeys(KEYS, LUA)}
    name = "dino-operator-argocd-health"
    made = [one for one in render("argocd.healthConfigMap=true") if one["metadata"]["name"] == name]
    assert [one["data"] for one in made] == [patch["data"]]
    assert not [one for one in render() if one["metadata"]["name"] == name]


def examples(name: str) -> dict[str, Object]:
    """The objects of an example by their names."""
    text = (ROOT / "examples" / "argocd" / f"{name}.yaml").read_text()
    return {one["metadata"]["name"]: one["spec"] for one in yaml.safe_load_all(text)}


def kinds(allowed: list[Object]) -> set[tuple[str, str]]:
    return {(each["group"], each["kind"]) for each in allowed}


CLUSTER_WIDE = ("ClusterRole", "CustomResourceDefinition", "ValidatingAdmissionPolicy")


def test_the_platforms_project_allows_what_the_chart_makes_and_no_more(render: Render) -> None:
    """With everything on, and with the rights in one namespace. It runs no tests of Helm's."""
    made = {
        (one["apiVersion"].rpartition("/")[0], one["kind"])
        for values in ((), ("watchNamespaces={red}",))
        for one in render(*EVERYTHING, *values)
        if "helm.sh/hook" not in one["metadata"].get("annotations", {})
    }
    project = examples("projects")["dino-platform"]
    wide = {one for one in made if one[1].startswith(CLUSTER_WIDE)}
    assert kinds(project["clusterResourceWhitelist"]) == wide | {("", "Namespace")}
    assert kinds(project["namespaceResourceWhitelist"]) == made - wide


def test_a_teams_project_knows_what_the_operator_leaves_in_its_namespace() -> None:
    """Argo CD would warn of it as orphaned."""
    project = examples("projects")["dino-team"]
    job = a_job().status(CHECKED).obj()
    shared = [
        (one["apiVersion"].rpartition("/")[0], one["kind"], one["metadata"]["name"])
        for one in plan(job, around(), later(0), SETTINGS).creates
        if not one["metadata"].get("ownerReferences")
    ]
    assert len(shared) == 2
    ignored = [
        (one["group"], one["kind"], one["name"]) for one in project["orphanedResources"]["ignore"]
    ]
    assert ignored[:2] == shared
    group = {(names.GROUP, names.KIND), (names.GROUP, names.AUTOML_KIND)}
    assert kinds(project["namespaceResourceWhitelist"]) == group
    assert project["clusterResourceWhitelist"] == []


APPLICATIONS = (
    ("applications", "dino-operator"),
    ("applications", "vision-trainings"),
    ("air-gap", "dino-operator"),
)


@pytest.mark.parametrize(("file", "name"), APPLICATIONS)
def test_each_application_is_strict_and_within_its_project(file: str, name: str) -> None:
    application = examples(file)[name]
    assert "ServerSideApply=true" in application["syncPolicy"]["syncOptions"]
    project = examples("projects")[application["project"]]
    there = application["destination"]
    assert there in project["destinations"]
    (repositories,) = project["sourceRepos"]
    assert application["source"]["repoURL"].startswith(repositories.removesuffix("*"))


def test_the_operators_application_sets_values_of_the_chart(helm: Helm, tmp_path: Path) -> None:
    """values.schema.json refuses others."""
    values = examples("applications")["dino-operator"]["source"]["helm"]["valuesObject"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = helm("template", "x", str(CHART), "-f", str(tmp_path / "values.yaml"))
    assert done.returncode == 0, done.stderr
    assert "registry.example/dino-trainer" in done.stdout


def test_the_air_gaps_application_stays_within_its_project(helm: Helm) -> None:
    """The training pods' NetworkPolicy lies in their namespace, not in the release's."""
    application = examples("air-gap")["dino-operator"]
    (values,) = application["source"]["helm"]["valueFiles"]
    file = (ROOT / application["source"]["path"] / values).resolve()
    done = helm("template", "x", str(CHART), "--namespace", "dino-system", "-f", str(file))
    assert done.returncode == 0, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    there = {one["metadata"].get("namespace", "dino-system") for one in made}
    project = examples("projects")["dino-platform"]
    assert "vision" in there
    assert there == {each["namespace"] for each in project["destinations"]}


HOOKS = ("PreSync", "Sync", "PostSync", "SyncFail")


def added_to_a_hooks_name(hook: str) -> int:
    """By Argo CD to `generateName`: seven letters of the commit, the hook, seconds since 1970."""
    return len(f"c0ffee1-{hook}-1700000000")


@pytest.mark.parametrize(
    ("plural", "kind"), [(names.PLURAL, "DinoJob"), (names.AUTOML_PLURAL, "DinoAutoML")]
)
def test_the_docs_say_what_a_hooks_prefix_may_have(plural: str, kind: str) -> None:
    crd = (ROOT / "crds" / f"{names.GROUP}_{plural}.yaml").read_text()
    (limit,) = re.findall(r"size\(self\.metadata\.name\) <= (\d+)", crd)
    longer = sorted(map(added_to_a_hooks_name, HOOKS))
    said = (ROOT / "docs" / "argocd.md").read_text()
    assert f"{longer[0]} (`Sync`) to {longer[-1]} (`PostSync`) characters longer" in said
    (prefix,) = re.findall(rf"(?:prefix|that) of a {kind} (?:may have )?(\d+)", said)
    assert int(prefix) == int(limit) - longer[-1]


def test_what_is_generated_beside_the_chart_is_current() -> None:
    assert generate.main(["--check"]) == 0
