"""Jobs of every action: their names, their preflight, their pods, their words, their ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from dino_api.failures import TABLE, FailureRule
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Plan
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import names, spec_file
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    Object,
    PodBuilder,
    a_child,
    a_pod,
    around,
    at,
    later,
)
from tests.statuses import changed_at, told
from tests.unit.plan_actions import ACTIONS, DATA, given, job_to
from tests.unit.plan_cases import SETTINGS

LEFT = {"attempts": 1, "specDigest": "digest", "image": "trainer:1"}
IMAGES = replace(SETTINGS, tensorrt_image="trainer:1-tensorrt")
EXPORTED = {"uri": "s3://results/x/export/dino_model.onnx", "format": "onnx", "precision": "fp32"}
REPORT = {"name": "report.html", "uri": "s3://results/x/quantize/report.html"}
COMPARED = {
    "reference": {"format": "onnx", "mAP": 0.512349, "latencyMs": 80.0},
    "candidate": {"format": "onnx", "precision": "int8", "mAP": 0.50123, "latencyMs": 40.0},
    "matched": 0.98765432,
    "loss": 0.01111,
    "maxLoss": 0.005,
}
ROUNDED = {
    "reference": {"format": "onnx", "mAP": 0.5123, "latencyMs": 80.0},
    "candidate": {"format": "onnx", "precision": "int8", "mAP": 0.5012, "latencyMs": 40.0},
    "matched": 0.9877,
    "loss": 0.0111,
    "maxLoss": 0.005,
}


def planned(
    job: JobBuilder,
    jobs: tuple[ChildBuilder, ...] = (),
    pods: tuple[PodBuilder, ...] = (),
    settings: Any = SETTINGS,
) -> Plan:
    children = around(tuple(each.obj() for each in jobs), tuple(each.obj() for each in pods))
    return plan(job.obj(), children, later(60), settings)


def jobs_of(done: Plan) -> list[Object]:
    return [each for each in done.creates if each["kind"] == "Job"]


def container(job: Object) -> Object:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def conditions(done: Plan) -> dict[str, tuple[str, str, str]]:
    assert done.status is not None
    found = done.status["conditions"]
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in found}


@pytest.mark.parametrize("action", ACTIONS)
def test_data_is_checked_first_and_for_what_it_is_for(action: str) -> None:
    done = planned(job_to(action))
    (first,) = jobs_of(done)
    if not DATA[action]:
        assert objects.name_of(first) == f"x-{action.replace('_', '-')}-1"
        assert "DataReady" not in conditions(done), "there is nothing to say"
        return
    assert objects.name_of(first) == "x-preflight-1"
    assert container(first)["command"][:2] == ["dino", "preflight"]
    assert container(first)["command"][4:] == ([] if action == "train" else checks_for(action))
    assert conditions(done)["DataReady"][:2] == ("False", "Checking")


@pytest.mark.parametrize("action", ["export", "gen_trt_engine"])
def test_data_that_only_serves_to_compare_is_checked_as_well(action: str) -> None:
    job = job_to(action).spec(datasets={"test": [{"uri": "s3://data/test"}]})
    (first,) = jobs_of(planned(job))
    assert container(first)["command"][4:] == checks_for(action)


def test_weights_alone_need_no_data_and_no_check_of_it() -> None:
    """A pod was made to check data that no one had named."""
    weights = {"mode": "weight_only_ptq", "backend": "torchao"}
    job = job_to("quantize").experiment(quantize=weights)
    job.thing["spec"].pop("datasets")
    done = planned(job)
    (first,) = jobs_of(done)
    assert objects.name_of(first) == "x-quantize-1"
    assert "DataReady" not in conditions(done)
    assert spec_file.read_spec(DinoJob(job.obj())).workers == 0


def checks_for(action: str) -> list[str]:
    """Jobs that share an output leave each other's reports alone."""
    return ["--for", action, "--report", f"s3://results/x/{action}/preflight"]


