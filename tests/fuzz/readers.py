"""Every reader of what others wrote: what it is given, and which errors are its own.

Each takes bytes, and a folder to lay them into; what it makes of them is looked at as its callers
do. A reader without an error of its own has none to end in.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dino_api.formats import format_of
from dino_api.names import Action
from dino_api.result import ModelFile, Result
from dino_operator.kubectl import manifests
from dino_operator.kubectl.ending import CommandExit
from dino_operator.kubectl.validate import verdict_of
from dino_operator.plan.job.decide import plan as plan_of_job
from dino_operator.plan.model import Plan, Settings
from dino_operator.plan.search.decide import plan as plan_of_search
from dino_operator.runtime.client import ApiError, _decode
from dino_runtime import Detector, NotADetector
from dino_trainer.data import decode
from dino_trainer.data.archive import take_in
from dino_trainer.data.coco_entries import read_entries
from dino_trainer.data.coco_file import read_coco, read_outline
from dino_trainer.data.flaws import Flaw
from dino_trainer.data.image_store import ArchivedImages, FileInMemory, Folder
from dino_trainer.data.nearby import Nearby
from dino_trainer.detectors.onnx_detector import open_onnx
from dino_trainer.errors import TrainerError
from dino_trainer.model import read_state
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.outline import outline_of, own_spec
from dino_trainer.spec.file import read_spec_file
from dino_trainer.spec.search_file import with_draw
from dino_trainer.tensorrt import engine_metadata
from tests.builders import a_child, a_job, a_pod, around, later
from tests.unit import katib_cases

SETTINGS = Settings(trainer_image="trainer:1")
MOST_PIXELS = 1 << 22
"""Of a picture here, so that one that says more costs nothing; else a gigabyte of memory."""


@dataclass(frozen=True)
class Reader:
    """read: raises one of `named`, or nothing."""

    read: Callable[[bytes, Path], object]
    named: tuple[type[Exception], ...] = ()


def laid(content: bytes, folder: Path, name: str) -> Path:
    """A file of that content."""
    path = folder / name
    path.write_bytes(content)
    return path


# ---- files that people write --------------------------------------------------------------------


def spec(content: bytes, folder: Path) -> None:
    """`dino train -e FILE`."""
    read_spec_file(laid(content, folder, "spec.yaml"), ["train.num_epochs=2"], Action.TRAIN)


def manifest(content: bytes, folder: Path) -> None:
    """`kubectl dino validate -f FILE`: what the API server refuses, and else all that is made."""
    for name, each in manifests.documents(str(laid(content, folder, "job.yaml"))):
        json.dumps(verdict_of(name, each, SETTINGS).to_dict())


def search(content: bytes, folder: Path) -> None:
    """`dino train --search FILE`."""
    laid(b"results_dir: /results\n", folder, "plain.yaml")
    drawn = ["train.optim.lr=0.001", "model.num_queries=300"]
    with_draw(laid(content, folder, "search.json"), folder / "plain.yaml", drawn)


# ---- data ---------------------------------------------------------------------------------------


def coco(content: bytes, folder: Path) -> None:
    """Annotations: as staging, the preflight and a training read them, in this order."""
    path = laid(content, folder, "annotations.json")
    images, flaws = Folder(folder), list[Flaw]()
    outline = read_outline(path)
    for name in outline.file_names:
        images.size(name)
        name.encode(errors="surrogateescape")  # a digest is made of it
    if outline.file_names:
        Nearby(["1.jpg"]).hint(outline.file_names[0])
    read_entries(path, flaws.append, images)
    "\n".join(each.message for each in flaws).encode()  # a page is made of them
    read = read_coco(path, images)
    "\n".join([*read.categories.values(), *read.warnings]).encode()


def archive(content: bytes, folder: Path) -> None:
    """Archives of images: taken in, and each of their files read."""
    path, into = laid(content, folder, "images.tar.gz"), folder / "content.tar"
    into.unlink(missing_ok=True)
    _, index = take_in(path, into, reserve=0)
    index.write(folder / "index.json")
    for name in index.files:
        file = ArchivedImages(into, index).find(name)
        assert file is not None
        file.read_bytes()


def image(content: bytes, folder: Path) -> None:
    """Pictures: header, pixels upright, and pixels made smaller."""
    file = FileInMemory("1.jpg", content)
    opened = decode.open_image(file)
    made = opened.rgb(opened.upright)
    assert made.mode == "RGB"
    assert made.size == opened.size_for(opened.upright)
    decode.open_image(file).rgb(opened.stored, shrink=2)


# ---- models -------------------------------------------------------------------------------------


def weights(content: bytes, folder: Path) -> None:
    """Files of weights, of anybody."""
    read_state(laid(content, folder, "weights.pth"))


def checkpoints(content: bytes, folder: Path) -> None:
    """Checkpoints of ours: what they say of themselves, with their tensors and without."""
    path = laid(content, folder, "checkpoint.pth")
    outline_of(str(path))
    read = checkpoint.read(path)
    if "spec" in read:
        own_spec(read, str(path))


def onnx(content: bytes, folder: Path) -> None:
    """ONNX files, as actions open them and as somebody's own program does."""
    path = laid(content, folder, "model.onnx")
    outline_of(str(path))
    try:
        # A thread for each of many cores would reserve more than there is room for.
        Detector.open(path, threads=1)
    finally:
        open_onnx(path, _file_at(path))


