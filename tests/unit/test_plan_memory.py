"""Out of memory: half as many images at a time, and as many per step."""

from __future__ import annotations

import pytest

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Plan
from dino_operator.plan.observed.children import Children
from dino_operator.plan.rendered.micro_batch import MicroBatch
from tests.builders import ChildBuilder, JobBuilder, Object, a_child, a_job, a_pod, around, later
from tests.statuses import RUNNING
from tests.unit.plan_actions import job_to
from tests.unit.plan_cases import SETTINGS

OOM = (137, "OOMKilled")
DEVICE = (71, "Error")


def a_batch(images: int, accumulate: int = 1) -> JobBuilder:
    """A job that has run, of batches of so many images."""
    train = {"accumulate_grad_batches": accumulate}
    return a_job().experiment(dataset={"batch_size": images}, train=train).status(RUNNING)


def tried(
    job: JobBuilder, number: int, images: int, passes: int | None, last: bool = False
) -> ChildBuilder:
    """The Job of an attempt with so many images per forward pass."""
    child = a_child(job).attempt(number)
    for key, value in MicroBatch(images, passes, last).notes().items():
        child.note(Annotation(key), value)
    return child


def after(job: JobBuilder, child: ChildBuilder, code: int, reason: str, now: float = 600) -> Plan:
    """The plan once that attempt has ended so."""
    pod = a_pod(child).exited(code, reason)
    children = around((child.failed().obj(),), (pod.obj(),))
    number = int(child.meta["labels"]["dino-operator.io/attempt"])
    job.thing["status"]["attempts"] = number
    return plan(job.obj(), children, later(now), SETTINGS)


def micro_batch(made: Plan) -> str | None:
    """What the next attempt's pod is told."""
    (job,) = (each for each in made.creates if each["kind"] == "Job")
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((each["value"] for each in env if each["name"] == "DINO_MICRO_BATCH"), None)


def running(made: Plan) -> Object:
    return next(each for each in made.status["conditions"] if each["type"] == "Running")


@pytest.mark.parametrize("code, reason", [OOM, DEVICE])
def test_the_next_attempt_has_half_the_images_per_pass(code: int, reason: str) -> None:
    made = after(a_batch(8), a_child(a_batch(8)), code, reason)
    assert micro_batch(made) == "4"
    assert (made.status["microBatch"], made.status["accumulation"]) == (4, 2)


def test_a_halving_costs_no_retry_unless_none_is_allowed() -> None:
    made = after(a_batch(8), a_child(a_batch(8)), *OOM)
    (child,) = (each for each in made.creates if each["kind"] == "Job")
    assert child["metadata"]["annotations"][Annotation.RETRIES.value] == "0"
    strict = a_batch(8)
    strict.policy(maxRetries=0)
    assert after(strict, a_child(strict), *OOM).status["phase"] == "Failed"


def test_passes_make_up_the_whole_step() -> None:
    made = after(a_batch(5, accumulate=3), a_child(a_batch(5)), *OOM)
    assert micro_batch(made) == "2"
    assert made.status["accumulation"] == 8, "15 images in passes of 2"


def test_the_status_says_so_while_it_waits_and_while_it_runs() -> None:
    waits = after(a_batch(8), a_child(a_batch(8)), *OOM, now=61)
    assert running(waits)["reason"] == "Retrying"
    assert running(waits)["message"].endswith("with 4 images per forward pass, 2 passes per step")
    assert (waits.status["microBatch"], waits.status["accumulation"]) == (4, 2)
    job = a_batch(8)
    child = tried(job, 2, 4, 2)
    runs = plan(
        job.obj(), around((child.obj(),), (a_pod(child).running().obj(),)), later(99), SETTINGS
    )
    assert (
        "4 images per forward pass, 2 passes per step, as more did not" in running(runs)["message"]
    )
    assert runs.status["microBatch"] == 4


def test_it_halves_again_and_never_rises() -> None:
    job = a_batch(8)
    assert micro_batch(after(job, tried(job, 2, 4, 2), *DEVICE)) == "2"
    assert micro_batch(after(job, tried(job, 2, 4, 2), 69, "Error")) == "4"