@pytest.mark.parametrize("action", ACTIONS)
def test_then_its_command_runs_under_a_name_that_hosts_can_have(action: str) -> None:
    job = job_to(action).condition("DataReady", reason="DataChecked", lastTransitionTime=at(0))
    done = planned(job)
    (made,) = jobs_of(done)
    assert objects.name_of(made) == f"x-{action.replace('_', '-')}-1"
    assert container(made)["command"] == ["dino", action, "-e", "/etc/dino/spec.yaml"]
    assert made["metadata"]["labels"]["dino-operator.io/action"] == action
    (config,) = (each for each in done.creates if each["kind"] == "ConfigMap")
    assert "_" not in objects.name_of(config)
    assert made["spec"]["podFailurePolicy"]["rules"][-1]["action"] == "FailJob"


def test_the_longest_name_of_an_engines_job_fits() -> None:
    name = names.job_name("n" * 50, "gen_trt_engine", 1000)
    assert len(name) <= 60
    assert name.endswith("-gen-trt-engine-1000")


@pytest.mark.parametrize("action", ACTIONS)
def test_the_pod_reads_what_the_resource_says(action: str) -> None:
    resolved = spec_file.read_spec(DinoJob(job_to(action).obj()))
    read = yaml.safe_load(resolved.content)
    keys = {
        "train": "train_data_sources",
        "validation": "val_data_sources",
        "test": "test_data_sources",
        "calibration": "quant_calibration_data_sources",
        "inference": "infer_data_sources",
    }
    assert {keys[each] for each in DATA[action]} == set(read.get("dataset", {}))
    assert read["results_dir"] == "s3://results/x"
    assert not [each for each in resolved.warnings if "no effect" in each or "only `" in each]


@pytest.mark.parametrize("action", ["evaluate", "inference", "quantize", "distill"])
def test_without_its_data_a_job_is_refused_by_name(action: str) -> None:
    done = planned(job_to(action).spec(datasets=None))
    assert not done.creates
    needed = next(iter(DATA[action]))
    assert f"spec.datasets.{needed}: is missing, and {action} reads it" in failure(done)


def failure(done: Plan) -> str:
    assert done.status is not None
    found = done.status["failure"]
    assert found["reason"] == "InvalidSpec"
    return str(found["message"])


def int8_engine(precision: str | None) -> JobBuilder:
    """An INT8 engine of an ONNX file in that precision; None where nobody knows it."""
    known = {} if precision is None else {"precision": precision}
    model = {"uri": "s3://results/base/model.onnx", "format": "onnx", **known}
    tensorrt = {"tensorrt": {"data_type": "INT8"}}
    job = job_to("gen_trt_engine").experiment(gen_trt_engine=tensorrt)
    return job.status({"inherited": {"model": model}})


def test_an_int8_engine_needs_value_ranges_in_its_parents_file_or_calibration_data() -> None:
    refused = planned(int8_engine("fp32"))
    assert not refused.creates
    said = failure(refused)
    assert "spec.datasets.calibration: is missing" in said
    assert "s3://results/base/model.onnx is in fp32" in said
    data = {"calibration": [{"uri": "s3://data/some"}]}
    for job in (int8_engine("int8"), int8_engine(None), int8_engine("fp32").spec(datasets=data)):
        assert jobs_of(planned(job))
    fp32 = int8_engine("fp32").experiment(gen_trt_engine={"tensorrt": {"data_type": "FP16"}})
    assert jobs_of(planned(fp32)), "only INT8 needs them"


@pytest.mark.parametrize(
    "job, image",
    [
        (job_to("gen_trt_engine").status(given("onnx")), "trainer:1-tensorrt"),
        (job_to("evaluate").status(given("engine")), "trainer:1-tensorrt"),
        (job_to("inference").spec(parent={"uri": "s3://b/m.engine"}), "trainer:1-tensorrt"),
        (job_to("evaluate").status(given("onnx")), "trainer:1"),
        (job_to("quantize").status(given("onnx")), "trainer:1"),
    ],
)
def test_engines_are_built_and_run_where_tensorrt_is(job: JobBuilder, image: str) -> None:
    """The data is checked in the trainer's own image; without a setting all is."""
    job.condition("DataReady", reason="DataChecked", lastTransitionTime=at(0))
    done = planned(job, settings=IMAGES)
    (made,) = jobs_of(done)
    assert container(made)["image"] == image
    assert done.status is not None
    assert done.status["image"] == image
    assert made["metadata"]["annotations"]["dino-operator.io/image"] == image
    (plain,) = jobs_of(planned(job))
    assert container(plain)["image"] == "trainer:1"


