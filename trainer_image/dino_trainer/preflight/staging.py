"""Annotations first: of a file that is of no use no image is downloaded or unpacked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from dino_api.experiment import DataSource
from dino_trainer.data.stage import (
    StagedAnnotations,
    StagedSource,
    stage_annotations,
    stage_images,
    staging,
)
from dino_trainer.errors import TrainerError
from dino_trainer.preflight.sources import AS_FINDING, StageOne
from dino_trainer.storage.store import Say


def one_by_one(
    sources: Sequence[DataSource], into: Path, say: Say, stop: threading.Event | None
) -> StageOne:
    """Takes the annotations of all sources at once; returns what takes the images of one of them.

    Where any file has category ids that no model can have, that takes no image. It takes each once,
    however often it is asked, and raises what came of the source's annotations, or comes of its
    images. What is no flaw of the data is raised here.
    """
    work = staging(into, say, stop)
    known: dict[int, StagedAnnotations | TrainerError] = {}
    for source in sources:
        try:
            known[id(source)] = stage_annotations(source, work)
        except TrainerError as error:
            if error.reason not in AS_FINDING:
                raise
            known[id(source)] = error
    read = [one for one in known.values() if isinstance(one, StagedAnnotations)]
    useless = any(one.outline.large for one in read)
    whole: dict[int, StagedSource] = {}

    def stage_one(source: DataSource) -> StagedSource:
        staged = known[id(source)]
        if isinstance(staged, TrainerError):
            raise staged
        if useless:
            return staged.without_images
        if id(source) not in whole:
            whole[id(source)] = stage_images(staged, work)
        return whole[id(source)]

    return stage_one
