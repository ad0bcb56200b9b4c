"""A file of `dino export` or `dino quantize` as a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dino_runtime.exported_file import Description, NotADetector, described
from dino_runtime.pixels import Picture, prepared, upright

INPUT = "inputs"
RAW_OUTPUTS, END_TO_END_OUTPUTS = ["pred_logits", "pred_boxes"], ["boxes", "scores", "labels"]
# The key of a session's options that makes ONNX Runtime exact on x86 without VNNI.
EXACT = "session.x64quantprecision"
_PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
_ERRORS_ONLY = 3
_Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class Detection:
    """One object. box: left, top, right and bottom in pixels of the image, upright."""

    name: str
    score: float
    box: tuple[float, float, float, float]
    label: int


class Detector:
    """An opened file; `detect` may be called from several threads.

    class_names: by label, "" for labels that stand for nothing. size: (height, width) that images
    are resized to.
    """

    def __init__(self, session: onnxruntime.InferenceSession, about: Description) -> None:
        self._session, self._about = session, about
        self.class_names, self.size = about.class_names, about.size

    @classmethod
    def open(
        cls, path: str | Path, providers: Sequence[str] | None = None, *, threads: int = 0
    ) -> Detector:
        """Opens a file. providers: those of ONNX Runtime; by default the GPU's where there is one.
        threads: for one image; 0: as many as the machine has cores, also where a container may
        use fewer.

        Raises:
            NotADetector: where it is no ONNX file, or does not say what it detects.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        session = _session(path, providers, threads, exact=False)
        try:
            about = described(session.get_modelmeta().custom_metadata_map, str(path))
            _check_graph(session, about, path)
        except UnicodeDecodeError as error:
            raise NotADetector(f"{path} has names that are no text.") from error
        if about.exact:
            session = _session(path, providers, threads, exact=True)
        return cls(session, about)

    def detect(self, picture: Picture, threshold: float = 0.5) -> list[Detection]:
        """The objects of an image whose score is at least `threshold`, best first.

        picture: a file, a Pillow image, or uint8[height, width, 3] in RGB. Classes without a name
        are left out.
        """
        image = upright(picture)
        inputs = np.repeat(prepared(image, self._about), self._about.batch or 1, axis=0)
        if self._about.end_to_end:
            scores, labels, boxes = self._chosen_by_the_graph(inputs)
        else:
            scores, labels, boxes = self._chosen(inputs)
        scale = np.array([image.width, image.height] * 2, np.float32)
        return [
            Detection(
                self.class_names[label], float(score), (box[0], box[1], box[2], box[3]), label
            )
            for score, label, box in zip(
                scores, labels.tolist(), (boxes * scale).tolist(), strict=True
            )
            if score >= threshold and self.class_names[label]
        ]

    def _chosen(self, inputs: NDArray[np.generic]) -> _Arrays:
        """The best pairs of query and class; boxes in shares of the image."""
        logits, boxes = (each[0] for each in self._session.run(RAW_OUTPUTS, {INPUT: inputs}))
        scores = 1 / (1 + np.exp(-logits.astype(np.float32)))
        best = np.argsort(-scores, axis=None, kind="stable")[: self._about.select]
        queries, labels = np.unravel_index(best, scores.shape)
        centre, half = boxes[queries, :2], boxes[queries, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
        return scores[queries, labels], labels, corners.astype(np.float32)

    def _chosen_by_the_graph(self, inputs: NDArray[np.generic]) -> _Arrays:
        """Its boxes are in pixels of its own size."""
        boxes, scores, labels = (
            each[0] for each in self._session.run(END_TO_END_OUTPUTS, {INPUT: inputs})
        )
        height, width = self.size
        return scores, labels, boxes / np.array([width, height] * 2, np.float32)


def _check_graph(
    session: onnxruntime.InferenceSession, about: Description, path: str | Path
) -> None:
    """Refuses what the metadata does not describe, such as another graph under it."""
    wanted = [INPUT], END_TO_END_OUTPUTS if about.end_to_end else RAW_OUTPUTS
    names = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
    if names != wanted:
        graph, other = (" -> ".join(map(", ".join, each)) for each in (names, wanted))
        raise NotADetector(f"{path} has the graph {graph}, and says {other}.")
    size = session.get_inputs()[0].shape[2:]
    if size != list(about.size):
        raise NotADetector(f"{path} takes images of {_by(size)}, and says {_by(about.size)}.")
    classes, named = session.get_outputs()[0].shape[2:], len(about.class_names)
    if not about.end_to_end and classes != [named]:
        raise NotADetector(f"{path} tells {_by(classes)} classes, and names {named}.")


def _by(sides: Sequence[object]) -> str:
    """Writes `64x96`, of a graph also what it calls a side that it leaves open."""
    return "x".join(map(str, sides)) or "?"


def _session(
    path: str | Path, providers: Sequence[str] | None, threads: int, *, exact: bool
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    if exact:
        options.add_session_config_entry(EXACT, "1")
    here = onnxruntime.get_available_providers()
    chosen = list(providers or (name for name in _PREFERRED if name in here))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    # Its errors have no base of their own.
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise NotADetector(f"{path} cannot be run by ONNX Runtime: {first}.") from error