def test_the_check_of_an_engines_data_needs_no_tensorrt() -> None:
    job = job_to("evaluate").status(given("engine"))
    (made,) = jobs_of(planned(job, settings=IMAGES))
    assert container(made)["image"] == "trainer:1"
    assert "limits" not in container(made)["resources"]


def test_an_engine_goes_where_the_pod_template_says() -> None:
    job = job_to("gen_trt_engine").spec(podTemplate={"nodeSelector": {"gpu": "H200"}})
    (made,) = jobs_of(planned(job))
    assert made["spec"]["template"]["spec"]["nodeSelector"] == {"gpu": "H200"}
    assert container(made)["resources"]["limits"] == {"nvidia.com/gpu": "1"}


@pytest.mark.parametrize("action", ["gen_trt_engine", "evaluate"])
def test_an_engine_without_a_gpu_is_refused(action: str) -> None:
    model = "engine" if action == "evaluate" else "onnx"
    job = job_to(action).status(given(model)).spec(resources={"gpus": 0})
    done = planned(job)
    assert not done.creates
    assert "spec.resources.gpus: 0 is given, and a TensorRT engine" in failure(done)


def running(action: str, **more: Any) -> Object:
    name = f"x-{action.replace('_', '-')}-1-aaaaa"
    status = told(
        "Running",
        data=None if not DATA[action] else ("DataChecked", "10 images, 4 classes", True),
        running=("Started", f"pod {name} runs", True),
        reporter=name,
        startTime=at(5),
        **{**LEFT, **more},
    )
    return changed_at(status, Running=5)


def a_running(action: str) -> tuple[JobBuilder, ChildBuilder, PodBuilder]:
    job = job_to(action).status(running(action))
    child = a_child(job, action)
    return job, child, a_pod(child).running()


@pytest.mark.parametrize("action", ACTIONS)
def test_its_first_pod_reports(action: str) -> None:
    job, child, pod = a_running(action)
    assert planned(job, (child,), (pod,)).is_empty, "all that is true is said"
    job.status(None)
    job.thing.pop("status", None)
    done = planned(job, (child,), (pod,))
    assert done.status is not None
    assert done.status["reporter"] == objects.name_of(pod.obj())


@pytest.mark.parametrize("action", ACTIONS)
def test_only_trainings_are_said_to_save_checkpoints(action: str) -> None:
    job, child, pod = a_running(action)
    done = planned(job.suspended(), (child,), (pod,))
    said = conditions(done)["Running"][2]
    saves = action in ("train", "distill")
    assert said == f"pod {objects.name_of(pod.obj())}{' saves a checkpoint and' * saves} stops"
    held = planned(job.suspended(), (child.suspended(),))
    assert ("last checkpoint" in conditions(held)["Suspended"][2]) == saves


@pytest.mark.parametrize("action", ["evaluate", "export", "distill"])
def test_smaller_batches_where_memory_ran_out_have_passes_in_trainings_only(action: str) -> None:
    job = job_to(action).status(running(action))
    child = a_child(job, action).failed()
    dead = a_pod(child).exited(137, "OOMKilled")
    done = planned(job, (child,), (dead,))
    assert done.status is not None
    assert done.status["failure"]["reason"] == "OutOfMemory"
    assert conditions(done)["Running"][1] == "Retrying"
    assert done.status["microBatch"] == 2
    assert ("accumulation" in done.status) == (action == "distill")


@pytest.mark.parametrize("action", ["evaluate", "export"])
def test_what_is_stopped_leaves_no_checkpoint(action: str) -> None:
    job = job_to(action).status(running(action)).policy(stop=True)
    done = planned(job, (a_child(job, action).suspended(),))
    assert done.status is not None
    assert done.status["failure"]["reason"] == "Stopped"
    assert "checkpoint" not in done.status