def test_a_batch_that_fits_is_left_alone() -> None:
    made = after(a_batch(8), a_child(a_batch(8)), 69, "Error")
    assert micro_batch(made) is None
    assert "microBatch" not in made.status


def test_the_second_end_in_a_row_with_one_image_is_the_last() -> None:
    job = a_batch(2)
    made = after(job, tried(job, 2, 1, 2), *DEVICE)
    assert micro_batch(made) == "1"
    end = after(job, tried(job, 3, 1, 2, last=True), *DEVICE)
    assert end.status["phase"] == "Failed"
    assert end.status["failure"]["reason"] == "DeviceOutOfMemory"
    assert end.status["failure"]["message"].endswith(
        "twice in a row with one image per forward pass"
    )
    assert end.status["failure"]["remedy"] == (
        "Take GPUs with more memory, or lower the image size, model.num_queries or "
        "model.num_feature_levels, or set train.activation_checkpoint: true, and create a new job."
    )


REMEDIES = {
    "fewer images follow": (
        (a_batch(8), OOM, 3),
        "Nothing to do: the next attempt has 4 images per forward pass, 2 passes per step, with "
        "the same result. Raise spec.resources.memory, or lower dataset.batch_size, the image size",
    ),
    "fewer images would follow": (
        (a_batch(8), DEVICE, 0),
        "Take GPUs with more memory, or lower dataset.batch_size, the image size, "
        "model.num_queries or model.num_feature_levels, or set train.activation_checkpoint: true, "
        "and create a new job. With spec.runPolicy.maxRetries above 0 another attempt takes half "
        "as many images at a time, with the same result.",
    ),
    "the same once more": (
        (a_batch(1), OOM, 3),
        "The next attempt is made as this one was; should it fail, too, create a new job. Raise "
        "spec.resources.memory, or lower the image size",
    ),
    "one image, and no attempt": (
        (a_batch(1), OOM, 0),
        "Raise spec.resources.memory, or lower the image size, model.num_queries or "
        "model.num_feature_levels, or set train.activation_checkpoint: true, and create a new job.",
    ),
}


@pytest.mark.parametrize("sentence", REMEDIES)
def test_the_remedy_says_what_follows_and_only_the_plan_knows_it(sentence: str) -> None:
    (job, end, retries), remedy = REMEDIES[sentence]
    job.policy(maxRetries=retries)
    for now in (61, 600):
        told = after(job, a_child(job), *end, now=now).status["failure"]
        assert told["remedy"].startswith(remedy)
        assert ("next attempt" in told["remedy"]) == bool(retries)


def test_a_check_of_the_data_that_lacked_memory_is_not_told_of_a_batch() -> None:
    job = job_to("evaluate").experiment(dataset={"batch_size": 8}).policy(maxRetries=0)
    check = a_child(job, "preflight")
    pod = a_pod(check).exited(*OOM)
    made = plan(job.obj(), around((check.failed().obj(),), (pod.obj(),)), later(600), SETTINGS)
    remedy = made.status["failure"]["remedy"]
    assert remedy == "Raise spec.resources.memory, and create a new job."


def test_another_end_in_between_gives_a_new_chance() -> None:
    job = a_batch(2)
    job.policy(maxRetries=9)
    made = after(job, tried(job, 3, 1, 2, last=True), 69, "Error")
    assert micro_batch(made) == "1"
    (child,) = (each for each in made.creates if each["kind"] == "Job")
    assert Annotation.OUT_OF_MEMORY.value not in child["metadata"]["annotations"]


def test_one_image_from_the_start_has_two_tries() -> None:
    made = after(a_batch(1), a_child(a_batch(1)), *OOM)
    assert micro_batch(made) == "1"
    (child,) = (each for each in made.creates if each["kind"] == "Job")
    assert child["metadata"]["annotations"][Annotation.OUT_OF_MEMORY.value] == "true"


