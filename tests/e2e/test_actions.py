"""From pictures to an INT8 file: five manifests applied at once, and pictures of what is found."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import yaml

from demo import job as demo
from demo.digits import NAMES
from tests.e2e.fixtures import SCENES
from tests.e2e.jobs import ONE_THREAD, RESULTS, Lab, Object, artifact, is_true, sha256
from tests.e2e.judge import check_evaluation, check_training

EXAMPLES = Path(__file__).parents[2] / "examples"
CHAIN = ("train", "evaluate", "export", "quantize", "evaluate-int8")

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


def chain(data: str, *files: str) -> dict[str, Object]:
    """The jobs of examples/chain.yaml and others, by name, for that data of the tests' bucket."""
    texts = [(EXAMPLES / name).read_text() for name in ("chain.yaml", *files)]
    text = "\n---\n".join(texts).replace("s3://dino/bccd/", f"s3://dino/{data}/")
    text = text.replace("s3://dino/results", RESULTS)
    jobs: dict[str, Object] = {job["metadata"]["name"]: job for job in yaml.safe_load_all(text)}
    for job in jobs.values():  # other tests run beside them
        job["spec"]["podTemplate"] = ONE_THREAD
    return jobs


@pytest.fixture(scope="module")
def manifests() -> dict[str, Object]:
    """The examples, with the demo's training in smaller pictures: 160 steps, about a minute."""
    jobs = chain("scenes", "inference.yaml")
    experiment = jobs["chain-train"]["spec"]["experiment"] = demo.example()["spec"]["experiment"]
    experiment["dataset"]["augmentation"]["fixed_size"] = [160, 224]
    experiment["dataset"]["batch_size"] = 4
    experiment["train"].update(num_epochs=4, validation_interval=2)
    experiment["train"]["optim"]["lr"] = 0.0004
    calibration = jobs["chain-quantize"]["spec"]["datasets"]["calibration"]
    calibration[0]["uri"] = "s3://dino/scenes/val"  # fewer pictures
    inference = jobs["bccd-inference"]["spec"]
    inference["parent"]["name"] = "chain-train"
    inference["experiment"]["inference"]["color_map"] = {"seven": "#2266cc"}
    return jobs


@pytest.fixture(scope="module")
def applied(lab: Lab, manifests: dict[str, Object], scenes: Path) -> dict[str, Object]:
    """All of them at once, children before their parents."""
    lab.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(reversed(list(manifests.values()))))
    return manifests


@pytest.fixture(scope="module")
def trained(lab: Lab, applied: dict[str, Object]) -> Object:
    """The status of the training at its end. Those that wait for it say so meanwhile."""
    waiting = lab.wait("chain-evaluate-int8", 120, lambda s: bool(parent(s)), "word on the parent")
    assert parent(waiting)["status"] == "False"
    assert "chain-quantize" in parent(waiting)["message"]
    running = lab.training("chain-train")
    assert running["reporter"] in lab.live_pods("chain-train"), "the live pod may report"
    assert not lab.list("pods", "chain-export"), "nothing is made of a job whose parent still runs"
    return lab.complete("chain-train", seconds=1800)


@pytest.fixture(scope="module")
def ended(lab: Lab, trained: Object) -> dict[str, Object]:
    """The status of each job of the chain at its end, by the part of its name after `chain-`."""
    return {name: lab.complete(f"chain-{name}", seconds=900) for name in CHAIN}


def parent(status: Object) -> Object:
    """The condition ParentReady."""
    found = (c for c in status.get("conditions", []) if c["type"] == "ParentReady")
    return next(found, {})


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Content of each file by its name, without folders."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = [(one.name, tar.extractfile(one)) for one in tar.getmembers()]
        return {Path(name).name: file.read() for name, file in files if file}


def test_pictures_train_to_a_good_detector(lab: Lab, trained: Object, tmp_path: Path) -> None:
    """Handwritten digits in scenes, from an ImageNet backbone."""
    assert trained["dataset"]["classNames"][1:] == list(NAMES)
    assert trained["dataset"]["images"] == SCENES["train"]
    check_training(lab, "chain-train", trained, tmp_path, least=0.5)


def test_the_evaluation_counts_as_pycocotools_does(
    lab: Lab, ended: dict[str, Object], scenes: Path, tmp_path: Path
) -> None:
    """On the whole test split, from the file that it leaves."""
    status = ended["evaluate"]
    check_evaluation(lab, status, scenes / "test", tmp_path, least=0.45)
    assert status["model"] == ended["train"]["model"], "it hands on what it was given"


def test_the_onnx_file_finds_what_the_checkpoint_finds(
    lab: Lab, ended: dict[str, Object], tmp_path: Path
) -> None:
    """Compared by the job on all test images before it published the file."""
    status = ended["export"]
    found = status["comparison"]

    assert found["images"] == SCENES["test"]
    assert found["matched"] >= 0.99
    assert abs(found["loss"]) <= 0.0005
    assert found["reference"]["mAP"] == pytest.approx(ended["evaluate"]["metrics"]["mAP"], abs=5e-4)
    assert status["model"]["format"] == "onnx"
    assert sha256(artifact(lab, status, "dino_model.onnx", tmp_path)) == status["model"]["sha256"]


def test_the_int8_file_is_evaluated_by_the_same_code(ended: dict[str, Object]) -> None:
    """What the gate measured and what a job of its own measures are one number."""
    found, evaluated = ended["quantize"]["comparison"], ended["evaluate-int8"]

    assert found["candidate"]["precision"] == "int8"
    assert found["loss"] <= found["maxLoss"]
    assert found["candidate"]["bytes"] < found["reference"]["bytes"] / 2
    assert {found[side]["latencyMs"] > 0 for side in ("reference", "candidate")} == {True}
    assert evaluated["metrics"]["mAP"] == pytest.approx(found["candidate"]["mAP"], abs=1e-4)
    assert evaluated["model"]["sha256"] == ended["quantize"]["model"]["sha256"]


def test_every_job_of_the_chain_went_on_from_its_parent(
    applied: dict[str, Object], ended: dict[str, Object]
) -> None:
    """The model in the parent's status is the one that the job took over."""
    for name in CHAIN[1:]:
        before = applied[f"chain-{name}"]["spec"]["parent"]["name"].removeprefix("chain-")
        assert is_true(ended[name], "ParentReady")
        assert ended[name]["inherited"]["model"]["uri"] == ended[before]["model"]["uri"]
        assert ended[name]["attempts"] == 1


def test_inference_leaves_labels_and_pictures(lab: Lab, trained: Object, tmp_path: Path) -> None:
    """All test pictures, with TAO's label files and a report that shows some."""
    status = lab.complete("bccd-inference", seconds=900)

    labels = unpacked(artifact(lab, status, "labels.tar.gz", tmp_path))
    lines = [line.split() for text in labels.values() for line in text.decode().splitlines()]
    assert len(labels) == SCENES["test"]
    assert {len(line) for line in lines} == {16}
    assert {line[0] for line in lines} <= set(NAMES)
    assert min(float(line[15]) for line in lines) >= 0.4
    pictures = unpacked(artifact(lab, status, "images_annotated.tar.gz", tmp_path))
    assert pictures.keys() == {name.replace(".txt", ".jpg") for name in labels}
    page = artifact(lab, status, "report.html", tmp_path).decode()
    assert page.count("data:image/") >= 8
