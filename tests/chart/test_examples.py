"""Every file under examples/ is what it says it is: loaded, judged, and within the demo's reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.loading import load
from dino_api.names import API_VERSION, AUTOML_KIND, KIND, KUEUE_QUEUE_LABEL, Action, Label
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SmokeProfile
from dino_api.resources.dinojob import DinoJob, resolve
from dino_api.search import resolve_search
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Object, Settings
from dino_operator.preview import NOW, Preview, preview
from tests.builders import around

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
SEARCHES = [path for path in FILES if f"kind: {AUTOML_KIND}\n" in path.read_text()]


def read_all(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def read(path: Path) -> dict[str, Any]:
    (document,) = read_all(path)
    return document


JOBS = [
    pytest.param(document, id=f"{path.name}:{document['metadata']['name']}")
    for path in FILES
    for document in read_all(path)
    if document["kind"] == KIND
]
DOCUMENTS: list[dict[str, Any]] = [each.values[0] for each in JOBS]  # type: ignore[misc]


def ids(path: Path) -> str:
    return path.name


def test_the_example_of_a_queue_fits_together() -> None:
    queues = {each["kind"]: each for each in read_all(EXAMPLES / "kueue" / "queues.yaml")}
    local, whole = queues["LocalQueue"], queues["ClusterQueue"]["spec"]
    assert local["spec"] == {"clusterQueue": queues["ClusterQueue"]["metadata"]["name"]}
    (group,) = whole["resourceGroups"]
    (flavor,) = group["flavors"]
    assert flavor["name"] == queues["ResourceFlavor"]["metadata"]["name"]
    assert [each["name"] for each in flavor["resources"]] == group["coveredResources"]
    job = read(EXAMPLES / "kueue" / "train.yaml")
    assert job["spec"]["queueName"] == local["metadata"]["name"]
    assert load(resolve(DinoJob.model_validate(job)))[1] == []
    (trains,) = [each for each in made(job).objects if is_training(each)]
    labels = trains["metadata"]["labels"]
    assert labels[KUEUE_QUEUE_LABEL] == local["metadata"]["name"]
    assert (
        labels["kueue.x-k8s.io/priority-class"]
        == (queues["WorkloadPriorityClass"]["metadata"]["name"])
    )
    (container,) = trains["spec"]["template"]["spec"]["containers"]
    assert set(container["resources"]["requests"]) <= set(group["coveredResources"])


def test_the_search_in_a_queue_has_thirty_trials_in_the_queue_of_the_example() -> None:
    """Trial 0 is a DinoJob, the others are Katib's: the queue is that of both."""
    search = read(EXAMPLES / "kueue" / "search.yaml")
    trials = made(search, engine=None)
    (experiment,) = [each for each in trials.objects if each["kind"] == "Experiment"]
    assert experiment["spec"]["maxTrialCount"] == 29
    job = experiment["spec"]["trialTemplate"]["trialSpec"]
    queues = {each["kind"]: each for each in read_all(EXAMPLES / "kueue" / "queues.yaml")}
    queue = queues["LocalQueue"]["metadata"]["name"]
    assert job["metadata"]["labels"][KUEUE_QUEUE_LABEL] == queue
    (first,) = [each for each in trials.objects if each["kind"] == KIND]
    assert first["spec"]["queueName"] == queue
    (group,) = queues["ClusterQueue"]["spec"]["resourceGroups"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert set(container["resources"]["requests"]) <= set(group["coveredResources"])
    assert trials.warnings == ()


def is_training(thing: Object) -> bool:
    return thing["kind"] == "Job" and thing["metadata"]["labels"][Label.ACTION] == Action.TRAIN


def test_there_are_examples() -> None:
    names = {path.name for path in FILES}
    assert {"digits-train.yaml", "bccd-train.yaml", "gpu-train.yaml", "nodes-train.yaml"} <= names
    assert {path.name for path in SEARCHES} >= {"bccd-automl.yaml", "gpu-automl.yaml"}
    assert {each["spec"]["action"] for each in DOCUMENTS} == set(Action), "one for every action"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_opens_with_the_command_that_runs_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# kubectl ")
    assert f"apply -f examples/{path.name}" in first


@pytest.mark.parametrize("document", JOBS)
def test_is_a_dinojob_without_problems_or_warnings(document: dict[str, Any]) -> None:
    assert (document["apiVersion"], document["kind"]) == (API_VERSION, KIND)
    job = DinoJob.model_validate(document)
    _, problems = load(resolve(job), action=job.spec.action)
    assert problems == []


@pytest.mark.parametrize("document", JOBS)
def test_has_no_key_that_the_resource_does_not_know(document: dict[str, Any]) -> None:
    """Reading a DinoJob is tolerant, so a misspelt key must be looked for."""
    model = DinoJob.model_validate(document)
    known = model.model_dump(by_alias=True)
    assert not unknown_keys(document["spec"], known["spec"], "spec")


def unknown_keys(given: Any, known: Any, path: str) -> list[str]:
    if isinstance(given, dict) and isinstance(known, dict) and path != "spec.experiment":
        found = [f"{path}.{key}" for key in given if key not in known]
        return found + [
            problem
            for key in given
            if key in known
            for problem in unknown_keys(given[key], known[key], f"{path}.{key}")
        ]
    return []


@pytest.mark.parametrize("path", SEARCHES, ids=ids)
def test_is_a_search_without_problems_or_warnings(path: Path) -> None:
    """Known to the CRD's schema, resolved, and each experiment that is shown one that trains."""
    document = read(path)
    assert (document["apiVersion"], document["kind"]) == (API_VERSION, AUTOML_KIND)
    assert (
        resolve_search(DinoAutoMLSpec.model_validate(document["spec"]), SmokeProfile()).warnings
        == []
    )
    jobs = [each for each in made(document).objects if each["kind"] == KIND]
    assert len(jobs) == document["spec"]["parallelTrials"]
    for job in jobs:
        _, problems = load(resolve(DinoJob.model_validate(job)))
        assert problems == []


def made(document: Object, engine: Any = "Embedded") -> Preview:
    return preview(document, Settings("trainer:1"), engine)


def test_the_search_for_gpus_runs_on_katib_as_well() -> None:
    last = made(read(EXAMPLES / "gpu-automl.yaml"), "Katib").objects[-1]
    assert last["kind"] == "Experiment"


def test_a_search_of_an_example_says_what_is_searched_by_default() -> None:
    """The comment in the file stands in the place of spec.search."""
    path = EXAMPLES / "gpu-automl.yaml"
    spec = DinoAutoMLSpec.model_validate(read(path)["spec"])
    space = resolve_search(spec, SmokeProfile()).space
    comment = path.read_text().partition("# search is left out:")[2].partition("are searched")[0]
    assert all(one.path in comment for one in space)


def test_the_secrets_keys_are_those_that_pods_read() -> None:
    secret = read(EXAMPLES / "s3-secret.yaml")
    assert secret["kind"] == "Secret"
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_outputs_differ() -> None:
    """A job resumes from its output: two of one action that share it would fight."""
    specs = [each["spec"] for each in DOCUMENTS]
    outputs = [(each["output"]["uri"], each["action"]) for each in specs]
    outputs += [(read(path)["spec"]["template"]["output"]["uri"], "train") for path in SEARCHES]
    assert len(set(outputs)) == len(outputs)


def test_the_chain_goes_from_a_training_to_an_int8_file_that_is_evaluated() -> None:
    """In the order in which each waits for the one before it, and nothing is refused."""
    chain = read_all(EXAMPLES / "chain.yaml")
    actions = [each["spec"]["action"] for each in chain]
    assert actions == ["train", "evaluate", "export", "quantize", "evaluate"]
    by_name = {each["metadata"]["name"]: each for each in chain}
    parents = [each["spec"].get("parent", {}).get("name") for each in chain]
    assert [by_name[name]["spec"]["action"] if name else None for name in parents] == [
        None,
        "train",
        "train",
        "export",
        "quantize",
    ]
    train = read(EXAMPLES / "bccd-train.yaml")["spec"]["experiment"]
    assert chain[0]["spec"]["experiment"] == train, "the same training"


@pytest.mark.parametrize("document", JOBS)
def test_waits_for_a_job_of_the_examples_that_leaves_what_it_takes(
    document: dict[str, Any],
) -> None:
    named = document["spec"].get("parent", {}).get("name")
    others = {each["metadata"]["name"]: {**each, "status": {}} for each in DOCUMENTS}
    if named is None:
        return
    meta = {"namespace": "demo", "uid": "u", **document["metadata"]}
    children = around(others={(KIND, named): others[named]})
    resource = {**document, "metadata": meta}
    done = plan(resource, children, NOW, Settings("trainer:1"))
    assert done.status is not None
    said = [each for each in done.status["conditions"] if each["type"] == "ParentReady"]
    assert said[0]["reason"] == "WaitingForParent", said[0]["message"]
