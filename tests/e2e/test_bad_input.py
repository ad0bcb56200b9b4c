"""Bad input on a real cluster: each ends with the documented exit code, a reason and a remedy."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dino_api import failures
from tests.e2e.jobs import Lab, Object, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

# What is done to the small training data: a function of the folder that is then uploaded.
Spoil = Callable[[Path], None]


def without_images(folder: Path) -> None:
    (folder / "images.tar.gz").unlink()


def truncated(folder: Path) -> None:
    archive = folder / "images.tar.gz"
    archive.write_bytes(archive.read_bytes()[:3000])


def escaping(name: str, link: str = "") -> Spoil:
    """An archive with one member that would leave the folder."""

    def spoil(folder: Path) -> None:
        with tarfile.open(folder / "images.tar.gz", "w:gz") as tar:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
                tar.addfile(member)
            else:
                member.size = 4
                tar.addfile(member, io.BytesIO(b"evil"))

    return spoil


def not_coco(folder: Path) -> None:
    (folder / "annotations.json").write_text(json.dumps({"pictures": []}))


def an_image_less(folder: Path) -> None:
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = "not_there.jpg"
    path.write_text(json.dumps(document))


DATA_CASES: dict[str, tuple[Spoil, str, str]] = {
    "a missing archive": (without_images, "InputNotFound", "images.tar.gz"),
    "a truncated archive": (truncated, "InvalidDataset", "images.tar.gz"),
    "an archive member with ..": (escaping("../evil.jpg"), "InvalidDataset", "../evil.jpg"),
    "an absolute archive member": (escaping("/etc/evil.jpg"), "InvalidDataset", "/etc/evil.jpg"),
    "a symbolic link in the archive": (
        escaping("images/link.jpg", "/etc/passwd"),
        "InvalidDataset",
        "link.jpg",
    ),
    "annotations that are not COCO": (not_coco, "InvalidDataset", "annotations.json"),
    "an image that is not in the archive": (an_image_less, "InvalidDataset", "not_there.jpg"),
}


@pytest.fixture(scope="module")
def data_jobs(
    lab: Lab, small_data: Path, spec_jobs: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All jobs with bad data at once, and those that wait longest first."""
    for number, (spoil, _, _) in enumerate(DATA_CASES.values()):
        folder = copy_of(small_data / "train", tmp_path_factory.mktemp("bad"))
        spoil(folder)
        lab.put(folder, f"bad/{number}")
        job = small_job(f"bad-data-{number}")
        job["spec"]["datasets"]["train"] = [{"uri": f"s3://dino/bad/{number}"}]
        lab.apply(job)


@pytest.mark.parametrize("sentence", DATA_CASES)
def test_bad_data(sentence: str, lab: Lab, data_jobs: None) -> None:
    """The job fails once, is not retried, and says what is wrong and what to do."""
    _, reason, names = DATA_CASES[sentence]
    name = f"bad-data-{list(DATA_CASES).index(sentence)}"
    status = lab.finished(name, seconds=400)
    check(status, reason, names)
    assert "attempts" not in status, "no attempt to train was made"


def with_bucket(job: Object) -> None:
    job["spec"]["datasets"]["train"] = [{"uri": "s3://no-such-bucket/train"}]


def with_wrong_keys(job: Object) -> None:
    job["spec"]["storage"] = {"secretName": "wrong-keys"}


def with_wild_rate(job: Object) -> None:
    optim = {"optimizer": "SGD", "lr": 1.0, "lr_backbone": 1.0}
    job["spec"]["experiment"]["train"].update(optim=optim, clip_grad_norm=1e6, num_epochs=50)


def with_small_memory(job: Object) -> None:
    job["spec"]["resources"]["memory"] = "200Mi"
    job["spec"]["runPolicy"] = {"maxRetries": 0}


SPEC_CASES: dict[str, tuple[Callable[[Object], None], str, str]] = {
    "a bucket that is not there": (with_bucket, "InputNotFound", "no-such-bucket"),
    "keys that the store refuses": (with_wrong_keys, "AccessDenied", "s3://dino"),
    "a learning rate that diverges": (with_wild_rate, "Diverged", "step"),
    "less memory than torch needs": (with_small_memory, "OutOfMemory", "memory"),
}


@pytest.fixture(scope="module")
def spec_jobs(lab: Lab, small_data: Path, wrong_keys: None) -> None:
    """All jobs with a bad spec at once."""
    for number, (change, _, _) in enumerate(SPEC_CASES.values()):
        job = small_job(f"bad-spec-{number}")
        change(job)
        lab.apply(job)


@pytest.mark.parametrize("sentence", SPEC_CASES)
def test_bad_spec(sentence: str, lab: Lab, spec_jobs: None) -> None:
    """What only the pod can find out ends with a reason and a remedy too."""
    _, reason, names = SPEC_CASES[sentence]
    name = f"bad-spec-{list(SPEC_CASES).index(sentence)}"
    check(lab.finished(name, seconds=400), reason, names)


def test_an_endpoint_where_nothing_listens(lab: Lab, dead_endpoint: str) -> None:
    """Said after two minutes of trying."""
    check(lab.finished(dead_endpoint, seconds=400), "StorageUnavailable", "127.0.0.1:9")


def check(status: Object, reason: str, names: str) -> None:
    """At most one attempt, the documented exit code, the thing named, a remedy."""
    failure = status["failure"]
    rule = failures.by_reason(reason)
    assert failure["reason"] == reason, failure
    assert failure["exitCode"] == rule.exit_code
    assert names in failure["message"] + failure["remedy"], failure
    assert failure["remedy"]
    assert "Traceback" not in failure["message"]
    assert status.get("attempts", 1) == 1


def copy_of(folder: Path, into: Path) -> Path:
    """A copy of the files of one split."""
    target = into / folder.name
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target
