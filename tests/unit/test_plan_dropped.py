"""Keys that were applied and that the API server dropped: refused before anything is made."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dino_api.experiment.paths import MOST_HINTS, without_nulls
from dino_api.loading import load
from dino_api.names import AUTOML_KIND, KIND, Action
from dino_operator.plan.annotations import LAST_APPLIED, Annotation
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Plan, Settings
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.dropped_keys import problems, with_nulls
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.observed.status import StoredInheritance
from dino_operator.plan.rendered.inheritance import conflicts, merged
from dino_operator.plan.rendered.spec_file import read_spec
from dino_operator.plan.search import decide
from dino_operator.runtime.keys import Kind
from dino_operator.runtime.trim import trim
from tests.builders import NOON, JobBuilder, Object, a_child, a_job, a_preflight, around, at
from tests.unit.plan_searches import a_search_for, a_searched
from tests.unit.search_builders import a_search

SETTINGS = Settings(trainer_image="trainer:1")
UNKNOWN = "is unknown, and the API server dropped it."
HOW = (
    "correct the keys and apply it strictly: kubectl apply refuses unknown keys by itself, Argo CD "
    "with the sync option ServerSideApply=true."
)


def applied(resource: Object, *changes: tuple[str, Any]) -> Object:
    """The stored resource with what was applied noted: its spec with values at dotted paths."""
    written = {"spec": copy.deepcopy(resource["spec"])}
    for path, value in changes:
        *parents, leaf = path.split("/")
        node: Any = written
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        node[leaf] = value
    resource["metadata"].setdefault("annotations", {})[LAST_APPLIED] = json.dumps(written)
    return resource


TRAIN = "spec/experiment/train"
SAID: dict[str, tuple[tuple[str, Any], list[str]]] = {
    "a misspelt key of the experiment": (
        (f"{TRAIN}/num_epoch", 1),
        [
            f"spec.experiment.train.num_epoch: {UNKNOWN} "
            "Did you mean spec.experiment.train.num_epochs?"
        ],
    ),
    "another trainer's word": (
        (f"{TRAIN}/learning_rate", 1),
        [
            f"spec.experiment.train.learning_rate: {UNKNOWN} "
            "Did you mean spec.experiment.train.optim.lr?"
        ],
    ),
    "a misspelt key of the resource": (
        ("spec/runPolicy/maxRetry", 1),
        [f"spec.runPolicy.maxRetry: {UNKNOWN} Did you mean spec.runPolicy.maxRetries?"],
    ),
    "a key of a list's entry": (
        ("spec/datasets/train/0/annotation", "a.json"),
        [
            f"spec.datasets.train[0].annotation: {UNKNOWN} "
            "Did you mean spec.datasets.train[0].annotations?"
        ],
    ),
    "a key that is like no other": (("spec/zzz", 1), [f"spec.zzz: {UNKNOWN}"]),
    "a path as a key": (
        ("spec/experiment/train.num_epochs", 1),
        [
            f'spec.experiment["train.num_epochs"]: {UNKNOWN} '
            "Did you mean spec.experiment.train.num_epochs?"
        ],
    ),
    "no policy": (
        ("spec/automlPolicy", None),
        [
            "spec.automlPolicy: has no value, and means Auto where it is left out. "
            "Give it a value, or remove the key."
        ],
    ),
    "no retries": (
        ("spec/runPolicy/maxRetries", None),
        [
            "spec.runPolicy.maxRetries: has no value, and means 3 where it is left out. "
            "Give it a value, or remove the key."
        ],
    ),
    "null in the experiment, which is as if left out": ((f"{TRAIN}/num_epochs", None), []),
    "null for what is nothing anyway": (("spec/runPolicy/suspend", None), []),
    "null for no limit": (("spec/runPolicy/activeDeadlineSeconds", None), []),
    "null for no queue": (("spec/queueName", None), []),
    "an empty section": (("spec/podTemplate", None), []),
    "an empty section of the experiment": (("spec/experiment/model", None), []),
    "a known key that was removed since": (("spec/runPolicy/suspend", True), []),
    "a known section that was removed since": (("spec/resources", {"gpus": 2}), []),
    "a free map": (("spec/podTemplate/labels", {"team/anything": "x"}), []),
    "a node's label": (("spec/podTemplate/nodeSelector", {"gpu": "a"}), []),
    "values of any kind": ((f"{TRAIN}/freeze", ["backbone"]), []),
}


def lost(resource: Object, at: tuple[str, Any]) -> Object:
    """As stored where the key of that name, if it is known, was dropped, too."""
    node = resource
    *parents, leaf = at[0].split("/")
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node.get(name, {})
    node.pop(leaf, None)
    return resource


@pytest.mark.parametrize(("change", "said"), SAID.values(), ids=SAID.keys())
def test_what_was_dropped(change: tuple[str, Any], said: list[str]) -> None:
    resource = applied(a_job().obj(), change)
    assert problems(lost(resource, change), KIND) == said


LEFT_OUT = (
    "warning: spec.experiment.train.num_epochs: has no value (null), and is taken as left out. The "
    "default is 10."
)
"""What is said of it, once."""


def with_a_null(way: str) -> Object:
    """A job whose epochs are null: kubectl apply drops it and notes it, other ways store it."""
    job = a_job().experiment(model={"num_queries": 100})
    if way == "stored":
        return job.experiment(train={"num_epochs": None}).obj()
    return applied(job.obj(), (f"{TRAIN}/num_epochs", None))


@pytest.mark.parametrize("way", ["stored", "dropped"])
def test_a_null_of_the_experiment_is_left_out_with_a_note(way: str) -> None:
    resource = with_a_null(way)
    checked = plan(resource, around(jobs=(a_preflight(a_job()).complete().obj(),)), NOON, SETTINGS)
    for found in (plan(trim(Kind.DINOJOBS, resource), Children(), NOON, SETTINGS), checked):
        (job,) = (each for each in found.creates if each["kind"] == "Job")
        assert job["metadata"]["annotations"][Annotation.WARNINGS].count(LEFT_OUT) == 1
        for each in found.creates:
            if each["kind"] in ("ConfigMap", "Secret"):
                assert "null" not in json.dumps(each)
    assert resource == with_a_null(way), "the stored object is left as it is"


def test_a_null_changes_nothing_else() -> None:
    plain = a_job().experiment(model={"num_queries": 100})
    nulls = plain.experiment(
        train={"num_epochs": None, "optim": None, "num_gpus": None, "gpu_ids": None},
        dataset={"train_data_sources": None, "num_classes": None},
        encryption_key=None,
        export=None,
    )
    read, same = (read_spec(DinoJob(each.obj())) for each in (nulls, plain))
    assert (read.digest, read.batch, load(read.mapping)) == (
        same.digest,
        same.batch,
        load(same.mapping),
    )
    whole, none = (read_spec(DinoJob(a_job().spec(experiment=each).obj())) for each in (None, {}))
    assert (whole.digest, whole.warnings) == (none.digest, none.warnings)


@pytest.mark.parametrize("way", ["stored", "dropped"])
def test_a_null_of_a_search_is_left_out_with_a_note(way: str) -> None:
    nulls = {"train": {"num_epochs": 3, "optim": {"lr": None}}, "model": {"num_queries": None}}
    kept = {"train": {"num_epochs": 3, "optim": {}}, "model": {}}
    resource = a_search()
    resource["spec"]["template"]["experiment"] = nulls if way == "stored" else kept
    if way == "dropped":
        resource = applied(resource, ("spec/template/experiment", nulls))
    found = decide.plan(trim(Kind.DINOAUTOMLS, resource), Children(), NOON, SETTINGS)
    (trial,) = (each for each in found.creates if each["kind"] == KIND)
    assert trial["spec"]["experiment"] == without_nulls(trial["spec"]["experiment"])
    said = " ".join(each.message for each in found.events)
    for key in ("train.optim.lr", "model.num_queries"):
        where = f"spec.template.experiment.{key}"
        assert f"{where}: has no value (null), and is taken as left out." in said


@pytest.mark.parametrize(
    "odd",
    [
        {"train": {"num_epoch": None, "zzz": {"a": None}}, "zzz": None},
        {"train": {"num_epochs": {"a": None}}},
        {"train": [None], "model": 3},
        {"train": {"optim": {"lr_steps": [None]}}},
        None,
        [None],
    ],
)
def test_a_null_that_is_no_key_of_the_experiment_is_not_put_back(odd: Any) -> None:
    """What has begun goes on, whatever is applied to it later."""
    job = a_job().experiment(train={"num_epochs": 3}).obj()
    assert (
        with_nulls(applied(copy.deepcopy(job), ("spec/experiment", odd)), KIND)["spec"]
        == (job["spec"])
    )


def test_a_null_of_a_searched_job_goes_into_its_search() -> None:
    job = a_searched().experiment(train={"num_epochs": None})
    found = plan(job.obj(), Children(), NOON, SETTINGS)
    (search,) = (each for each in found.creates if each["kind"] == AUTOML_KIND)
    assert search["spec"]["template"]["experiment"]["train"] == {"num_epochs": None}


def test_a_null_is_the_parents_value_and_no_conflict() -> None:
    theirs = {"model": {"num_queries": 100}}
    model = {"uri": "s3://a/b.pth", "format": "checkpoint"}
    inherited = StoredInheritance({"model": model, "experiment": theirs})
    own = {"model": {"num_queries": None, "backbone": None}}
    assert conflicts(own, inherited) == []
    assert merged(own, inherited, Action.TRAIN)["model"] == {"num_queries": 100}


def test_a_key_that_is_stored_was_not_dropped() -> None:
    """A newer CRD knows more than this program; a value may have been given since."""
    newer = a_job().experiment(train={"new_key": 1}).obj()
    assert problems(applied(newer), KIND) == []
    edited = applied(a_job().obj(), ("spec/runPolicy/maxRetries", None))
    assert problems(edited, KIND) == []


@pytest.mark.parametrize("noted", ["", "{", "[]", "null", '{"spec": 1}', "[" * 10000])
def test_a_strange_note_says_nothing(noted: str) -> None:
    job = a_job().obj()
    job["metadata"]["annotations"] = {LAST_APPLIED: noted}
    assert problems(job, KIND) == []


def the_plan(job: JobBuilder, **children: Any) -> Plan:
    resource = applied(job.obj(), (f"{TRAIN}/num_epoch", 1))
    return plan(resource, around(**children), NOON, SETTINGS)


def failure_of(found: Plan) -> Object:
    assert found.status is not None
    return dict(found.status.get("failure") or {})


@pytest.mark.parametrize(
    "job", [a_job(), a_job().suspended(), a_searched()], ids=["trains", "suspended", "searched"]
)
def test_nothing_is_made_of_a_job_whose_key_was_dropped(job: JobBuilder) -> None:
    found = the_plan(job)
    failure = failure_of(found)
    assert found.creates == ()
    assert failure["reason"] == "InvalidSpec"
    assert failure["message"].startswith(f"spec.experiment.train.num_epoch: {UNKNOWN}")
    assert failure["remedy"] == f"Delete the DinoJob, {HOW}"


def test_work_that_has_begun_goes_on() -> None:
    for child in (a_preflight(a_job()), a_child(a_job())):
        assert failure_of(the_plan(a_job(), jobs=(child.obj(),))) == {}
    searched = a_searched()
    assert failure_of(the_plan(searched, automls=(a_search_for(searched).obj(),))) == {}
    for status in ({"attempts": 1}, {"automl": "x"}, {"conditions": [DATA_READY]}):
        found = the_plan(a_job().status(status))
        assert found.status is None or failure_of(found) == {}


DATA_READY = {
    "type": "DataReady",
    "status": "True",
    "reason": "DataChecked",
    "message": "",
    "lastTransitionTime": at(0),
}


def test_a_job_that_has_ended_stays_as_it_is() -> None:
    over = {
        "type": "Complete",
        "status": "True",
        "reason": "Completed",
        "message": "",
        "lastTransitionTime": at(0),
    }
    found = the_plan(a_job().status({"conditions": [over], "observedGeneration": 1}))
    assert found.status is None or "failure" not in found.status


SEARCHES: dict[str, tuple[tuple[str, Any], str]] = {
    "a misspelt key": (("spec/maxTrial", 3), "spec.maxTrial: "),
    "a misspelt key of the template": (
        ("spec/template/experiment/train/num_epoch", 1),
        "Did you mean spec.template.experiment.train.num_epochs?",
    ),
    "no pruning": (("spec/pruning", None), "spec.pruning: has no value, and means median"),
    "no name of pruning": (("spec/pruning", {"name": None}), "spec.pruning.name: has no value"),
}


@pytest.mark.parametrize(("change", "said"), SEARCHES.values(), ids=SEARCHES.keys())
def test_nothing_is_made_of_a_search_whose_key_was_dropped(
    change: tuple[str, Any], said: str
) -> None:
    resource = lost(applied(a_search(), change), change)
    found = decide.plan(resource, Children(), NOON, SETTINGS)
    failure = failure_of(found)
    assert found.creates == ()
    assert (failure["reason"], said in failure["message"]) == ("InvalidSpec", True)
    assert failure["remedy"] == f"Delete the DinoAutoML, {HOW}"
    trial = a_job("x-trial-0").obj()
    namesakes = decide.plan(resource, around(dinojobs=(trial,)), NOON, SETTINGS)
    assert failure_of(namesakes) == failure, "of a search that was deleted before"
    trial["metadata"]["ownerReferences"] = [{"uid": "uid-x", "controller": True}]
    begun = decide.plan(resource, around(dinojobs=(trial,)), NOON, SETTINGS)
    assert begun.status is None or failure_of(begun) == {}


def test_the_cache_keeps_the_note_only_where_it_says_something() -> None:
    good, bad = applied(a_job().obj()), applied(a_job().obj(), ("spec/zzz", 1))
    assert "annotations" not in trim(Kind.DINOJOBS, good)["metadata"]
    kept = trim(Kind.DINOJOBS, bad)
    assert kept["metadata"]["annotations"] == {
        LAST_APPLIED: bad["metadata"]["annotations"][LAST_APPLIED]
    }
    assert problems(kept, KIND) == problems(bad, KIND) != []


@pytest.mark.parametrize("action", ["export", "gen_trt_engine", "evaluate"])
def test_data_without_a_value_is_no_profile_where_nothing_is_searched(action: str) -> None:
    job = a_job().spec(action=action)
    del job.thing["spec"]["datasets"]
    assert problems(applied(job.obj(), ("spec/datasets", None)), KIND) == []


def test_data_without_a_value_is_the_profiles_in_a_search() -> None:
    job = a_job().searched()
    del job.thing["spec"]["datasets"]
    assert problems(applied(job.obj(), ("spec/datasets", None)), KIND) == [
        "spec.datasets: has no value, and means the data of the installation's smoke profile "
        "where it is left out. Give it a value, or remove the key."
    ]


def test_of_many_dropped_keys_the_first_are_compared_with_known_ones() -> None:
    """Each comparison takes a millisecond, in which the operator does nothing else."""
    changes = [(f"{TRAIN}/num_epochs{number}", 1) for number in range(MOST_HINTS + 30)]
    said = problems(applied(a_job().obj(), *changes), KIND)
    assert len(said) == MOST_HINTS + 30
    assert sum("Did you mean" in sentence for sentence in said) == MOST_HINTS
