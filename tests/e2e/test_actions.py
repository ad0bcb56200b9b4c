"""From photographs to an INT8 file: five manifests applied at once, and pictures of what is found.

The training is the suite's only one of real photographs to a good detector.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_api.result import Metrics
from tests.e2e.jobs import Lab, Object, is_true, sha256

ROOT = Path(__file__).parents[2]
BCCD = ROOT.parent / "shared" / "data" / "bccd"
RESULTS = "s3://dino/test-results"
CHAIN = ("train", "evaluate", "export", "quantize", "evaluate-int8")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.level0,
    pytest.mark.skipif(not BCCD.is_dir(), reason=f"the BCCD photographs are not at {BCCD}"),
]


@pytest.fixture(scope="module")
def manifests() -> dict[str, Object]:
    """examples/chain.yaml and inference.yaml, by name, with fewer epochs."""
    texts = [(ROOT / "examples" / name).read_text() for name in ("chain.yaml", "inference.yaml")]
    jobs = {job["metadata"]["name"]: job for text in texts for job in yaml.safe_load_all(text)}
    jobs["chain-train"]["spec"]["experiment"]["train"].update(num_epochs=6, validation_interval=3)
    calibration = jobs["chain-quantize"]["spec"]["datasets"]["calibration"]
    calibration[0]["uri"] = "s3://dino/bccd/val"  # fewer pictures
    jobs["bccd-inference"]["spec"]["parent"]["name"] = "chain-train"
    for job in jobs.values():
        output = job["spec"]["output"]
        output["uri"] = output["uri"].replace("s3://dino/results", RESULTS)
    return jobs


@pytest.fixture(scope="module")
def applied(lab: Lab, manifests: dict[str, Object]) -> dict[str, Object]:
    """All of them at once, children before their parents."""
    for split in ("train", "val", "test"):
        lab.put(BCCD / split, f"bccd/{split}")
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


def artifact(lab: Lab, status: Object, name: str, folder: Path) -> bytes:
    """An artifact, checked against its digest in the status."""
    listed = next(each for each in status["artifacts"] if each["name"] == name)
    content = lab.fetch(listed["uri"], folder / name.replace("/", "-"))
    assert sha256(content) == listed["sha256"]
    assert len(content) == listed["bytes"]
    return content


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Content of each file by its name, without folders."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = [(one.name, tar.extractfile(one)) for one in tar.getmembers()]
        return {Path(name).name: file.read() for name, file in files if file}


def test_real_photographs_train_to_a_good_detector(
    lab: Lab, trained: Object, tmp_path: Path
) -> None:
    """Blood cells: 306 steps, about 3 minutes, from an ImageNet backbone reach mAP50 0.45."""
    assert trained["metrics"]["mAP50"] >= 0.45
    assert trained["dataset"]["classNames"][1:] == ["RBC", "WBC", "Platelets"]
    assert trained["dataset"]["images"] == 205
    assert trained["progress"]["percent"] == 100
    assert trained["attempts"] == 1
    checkpoint = lab.fetch(trained["checkpoint"]["uri"], tmp_path / "best.pth")
    assert sha256(checkpoint) == trained["checkpoint"]["sha256"] == trained["model"]["sha256"]
    assert len(checkpoint) == trained["checkpoint"]["bytes"]
    picture = lab.fetch(f"{RESULTS}/chain/train/validation.png", tmp_path / "validation.png")
    assert picture.startswith(b"\x89PNG")
    lines = lab.fetch(f"{RESULTS}/chain/train/status.json", tmp_path / "s.json").decode()
    assert json.loads(lines.splitlines()[-1])["status"] == "SUCCESS"
    table = lab.kubectl("get", "dinojob", "chain-train", "-o", "wide")
    assert "Complete" in table
    assert "100%" in table


def test_the_evaluation_counts_as_pycocotools_does(
    lab: Lab, ended: dict[str, Object], tmp_path: Path
) -> None:
    """On the whole test split, from the file that it leaves."""
    status = ended["evaluate"]
    predictions = json.loads(artifact(lab, status, "predictions.json", tmp_path))
    truth = COCO(str(BCCD / "test" / "annotations.json"))
    judge = COCOeval(truth, truth.loadRes(predictions), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()

    assert status["metrics"] == Metrics.from_coco(judge.stats).rounded().to_dict()
    assert status["metrics"]["mAP50"] >= 0.4
    assert status["model"] == ended["train"]["model"], "it hands on what it was given"
    page = artifact(lab, status, "report.html", tmp_path).decode()
    assert all(name in page for name in ("RBC", "WBC", "Platelets", "data:image/"))


def test_the_onnx_file_finds_what_the_checkpoint_finds(
    lab: Lab, ended: dict[str, Object], tmp_path: Path
) -> None:
    """Compared by the job on all test images before it published the file."""
    status = ended["export"]
    found = status["comparison"]

    assert found["images"] == 72
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
    """All 72 test photographs, with TAO's label files and a report that shows some."""
    status = lab.complete("bccd-inference", seconds=900)

    labels = unpacked(artifact(lab, status, "labels.tar.gz", tmp_path))
    lines = [line.split() for text in labels.values() for line in text.decode().splitlines()]
    assert len(labels) == 72
    assert {len(line) for line in lines} == {16}
    assert {line[0] for line in lines} <= {"RBC", "WBC", "Platelets"}
    assert min(float(line[15]) for line in lines) >= 0.4
    pictures = unpacked(artifact(lab, status, "images_annotated.tar.gz", tmp_path))
    assert pictures.keys() == {name.replace(".txt", ".jpg") for name in labels}
    page = artifact(lab, status, "report.html", tmp_path).decode()
    assert page.count("data:image/") >= 8