def ended(action: str, code: int, message: Object, **status: Any) -> Plan:
    job = job_to(action).status(running(action, **status))
    child = a_child(job, action)
    child = child.failed() if code else child.complete()
    said = {"schema": 1, "action": action, **message}
    pod = a_pod(child).exited(code, message=said) if code else a_pod(child).succeeded(said)
    return planned(job, (child,), (pod,))


def test_an_export_leaves_its_model_and_what_it_was_compared_with() -> None:
    made = {"model": EXPORTED, "comparison": COMPARED, "artifacts": [REPORT]}
    done = ended("export", 0, made)
    assert done.status is not None
    assert done.status["phase"] == "Complete"
    assert done.status["model"] == EXPORTED
    assert done.status["comparison"] == ROUNDED
    assert done.status["artifacts"] == [REPORT]
    assert "checkpoint" not in done.status
    said = "mAP 0.5012 against 0.5123 of the onnx; 40.0 ms an image against 80.0; "
    assert conditions(done)["Complete"][2] == f"{said}results are in s3://results/x/export"


def test_an_evaluation_hands_on_the_model_that_it_was_given() -> None:
    metrics = {"mAP": 0.51234567, "mAP50": 0.75}
    done = ended("evaluate", 0, {"model": EXPORTED, "metrics": metrics})
    assert done.status is not None
    assert done.status["model"] == EXPORTED
    assert done.status["metrics"] == {"mAP": 0.5123, "mAP50": 0.75}
    assert conditions(done)["Complete"][2].startswith("mAP50 0.7500; results are in")


@pytest.mark.parametrize(
    "action, left",
    [
        ("distill", {"uri": "s3://results/x/distill/dino_model_best.pth", "format": "checkpoint"}),
        ("export", {"uri": "s3://results/x/export/dino_model.onnx", "format": "onnx"}),
        ("quantize", {"uri": "s3://results/x/quantize/dino_model_int8.onnx", "format": "onnx"}),
        (
            "gen_trt_engine",
            {"uri": "s3://results/x/gen_trt_engine/dino_model.engine", "format": "engine"},
        ),
        ("evaluate", EXPORTED),
    ],
)
def test_the_next_job_finds_the_model_also_where_the_last_words_are_lost(
    action: str, left: Object
) -> None:
    """The node went with its pods, and nobody can read the result: what a good end published lies
    under names that are known."""
    given_one = {"inherited": {"model": EXPORTED}} if action == "evaluate" else {}
    job = job_to(action).status(running(action, **given_one))
    reader = a_child(job, "result").uid("reader").failed("DeadlineExceeded")
    done = planned(job, (a_child(job, action).complete(), reader))
    assert done.status is not None
    assert done.status["phase"] == "Complete"
    assert done.status["model"] == left


def test_a_gate_that_failed_keeps_the_comparison_and_the_report() -> None:
    why = {"reason": "GateFailed", "message": "mAP fell by 0.011", "remedy": "Skip layers."}
    early = {"name": "preflight/report.html", "uri": "s3://results/x/preflight/report.html"}
    left = {"comparison": COMPARED, "artifacts": [REPORT], "model": EXPORTED}
    done = ended("quantize", 80, {"failure": why, **left}, artifacts=[early])
    assert done.status is not None
    assert done.status["phase"] == "Failed"
    assert done.status["failure"] == {**why, "exitCode": 80}
    assert done.status["comparison"] == ROUNDED
    assert done.status["artifacts"] == [early, REPORT]
    assert "model" not in done.status, "no job goes on from it"
    assert [each.reason for each in done.events] == ["Failed"]


NEVER = [rule for rule in TABLE if rule.exit_code is not None and rule.retry == "never"]


@pytest.mark.parametrize("rule", NEVER, ids=lambda rule: str(rule.reason))
def test_what_no_retry_mends_is_not_tried_again(rule: FailureRule) -> None:
    done = ended("gen_trt_engine", rule.exit_code or 0, {})
    assert done.status is not None
    assert done.status["failure"]["reason"] == rule.reason
    assert done.status["failure"]["remedy"] == rule.remedy
    assert conditions(done)["Failed"][:2] == ("True", rule.reason)