def test_a_deleted_job_is_made_again_as_small() -> None:
    job = a_batch(8)
    job.thing["status"] |= {"attempts": 2, "microBatch": 4, "accumulation": 2}
    made = plan(job.obj(), Children(), later(60), SETTINGS)
    assert micro_batch(made) == "4"


def test_it_does_not_rise_when_the_pod_with_the_reason_is_gone() -> None:
    job = a_batch(8)
    job.thing["status"] |= {"microBatch": 4, "accumulation": 2}
    children = around((a_child(job).failed().obj(),), ())
    assert micro_batch(plan(job.obj(), children, later(600), SETTINGS)) == "4"


def an_action(action: str, **experiment: Object) -> JobBuilder:
    """A job that does not train, whose data was checked, and that has run."""
    return job_to(action).experiment(**experiment).status(RUNNING)


@pytest.mark.parametrize(
    "action, experiment, images",
    [
        ("evaluate", {}, "2"),
        ("evaluate", {"evaluate": {"batch_size": 9}}, "4"),
        ("inference", {"inference": {"batch_size": 16}}, "8"),
        ("inference", {"dataset": {"batch_size": 6}}, "3"),
        ("quantize", {"dataset": {"batch_size": 6}}, "3"),
        ("export", {"dataset": {"batch_size": 6}}, "3"),
    ],
)
def test_other_actions_take_half_as_many_images_and_the_status_says_so(
    action: str, experiment: Object, images: str
) -> None:
    job = an_action(action, **experiment)
    made = after(job, a_child(job), *DEVICE)
    assert micro_batch(made) == images
    assert made.status["microBatch"] == int(images)
    assert "accumulation" not in made.status, "only a training has steps"
    waits = after(job, a_child(job), *DEVICE, now=61)
    assert running(waits)["message"].endswith(f"with {images} images at a time")
    assert [each.reason for each in waits.events] == ["AttemptFailed"]
    child = tried(job, 2, int(images), None)
    runs = plan(
        job.obj(), around((child.obj(),), (a_pod(child).running().obj(),)), later(99), SETTINGS
    )
    assert f"{images} images at a time, as more did not fit" in running(runs)["message"]


@pytest.mark.parametrize(
    "action, experiment, child, said, key",
    [
        ("evaluate", {}, 1, "one image at a time", "evaluate.input_width"),
        ("inference", {"inference": {"batch_size": 1}}, None, "one image", "inference.input_width"),
        ("quantize", {}, 1, "one image at a time", "export.input_width"),
        ("export", {"export": {"batch_size": 8}}, None, "no batch to halve", "export.batch_size"),
        ("gen_trt_engine", {}, None, "no batch to halve", "tensorrt.workspace_size"),
    ],
)
def test_what_cannot_be_halved_is_not_tried_again(
    action: str, experiment: Object, child: int | None, said: str, key: str
) -> None:
    job = an_action(action, **experiment)
    done = after(job, tried(job, 2, child, None) if child else a_child(job), *OOM)
    assert done.status["phase"] == "Failed"
    failure = done.status["failure"]
    assert failure["reason"] == "OutOfMemory"
    assert said in failure["message"]
    assert key in failure["remedy"]
    assert failure["remedy"].startswith("Raise spec.resources.memory, or lower ")
    assert failure["remedy"].endswith(", and create a new job.")


def test_another_end_of_an_evaluation_leaves_its_batch_as_small_as_it_was() -> None:
    job = an_action("evaluate")
    assert micro_batch(after(job, tried(job, 2, 1, None), 69, "Error")) == "1"
    assert micro_batch(after(job, a_child(job), 69, "Error")) is None


def test_a_check_of_the_data_has_no_batch() -> None:
    job = job_to("evaluate").experiment(dataset={"batch_size": 1})
    check = a_child(job, "preflight")
    pod = a_pod(check).exited(*OOM)
    made = plan(job.obj(), around((check.failed().obj(),), (pod.obj(),)), later(600), SETTINGS)
    assert micro_batch(made) is None, "it is tried again as it was"
