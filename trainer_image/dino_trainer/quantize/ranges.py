"""What values the tensors of a graph take: one image at a time, never all of them in memory.

ONNX Runtime's calibrators do the arithmetic. Used as its `quantize_static` does, they keep every
tensor of every image until the last one.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    EntropyCalibrater,
    MinMaxCalibrater,
    TensorsData,
)

from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.machine.cores import cores

_KINDS: dict[str, type[CalibraterBase]] = {"minmax": MinMaxCalibrater, "entropy": EntropyCalibrater}
# The library's own default, 128, is as many as it quantizes to: then there is nothing to choose.
_OPTIONS: dict[str, dict[str, int]] = {"minmax": {}, "entropy": {"num_bins": 512}}
_ERRORS_ONLY = 3


class _Once:
    """The library's form of data: the inputs of one run."""

    def __init__(self, feed: dict[str, NDArray[Any]]) -> None:
        self._feed: dict[str, NDArray[Any]] | None = feed

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        feed, self._feed = self._feed, None
        return feed


def ranges_of(
    model: onnx.ModelProto, tensors: set[str], images: Iterable[NDArray[Any]], algorithm: str
) -> tuple[TensorsData, int]:
    """The range of each of `tensors`, and the number of images.

    images: inputs of the graph's one input, [b, 3, h, w]. algorithm: minmax or entropy.
    Raises InvalidSpec for another algorithm; InvalidDataset without images.
    """
    if algorithm not in _KINDS:
        raise invalid_spec(
            f"quantize.algorithm {algorithm} is not built.", f"Set {' or '.join(_KINDS)}."
        )
    name, count = model.graph.input[0].name, 0
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    with tempfile.TemporaryDirectory(prefix="dino-quantize-") as folder:
        path = Path(folder, "model.onnx")
        onnx.save(model, path)
        calibrator = _calibrator(_KINDS[algorithm], path, tensors, _OPTIONS[algorithm])
        for inputs in images:
            with _quietly():
                calibrator.collect_data(_Once({name: _filled(inputs, batch)}))
            count += len(inputs)
        if not count:
            raise invalid_dataset(
                "There are no calibration images.",
                "Name some as dataset.quant_calibration_data_sources.",
            )
        with _quietly():
            return calibrator.compute_data(), count


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The library prints what it does, for each image; NaN are noticed by `finite`."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _filled(inputs: NDArray[Any], batch: int) -> NDArray[Any]:
    """As many images as a graph of a fixed batch takes: repeated, they change no extreme."""
    if batch <= len(inputs):
        return inputs
    return np.concatenate([inputs, np.repeat(inputs[-1:], batch - len(inputs), axis=0)])


def _calibrator(
    kind: Any, path: Path, tensors: set[str], options: dict[str, int]
) -> CalibraterBase:
    class Narrow(kind):  # type: ignore[misc]  # one of ONNX Runtime's, which the spec chooses
        """Looks at the tensors that will be quantized, with as many threads as there are cores."""

        def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set[str], Any]:
            selected, infos = super().select_tensors_to_calibrate(model)
            return selected & tensors, infos

        def create_inference_session(self) -> None:
            session = onnxruntime.SessionOptions()
            session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session.intra_op_num_threads = cores()
            session.log_severity_level = _ERRORS_ONLY
            self.infer_session = onnxruntime.InferenceSession(
                self.augmented_model_path, session, providers=self.execution_providers
            )

    augmented = str(path.with_name("augmented.onnx"))
    calibrator: CalibraterBase = Narrow(path, augmented_model_path=augmented, **options)
    calibrator.augment_graph()
    calibrator.create_inference_session()
    return calibrator


def finite(ranges: TensorsData) -> bool:
    """Whether all ranges are numbers."""
    return all(np.isfinite(np.asarray(data.range_value)).all() for _, data in ranges.items())
