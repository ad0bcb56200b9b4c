"""Models that go from job to job: by format into the action's key, or refused in words."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import yaml

from dino_api.actions import facts_of
from dino_api.formats import CALLED, Format
from dino_api.names import Action
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Plan
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import spec_file
from dino_operator.plan.rendered.inheritance import left_in
from dino_operator.plan.rendered.model_files import misfit
from tests.builders import Builder, JobBuilder, Object, a_job, around, later
from tests.unit.plan_actions import ACTIONS, DATA, FILES, KEYS, TAKES, given, job_to, that_left
from tests.unit.plan_cases import SETTINGS
from tests.unit.plan_searches import a_search_for

STRUCTURE = {"backbone": "resnet_18", "num_queries": 100, "num_select": 50, "dropout_ratio": 0.1}
WELL = [(action, model) for action in ACTIONS for model in TAKES[action]]
ILL = [(action, model) for action in ACTIONS for model in FILES if model not in TAKES[action]]
LEAVERS = {"checkpoint": "train", "onnx": "export", "engine": "gen_trt_engine"}
"""An evaluation hands on a model of any other format."""


def looked(job: JobBuilder, *others: Builder) -> Plan:
    named = {(each.thing["kind"], each.meta["name"]): each.obj() for each in others}
    return plan(job.obj(), around(others=named), later(60), SETTINGS)


def heir(action: str, name: str = "base", kind: str = "DinoJob") -> JobBuilder:
    return job_to(action).spec(parent={"name": name, "kind": kind}).experiment()


def taken(done: Plan) -> Object:
    assert done.status is not None
    return dict(done.status["inherited"])


def ready(done: Plan) -> tuple[str, str, str]:
    assert done.status is not None
    (found,) = (each for each in done.status["conditions"] if each["type"] == "ParentReady")
    return found["status"], found["reason"], found["message"]


def read(job: JobBuilder) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(spec_file.read_spec(DinoJob(job.obj())).content)
    return content


@pytest.mark.parametrize("action, model", WELL)
def test_a_parents_model_goes_into_the_actions_own_key(action: str, model: str) -> None:
    job = heir(action)
    done = looked(job, that_left(model, LEAVERS.get(model, "evaluate")))
    assert ready(done) == (
        "True",
        "ParentComplete",
        f"the job starts from {FILES[model]['uri']} of DinoJob base",
    )
    section, key = KEYS[action, model]
    assert read(job.status(done.status))[section][key] == FILES[model]["uri"]


@pytest.mark.parametrize("action, model", ILL)
def test_a_model_that_the_action_cannot_take_is_refused_in_words(action: str, model: str) -> None:
    leaver = LEAVERS.get(model, "evaluate")
    done = looked(heir(action), that_left(model, leaver))
    assert not done.creates
    assert done.status is not None
    failure = done.status["failure"]
    assert failure["reason"] == "InvalidSpec"
    leaves = "leaves" if model in LEAVERS else "left"
    said = f"DinoJob base ({leaver}) {leaves} {CALLED[model]}: "
    assert said in failure["message"]
    assert failure["message"].startswith(f"{action} needs {CALLED[TAKES[action][0]]}, and ")
    assert ready(done)[:2] == ("False", "InvalidSpec")


def test_the_way_out_is_named() -> None:
    done = looked(heir("gen_trt_engine"), that_left("checkpoint"))
    assert ready(done)[2] == (
        "gen_trt_engine needs an ONNX file, and DinoJob base (train) leaves a checkpoint: put an "
        "export between them"
    )


def test_nobody_waits_hours_for_a_model_of_no_use() -> None:
    """What a job will leave is known from its action, or from the parent of an evaluation."""
    training = job_to("train", "first")
    between = job_to("evaluate", "base").spec(parent={"name": "first"})
    done = looked(heir("quantize"), between, training)
    assert done.status is not None
    assert done.status["failure"]["reason"] == "InvalidSpec"
    assert "DinoJob base (evaluate) leaves a checkpoint" in ready(done)[2]
    unknown = looked(heir("quantize"), between)
    assert ready(unknown)[:2] == ("False", "WaitingForParent"), "first may be an export"
    assert ready(looked(heir("export"), training, between))[1] == "WaitingForParent"


@pytest.mark.parametrize(
    "between, refused",
    [
        ({}, True),  # a checkpoint of its own output
        ({"parent": {"uri": "s3://b/m.onnx"}}, False),
        ({"parent": {"uri": "s3://b/m.pth"}}, True),
    ],
)
def test_what_an_evaluation_will_hand_on(between: Object, refused: bool) -> None:
    done = looked(heir("quantize"), job_to("evaluate", "base").spec(**between))
    assert (ready(done)[1] == "InvalidSpec") == refused


def test_what_it_handed_on_in_the_end_counts() -> None:
    """Its own parent is gone: only its status says of which kind its model is."""
    base = that_left("onnx", "evaluate").spec(parent={"name": "gone"})
    done = looked(heir("export"), base)
    assert ready(done) == (
        "False",
        "InvalidSpec",
        "export needs a checkpoint, and DinoJob base (evaluate) left an ONNX file: name the "
        "training that the ONNX file was made from",
    )
    assert "inherited" in (looked(heir("quantize"), base).status or {})


def test_the_winner_of_a_search_is_a_checkpoint() -> None:
    weights = {"uri": "s3://w/best.pth", "sha256": "ab", "bytes": 7, "epoch": 3}
    best = {"checkpoint": weights, "specification": {"model": STRUCTURE}}
    search = a_search_for(a_job("base")).told("Complete", best=best, dataset={"numClasses": 4})
    done = looked(heir("export", kind="DinoAutoML"), search.condition("Complete"))
    model = {"uri": "s3://w/best.pth", "format": "checkpoint", "sha256": "ab", "bytes": 7}
    assert taken(done) == {"model": model, "experiment": {"model": STRUCTURE}, "numClasses": 4}
    refused = looked(heir("quantize", kind="DinoAutoML"), search)
    assert "DinoAutoML base leaves a checkpoint" in ready(refused)[2]


def test_an_older_training_that_names_no_model_has_its_checkpoint() -> None:
    base = job_to("train", "base").status({"checkpoint": {"uri": "s3://w/best.pth"}})
    base.condition("Complete")
    assert taken(looked(heir("export"), base))["model"]["uri"] == "s3://w/best.pth"


def test_structure_and_classes_go_down_the_chain() -> None:
    """From the training by way of export and quantization; the training may be gone."""
    base = that_left("checkpoint", dataset={"numClasses": 4})
    base.experiment(model={**STRUCTURE, "pretrained_backbone_path": "imagenet"})
    first = taken(looked(heir("export"), base))
    assert first["experiment"]["model"] == STRUCTURE
    export = that_left("onnx", "export", inherited=first, dataset={"numClasses": 3})
    second = taken(looked(heir("quantize"), export))
    assert second["experiment"] == first["experiment"]
    assert second["numClasses"] == 4, "those of the model, not of the data it was compared on"
    spec = read(heir("quantize").status({"inherited": second}))
    kept = {key: STRUCTURE[key] for key in ("backbone", "num_queries", "num_select")}
    assert spec["model"] == kept, "dropout is nothing to an ONNX file"
    assert spec["dataset"]["num_classes"] == 4


def test_a_distilled_student_leaves_its_own_structure() -> None:
    teacher = {"model": {"backbone": "resnet_50", "enc_layers": 6}}
    base = that_left("checkpoint", "distill", inherited={"experiment": teacher})
    base.experiment(model={"backbone": "resnet_18", "distillation_loss_coef": 2.0})
    assert taken(looked(heir("export"), base))["experiment"]["model"] == {"backbone": "resnet_18"}


def test_a_teacher_gives_its_structure_and_leaves_the_students_alone() -> None:
    job = heir("distill").experiment(model={"backbone": "resnet_18"})
    job.status(given("checkpoint", experiment={"model": STRUCTURE}, numClasses=4))
    spec = read(job)
    assert spec["model"] == {"backbone": "resnet_18"}
    assert spec["distill"]["teacher"]["num_queries"] == 100
    assert "pretrained_model_path" not in spec["train"]
    assert spec["dataset"]["num_classes"] == 4


@pytest.mark.parametrize(
    "action, spec, refused",
    [
        ("export", {"experiment": {"model": {"num_queries": 300}}}, "num_queries: must be 100"),
        ("evaluate", {"experiment": {"model": {"enc_layers": 2}}}, "enc_layers: must be 6"),
        (
            "evaluate",
            {"numClasses": 9},
            "spec.numClasses: 9 is given, and the parent's model has 4",
        ),
        ("train", {"numClasses": 9}, None),
        ("distill", {"experiment": {"model": {"num_queries": 300}}}, None),
        ("export", {"experiment": {"model": {"num_queries": 100}}}, None),
    ],
)
def test_another_model_than_the_parents_is_refused_before_a_pod_starts(
    action: str, spec: Object, refused: str | None
) -> None:
    job = heir(action).spec(**spec)
    job.status(given("checkpoint", experiment={"model": STRUCTURE}, numClasses=4))
    done = looked(job)
    assert bool(done.creates) is (refused is None)
    if refused is not None:
        assert done.status is not None
        assert refused in done.status["failure"]["message"]


CHECKPOINTS = [".ckpt", ".pt", ".bin", ".pkl", ".safetensors", ".CKPT"]


@pytest.mark.parametrize(
    "action, uri, key",
    [
        ("export", "s3://b/m.pth", ("export", "checkpoint")),
        ("evaluate", "s3://b/m.tlt", ("evaluate", "checkpoint")),
        ("evaluate", "s3://b/m.safetensors", ("evaluate", "checkpoint")),
        ("export", "s3://b/m.ckpt", ("export", "checkpoint")),
        ("distill", "s3://b/m.bin", ("distill", "pretrained_teacher_model_path")),
        ("inference", "s3://b/m.pt", ("inference", "checkpoint")),
        ("quantize", "s3://b/m.onnx", ("quantize", "model_path")),
        ("inference", "s3://b/m.engine", ("inference", "trt_engine")),
        ("distill", "s3://b/m.pth", ("distill", "pretrained_teacher_model_path")),
        ("train", "s3://b/m.safetensors", ("train", "pretrained_model_path")),
        *(("evaluate", f"s3://b/a.b/M{end}", ("evaluate", "checkpoint")) for end in CHECKPOINTS),
        ("evaluate", "s3://b/M.ONNX", ("evaluate", "onnx_file")),
    ],
)
def test_a_file_is_there_and_not_waited_for(action: str, uri: str, key: tuple[str, str]) -> None:
    """Its structure stands in it: a key of the job's own is compared in the pod."""
    job = job_to(action).spec(parent={"uri": uri}, experiment={"model": {"num_queries": 77}})
    done = looked(job)
    assert done.creates
    assert done.status is not None
    assert "ParentReady" not in [each["type"] for each in done.status["conditions"]]
    spec = read(job)
    assert spec[key[0]][key[1]] == uri
    assert spec["model"] == {"num_queries": 77}