def onnx_outline(content: bytes, folder: Path) -> None:
    """What the preflight knows of an ONNX file, which no library reads."""
    outline_of(str(laid(content, folder, "model.onnx")))


def engine(content: bytes, folder: Path) -> None:
    """The JSON file beside an engine."""
    path = laid(content, folder, "model.engine.json")
    outline_of(str(folder / "model.engine"))
    described = engine_metadata.read(path, _file_at(folder / "model.engine"))
    described.model(str(path))


def _file_at(path: Path) -> ModelFile:
    known = format_of(str(path))
    assert known is not None
    return ModelFile(uri=str(path), format=known)


# ---- what the operator reads --------------------------------------------------------------------


def message(content: bytes, _: Path) -> None:
    """Last words of a pod, or result.json; what is read goes into a status."""
    text = content.decode(errors="replace")
    result = Result.from_termination_message(text)
    if result is not None:
        json.dumps(result.to_dict(), allow_nan=False).encode()
        assert len(result.to_termination_message().encode()) <= 4096
    for code in (0, 65, 137):
        job = a_job()
        child = a_child(job).complete() if code == 0 else a_child(job).failed()
        pod = a_pod(child)
        pod = pod.succeeded(text) if code == 0 else pod.exited(code, message=text)
        writable(plan_of_job(job.obj(), around([child.obj()], [pod.obj()]), later(90), SETTINGS))


def katib(content: bytes, _: Path) -> None:
    """Katib's objects, of which the API server holds names, labels and owners alone."""
    said = json.loads(content)
    good = katib_world()
    for kind, thing in good.items():
        written = said.get(kind) if isinstance(said, dict) else None
        written = written if isinstance(written, dict) else {}
        thing.pop("spec", None)
        thing.pop("status", None)
        thing |= {part: written[part] for part in ("spec", "status") if part in written}
    job = katib_cases.a_job(good["trial"])
    found = around(
        katib_served=True,
        experiment=good["experiment"],
        suggestion=good["suggestion"],
        katib_trials=(good["trial"], good["ended"]),
        jobs=(job,),
        pods=(katib_cases.a_pod(job),),
    )
    resource = katib_cases.written(("a", "Running"))
    for seconds in (60, 4000):
        writable(plan_of_search(resource, found, later(seconds), katib_cases.SETTINGS))


def katib_world() -> dict[str, dict[str, Any]]:
    """What Katib has of one search."""
    done = {"observation": katib_cases.observed("0.6"), "completionTime": "2026-01-01T12:01:00Z"}
    ready = [{"type": "DeploymentReady", "status": "True"}]
    return {
        "experiment": katib_cases.an_experiment(trials=2),
        "suggestion": {
            **katib_cases.a_trial("s"),
            "kind": "Suggestion",
            "spec": {"requests": 2},
            "status": {"conditions": ready},
        },
        "trial": katib_cases.a_trial("a", "Running"),
        "ended": katib_cases.a_trial("b", "Succeeded", **done),
    }


def notes(content: bytes, _: Path) -> None:
    """Labels and annotations of a Job and of a trial, which whoever may write Jobs may change."""
    said = json.loads(content)
    said = {str(key): str(each) for key, each in said.items()} if isinstance(said, dict) else {}
    for end in ("runs", "failed", "complete"):
        job = a_job().policy(activeDeadlineSeconds=600)
        child = a_child(job).attempt(1)
        if end != "runs":
            child = child.failed("DeadlineExceeded") if end == "failed" else child.complete()
        made = child.obj()
        made["metadata"]["annotations"] |= said
        made["metadata"]["labels"] |= {key: each[:63] for key, each in said.items()}
        writable(plan_of_job(job.obj(), around([made]), later(90), SETTINGS))
    resource = katib_cases.a_search(engine="Embedded")
    trial = a_job("tune-trial-1").obj()
    trial["metadata"] |= {"labels": said, "annotations": said}
    trial["metadata"]["ownerReferences"] = [{"uid": katib_cases.UID, "controller": True}]
    writable(plan_of_search(resource, around(dinojobs=(trial,)), later(90), SETTINGS))


def writable(plan: Plan) -> None:
    """A plan is sent as JSON, which has no NaN."""
    parts = (plan.status, plan.creates, [each.body for each in plan.patches])
    json.dumps(parts, allow_nan=False)


def answer(content: bytes, _: Path) -> None:
    """What comes back from the API server, or from a proxy before it."""
    for status in (200, 404, 422, 503):
        try:
            _decode(status, content)
        except ApiError as error:
            str(error)


READERS = {
    "spec": Reader(spec, (TrainerError,)),
    "manifest": Reader(manifest, (CommandExit,)),
    "search": Reader(search, (TrainerError,)),
    "coco": Reader(coco, (TrainerError,)),
    "archive": Reader(archive, (TrainerError,)),
    "image": Reader(image, (TrainerError,)),
    "weights": Reader(weights, (ValueError,)),
    "checkpoint": Reader(checkpoints, (TrainerError, ValueError)),
    "onnx": Reader(onnx, (TrainerError, NotADetector)),
    "onnx_outline": Reader(onnx_outline),
    "engine": Reader(engine, (TrainerError,)),
    "message": Reader(message),
    "katib": Reader(katib),
    "notes": Reader(notes),
    "answer": Reader(answer),
}


def packed(members: list[tuple[tarfile.TarInfo, bytes]], how: str = "w") -> bytes:
    """A .tar, or with "w:gz" a .tar.gz."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=how) as tar:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()
