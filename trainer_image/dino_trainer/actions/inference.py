"""`dino inference`: images without annotations, to labels, pictures and a report."""

from __future__ import annotations

import hashlib

from dino_api.experiment import ExperimentSpec
from dino_api.names import REPORT_FILE, Action
from dino_api.result import Dataset, Result
from dino_trainer.data.pictures import PictureListing, find_pictures
from dino_trainer.detectors.opening import open_detector
from dino_trainer.distributed.world import World
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.inference.classmap import names_by_label, read_lines
from dino_trainer.inference.drawing import colours_of
from dino_trainer.inference.page import inference_page
from dino_trainer.inference.pipeline import InferenceTask, run_through
from dino_trainer.inference.rendering import ImageFiles, Style
from dino_trainer.inference.tally import Tally
from dino_trainer.inference.writer import PredictionWriter
from dino_trainer.machine import devices
from dino_trainer.model_files.info import Detector, ModelInfo, config_for
from dino_trainer.model_files.naming import model_uri
from dino_trainer.report.pace import Pace, Watch
from dino_trainer.run import RunContext
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import split

_NAMED = 5


def run(spec: ExperimentSpec, context: RunContext) -> Result:
    """Find objects in every image that `dataset.infer_data_sources` names.

    In several processes each takes some of the batches, and the first one writes what all find.

    Raises:
        TrainerError: InvalidDataset for a class map of other classes, and where no image can be
            read; InvalidSpec for a colour of a class that the model does not have; those of
            `open_detector` and `find_pictures`.
    """
    devices.tune_cpu()
    section = spec.inference
    detector = open_detector(model_uri(spec, Action.INFERENCE), spec, context)
    names = shown_class_names(spec, detector.info)
    style = Style(names, colours_of(names, section.color_map), section.outline_width)
    config = config_for(detector.info, spec, section)
    listing = gather(spec, context)
    task = InferenceTask(detector, config, section.conf_threshold, listing.pictures, style)
    announce_inference(task, listing, context)
    files = ImageFiles(context.output, task.pictures)
    watch = Watch(context.stop, Pace(context.reporter.progress), context.reporter.event)
    result = Result(action=Action.INFERENCE, spec_digest=context.digest)
    with PredictionWriter(context.output, task.pictures, files, names) as writer:
        run_through(task, files, writer, context.world, watch)
        if context.world.is_main:
            result = conclude(task, writer, listing, context)
    # Until all is safe nobody leaves: a node that is lost meanwhile has them all start again.
    context.world.barrier()
    return result


def announce_inference(task: InferenceTask, listing: PictureListing, context: RunContext) -> None:
    """What is going to be looked at, where, and what is left out."""
    processes = context.world.size
    each = f" in each of {processes} processes" if processes > 1 else ""
    context.reporter.event(
        f"Looking for objects in {len(task.pictures)} images on "
        f"{devices.device_in_words(task.detector.device)}{each}."
    )
    if listing.omissions:
        context.reporter.event(f"Warning: {listing.omissions}")


def conclude(
    task: InferenceTask, writer: PredictionWriter, listing: PictureListing, context: RunContext
) -> Result:
    """All files, published, and what came out."""
    tally, names, threshold = writer.tally, task.style.names, task.threshold
    artifacts = writer.finish(about(task.detector, tally, threshold, listing))
    verdict = verdict_of(tally, listing)
    html = inference_page(verdict, tally, task.style.colours, threshold, writer.shown)
    context.reporter.event(verdict)
    return Result(
        action=Action.INFERENCE,
        note=skipped(tally),
        model=task.detector.info.file,
        artifacts=[*artifacts, context.output.publish_text(REPORT_FILE, html)],
        dataset=Dataset(
            num_classes=len(names),
            images=tally.read,
            class_names=list(names),
            warnings=odd(tally, listing),
        ),
    )


def gather(spec: ExperimentSpec, context: RunContext) -> PictureListing:
    """The images to look at, the same ones for all processes.

    Raises InvalidDataset where there are none, and where a process has others.
    """
    sources = spec.dataset.infer_data_sources
    folders = sources.image_dir if sources else []
    with context.world.first_here(), context.staging():
        listing = find_pictures(folders, context.work_dir, context.reporter.say, context.stop)
    refuse_other_pictures(listing, context.world)
    return listing


def refuse_other_pictures(listing: PictureListing, world: World) -> None:
    """Raises InvalidDataset on all processes where one of them has other images than the first.

    Each finds its own by their places. For all processes to call.
    """
    names = hashlib.sha256()
    for picture in listing.pictures:
        names.update(f"{picture.path}\0".encode(errors="surrogatepass"))
    seen = world.broadcast(world.gather((len(listing.pictures), names.hexdigest()))) or []
    for place, one in enumerate(seen):
        if one != seen[0]:
            raise invalid_dataset(
                f"Process {place + 1} of {world.size} has found {one[0]} images, and the first one "
                f"{seen[0][0]}, or others of the same number.",
                "Give all nodes the same images, or name them by one s3:// URI, and add none while "
                "the job begins.",
            )


def shown_class_names(spec: ExperimentSpec, info: ModelInfo) -> tuple[str, ...]:
    """Name by label: what the class map says, where it agrees with the model."""
    sources = spec.dataset.infer_data_sources
    uri = sources.classmap if sources else ""
    if uri:
        base, name = split(uri)
        return names_by_label(
            read_lines(open_store(base).read_bytes(name), uri), info.class_names, uri
        )
    if not any(info.class_names):
        raise invalid_spec(
            f"{info.file.uri} does not know the names of its classes, and "
            "dataset.infer_data_sources.classmap is not set.",
            "Name a text file with one class name a line, in the order of the category ids.",
        )
    return info.class_names


def about(
    detector: Detector, tally: Tally, threshold: float, listing: PictureListing
) -> dict[str, object]:
    """What predictions.json says about itself."""
    file = detector.info.file
    return {
        "model": file.uri,
        "model_sha256": file.sha256,
        "conf_threshold": threshold,
        "skipped": [{"file_name": name, "why": why} for name, why in tally.skipped],
        "left_out": (*listing.left_out, *listing.lost),
    }


def verdict_of(tally: Tally, listing: PictureListing) -> str:
    """What came out, in a sentence or two."""
    text = f"{tally.total:,} objects in {tally.read:,} images, {tally.empty:,} of them without any."
    return " ".join([text, *odd(tally, listing)])


def odd(tally: Tally, listing: PictureListing) -> list[str]:
    """What was left out, one sentence each."""
    sentences = [text for text in (skipped(tally), listing.omissions) if text]
    if tally.nameless:
        sentences.append(
            "Detections of classes without a name in the class map are left out: "
            f"{tally.nameless:,}."
        )
    return sentences


def skipped(tally: Tally) -> str | None:
    """The images that cannot be read, counted, the first ones by name."""
    if not tally.skipped:
        return None
    names = ", ".join(name for name, _ in tally.skipped[:_NAMED])
    more = len(tally.skipped) - _NAMED
    total = tally.read + len(tally.skipped)
    return f"{len(tally.skipped):,} of {total:,} images cannot be read and are skipped: {names}" + (
        f" and {more:,} more." if more > 0 else "."
    )