def test_a_file_of_no_use_is_refused() -> None:
    done = looked(job_to("export").spec(parent={"uri": "s3://b/m.onnx"}))
    assert not done.creates
    assert done.status is not None
    assert "export needs a checkpoint, and spec.parent.uri is an ONNX file" in str(done.status)


def test_nothing_is_made_up_about_a_model_that_only_its_file_knows() -> None:
    """An evaluation of a file hands it on; the next job's keys are compared in its pod."""
    base = that_left("onnx", "evaluate", dataset={"numClasses": 4})
    base.spec(parent={"uri": FILES["onnx"]["uri"]})
    left = taken(looked(heir("quantize"), base))
    assert left == {"model": FILES["onnx"]}
    job = heir("quantize").experiment(model={"num_queries": 77}).status({"inherited": left})
    assert looked(job).creates


def test_a_chain_waits_link_by_link_in_words() -> None:
    chain = [
        ("train", None),
        ("evaluate", "train"),
        ("export", "train"),
        ("quantize", "export"),
        ("evaluate", "quantize"),
    ]
    jobs: dict[str, JobBuilder] = {}
    for number, (action, parent) in enumerate(chain):
        job = job_to(action, f"{action}-{number}")
        if parent is not None:
            before = next(name for name in jobs if name.startswith(parent))
            job.spec(parent={"name": before})
        jobs[job.meta["name"]] = job
    others = list(jobs.values())
    first, *waiting = others
    assert looked(first, *others[1:]).creates
    for job in waiting:
        done = looked(job, *(each for each in others if each is not job))
        before = job.thing["spec"]["parent"]["name"]
        said = f"DinoJob {before} has not ended yet; it is waited for"
        assert not done.creates
        assert ready(done) == ("False", "WaitingForParent", said)


