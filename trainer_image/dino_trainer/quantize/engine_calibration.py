"""An INT8 engine from an ONNX file that is not quantized yet: Q/DQ nodes as of `dino quantize`.

TensorRT's own calibrators are deprecated since 10.1 and gone in 11. Images are prepared as the
model's own are, which TAO's calibration does not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from onnxscript import ir

from dino_api.experiment import DatasetConfig, ExperimentSpec
from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.loader import cut, normalise
from dino_trainer.data.pictures import find_pictures
from dino_trainer.data.splits import read_split
from dino_trainer.detectors.onnx_detector import OnnxDetector
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.inference.stream import stream
from dino_trainer.model_files.info import config_for
from dino_trainer.run import RunContext

BATCH = 8


def quantized(
    reference: OnnxDetector,
    spec: ExperimentSpec,
    context: RunContext,
    calibration: CocoDataset | None = None,
) -> ir.Model:
    """The graph of the file with Q/DQ nodes, their ranges from the calibration images.

    calibration: `quant_calibration_data_sources`, where they were read before.

    Raises:
        TrainerError: InvalidSpec where no images are named; those of reading them.
    """
    from dino_trainer.quantize.static import quantize_onnx  # its library is slow to import

    files = _files(spec, context, calibration)
    context.reporter.event(f"Calibrating INT8 on {len(files)} images.")
    into = context.work_dir / "calibrated" / reference.path.name
    into.parent.mkdir(parents=True, exist_ok=True)
    config = config_for(reference.info, spec, None)
    images = engine_inputs(files, reference, config, context)
    quantize_onnx(reference.path, into, images, where=reference.info.file.uri)
    return ir.load(into)


def _files(
    spec: ExperimentSpec, context: RunContext, calibration: CocoDataset | None = None
) -> Sequence[ImageFile]:
    """The images that `quant_calibration_data_sources` or TAO's `cal_image_dir` name."""
    folders = spec.gen_trt_engine.tensorrt.calibration.cal_image_dir
    if folders:
        reporter = context.reporter
        with context.staging():
            listing = find_pictures(folders, context.work_dir, reporter.say, context.stop)
        if listing.omissions:
            reporter.event(f"Warning: {listing.omissions}")
        return listing.pictures
    sources = spec.dataset.quant_calibration_data_sources
    if not sources:
        raise invalid_spec(
            "gen_trt_engine.tensorrt.data_type is INT8, the ONNX file is not quantized, and no "
            "calibration images are named.",
            "Name some as dataset.quant_calibration_data_sources (datasets.calibration of a "
            "DinoJob), or quantize the file first: `dino quantize`.",
        )
    if calibration is None:
        share = spec.dataset.skip_unreadable
        calibration = read_split(sources, "quant_calibration_data_sources", context, share)
    return [image.file for image in calibration.images]


def engine_inputs(
    files: Sequence[ImageFile],
    reference: OnnxDetector,
    config: DatasetConfig,
    context: RunContext,
) -> Iterator[NDArray[Any]]:
    """What the graph is given for each image: [1, 3, h, w], float32 or, end to end, uint8.

    Raises TrainerError: InvalidDataset where not one image can be read; the others are named.
    """
    augmentation, count = config.augmentation, 0
    for turn in stream(files, config, cut(len(files), BATCH), pin=False):
        for bad in turn.unreadable:
            context.reporter.event(f"Warning: {files[bad.index].name} is left out: {bad.why}.")
        if turn.batch is None:
            continue
        pixels = turn.batch.images
        if reference.variant == "raw":
            pixels = normalise(pixels, None, augmentation.input_mean, augmentation.input_std)
        count += len(pixels)
        yield from (one[None] for one in pixels.contiguous().numpy())
    if not count:
        raise invalid_dataset(f"None of the {len(files)} calibration images can be read.")
