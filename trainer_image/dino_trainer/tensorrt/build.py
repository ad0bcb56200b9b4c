"""From an ONNX file to an engine: precision, shapes, the build with its progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from onnxscript import ir

from dino_api.experiment.actions import TensorRtConfig
from dino_trainer.errors import invalid_spec
from dino_trainer.storage.store import Say
from dino_trainer.tensorrt import precision, python_api
from dino_trainer.tensorrt.python_api import BuildOutput, InputShapes, Request

_KEY = "gen_trt_engine.tensorrt"
_BATCHES = ("min_batch_size", "opt_batch_size", "max_batch_size")


@dataclass(frozen=True)
class Batches:
    """Smallest, tuned for, largest."""

    min: int
    opt: int
    max: int

    @property
    def all(self) -> tuple[int, int, int]:
        """All three."""
        return self.min, self.opt, self.max


def batches_for(config: TensorRtConfig, own: int | None, uri: str) -> Batches:
    """The batches to build for; own: the only one that the ONNX file takes, None if it is open.

    Raises TrainerError: InvalidSpec where the keys ask for another than the only one.
    """
    asked = Batches(config.min_batch_size, config.opt_batch_size, config.max_batch_size)
    if own is None:
        return asked
    odd = [
        f"{_KEY}.{name} is {getattr(config, name)}"
        for name in _BATCHES
        if name in config.model_fields_set and getattr(config, name) != own
    ]
    if odd:
        raise invalid_spec(
            f"{uri} takes batches of {own} only, and {' and '.join(odd)}.",
            "Leave these keys out, or export the model with export.batch_size: -1.",
        )
    return Batches(own, own, own)


def check_precision(model: ir.Model, data_type: str, uri: str) -> None:
    """Refuses a graph that is of another precision than asked for.

    Raises TrainerError: InvalidSpec.
    """
    if data_type != "INT8" and precision.is_quantized(model):
        raise invalid_spec(
            f"{uri} is quantized to INT8, and {_KEY}.data_type is {data_type}: an engine computes "
            "in the types that its graph states.",
            f"Set {_KEY}.data_type: INT8, or name the file that was not quantized.",
        )
    if precision.is_for_cpus(model):
        raise invalid_spec(
            f"{uri} is quantized for CPUs, with activations of uint8: TensorRT takes int8 only.",
            "Name the file that `dino export` made, with calibration images "
            "(dataset.quant_calibration_data_sources; datasets.calibration of a DinoJob).",
        )
    if precision.is_lowered(model):
        raise invalid_spec(
            f"{uri} computes in half precision already.",
            "Name the file that `dino export` made; data_type says what to lower.",
        )


def lowered(model: ir.Model, data_type: str) -> str:
    """Makes the graph one that TensorRT builds in `data_type`, in place: what was done, in words.

    INT8 needs the Q/DQ nodes to be there already; what they leave out stays float32.
    """
    if data_type == "FP16":
        return f"{precision.to_half(model)} nodes compute in float16, the others in float32."
    if data_type == "INT8":
        folded = precision.fold_biases(model)
        return f"INT8 where the graph has Q/DQ nodes, else float32; {folded} biases in float32."
    return "All nodes compute in float32."


def profile_of(model: ir.Model, batches: Batches, uri: str) -> dict[str, InputShapes]:
    """The shapes of the graph's one input for these batches.

    Raises TrainerError: InvalidSpec for a graph of several inputs, or of an open height or width.
    """
    inputs = list(model.graph.inputs)
    sides = [side for value in inputs[:1] for side in list(value.shape or [])[1:]]
    whole = [side for side in sides if isinstance(side, int)]
    if len(inputs) != 1 or len(sides) != 3 or len(whole) != 3:
        raise invalid_spec(
            f"{uri} has {len(inputs)} input(s), the first of {sides}: one of [batch, 3, height, "
            "width] is needed, with fixed height and width.",
            "Name a file that `dino export` made.",
        )
    least, best, most = ((batch, *map(int, whole)) for batch in batches.all)
    return {str(inputs[0].name): InputShapes(least, best, most)}


def run(request: Request, progress: Callable[[int], bool], say: Say, verbose: bool) -> BuildOutput:
    """Builds; see `python_api.build`.

    progress: hears percent, of the phase that runs; False stops the build.
    """
    return python_api.build(request, Phases(progress, say), say, verbose)


class Phases:
    """Turns TensorRT's steps into percent, and says when a phase begins."""

    def __init__(self, progress: Callable[[int], bool], say: Say) -> None:
        self._progress, self._say = progress, say
        self._phase, self._percent = "", 0

    def __call__(self, phase: str, done: int, steps: int) -> bool:
        """Hears of a step (`listeners.PhaseListener`); one inside a phase asks whether to go on."""
        if phase and phase != self._phase:
            self._phase = phase
            self._say(f"TensorRT: {phase}.")
        if steps:
            self._percent = math.floor(100 * done / steps)
        return self._progress(self._percent)