WEIGHTS = {"quantize": {"backend": "torchao", "mode": "weight_only_ptq"}}
PACKED = {"uri": "s3://results/base/quantize/dino_model_int8.pth", "format": "checkpoint"}


def of_weights(job: JobBuilder) -> JobBuilder:
    job.thing["spec"].pop("datasets")
    return job.experiment(**WEIGHTS)


def test_weights_alone_are_quantized_of_a_checkpoint_and_without_calibration_data() -> None:
    job = of_weights(heir("quantize"))
    done = looked(job, that_left("checkpoint"))
    assert ready(done)[0] == "True"
    content = read(job.status(done.status))
    assert content["quantize"]["model_path"] == FILES["checkpoint"]["uri"]
    refused = looked(of_weights(heir("quantize")), that_left("onnx", "export"))
    assert ready(refused)[2] == (
        "quantize with mode weight_only_ptq needs a checkpoint, and DinoJob base (export) leaves "
        "an ONNX file: name the training that the ONNX file was made from"
    )


@pytest.mark.parametrize("ended", [False, True])
def test_a_checkpoint_of_int8_weights_is_for_finding_objects_alone(ended: bool) -> None:
    base = of_weights(job_to("quantize", "base"))
    if ended:
        base.status({"model": {**PACKED, "precision": "int8"}}).condition("Complete")
    for action, way in {
        "train": "a checkpoint, and",
        "distill": "a checkpoint, and",
        "export": "a checkpoint, and",
        "gen_trt_engine": "an ONNX file, and",
    }.items():
        said = ready(looked(heir(action), base))
        assert said[1] == "InvalidSpec"
        leaves = f"{action} needs {way} DinoJob base (quantize) leaves a checkpoint of INT8 weights"
        assert said[2].startswith(leaves)
    done = looked(heir("evaluate"), base)
    assert ready(done)[0] == str(ended)
    if ended:
        spec = read(heir("evaluate").status({"inherited": taken(done)}))
        assert spec["evaluate"]["checkpoint"] == PACKED["uri"]


def test_where_the_trainers_words_are_lost_the_int8_checkpoint_is_known_by_its_name() -> None:
    job = DinoJob(of_weights(job_to("quantize", "base")).obj())
    assert left_in("s3://results/base/quantize", job) == {**PACKED, "precision": "int8"}


def test_every_format_has_its_rows_here_and_a_way_to_what_each_action_takes() -> None:
    assert set(FILES) == set(get_args(Format)), "tests/unit/plan_actions.py has a row for each"
    assert set(DATA) == set(TAKES) == set(Action), "and for each action"
    for action in Action:
        taken = facts_of(action, weights=False).takes
        for model in set(CALLED) - set(taken):
            refusal = misfit(action, model, "DinoJob base (train) left")
            assert refusal is not None
            assert "another model" not in refusal, "say how one comes to it, in _REMEDIES"
