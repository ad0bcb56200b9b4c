"""The two data sets of a training, read and checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from dino_api.experiment import DataSource, ExperimentSpec
from dino_trainer.data.coco import CocoDataset, class_names, load_coco
from dino_trainer.data.scorable import check_scored
from dino_trainer.data.skipping import agreed_skips, refuse_other_data, tell_skipped
from dino_trainer.data.stage import StagedSource, stage
from dino_trainer.data.unreadable import skipped_in_words
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.run import RunContext

TRAIN, VALIDATION = "train_data_sources", "val_data_sources"


@dataclass(frozen=True)
class TrainingData:
    """Both splits. `warnings` is what is odd and was not an error."""

    train: CocoDataset
    validation: CocoDataset
    num_classes: int
    warnings: list[str]

    @property
    def class_names(self) -> list[str]:
        """Name by label, "" where none is known, for all `num_classes`."""
        return class_names(self.train.categories, self.num_classes)

    @property
    def by_key(self) -> dict[str, CocoDataset]:
        """What was read, by its key in the spec's `dataset`."""
        if self.validation is self.train:
            return {TRAIN: self.train}
        return {TRAIN: self.train, VALIDATION: self.validation}


def load_data(spec: ExperimentSpec, context: RunContext) -> TrainingData:
    """Stage and read both splits; without validation data, training data stands in for it.

    For all processes to call. What is left out is not said yet: the lists beside the results are
    those of the training that is there, until it is known that this one goes on with it.
    """
    share = spec.dataset.skip_unreadable
    train = _read(spec.dataset.train_data_sources, TRAIN, context, share)
    warnings = list(train.warnings)
    left_out = skipped_in_words(train.skips, TRAIN)
    if spec.dataset.val_data_sources:
        validation = _read(spec.dataset.val_data_sources, VALIDATION, context, share)
        left_out += skipped_in_words(validation.skips, VALIDATION)
        warnings += [text for text in validation.warnings if text not in warnings]
    else:
        validation = train
        warnings.append("There is no validation data: metrics are those of the training data.")
    most, key = spec.train.max_detections, "train.max_detections"
    warnings += check_scored(
        validation, spec.dataset.eval_class_ids, most, key, spec.model.num_select
    )
    num_classes = count_classes(spec.dataset.num_classes, train)
    for text in warnings:
        context.reporter.event(f"Warning: {text}")
    return TrainingData(train, validation, num_classes, [*left_out, *warnings])


def read_split(
    sources: Sequence[DataSource] | None, key: str, context: RunContext, share: float
) -> CocoDataset:
    """One split, copied to this machine if it is elsewhere. For all processes to call.

    key: of the data in the spec's `dataset`. share: of the images of each source that are left out
    where they are damaged, the same ones by all processes; what is left out is said here.
    """
    dataset = _read(sources, key, context, share)
    if share:
        tell_skipped(dataset, key, context)
    return dataset


def _read(
    sources: Sequence[DataSource] | None, key: str, context: RunContext, share: float
) -> CocoDataset:
    """`read_split`, of which nothing is said."""
    if not sources:
        raise invalid_spec(f"dataset.{key} is empty.", "Name a folder and an annotation file.")
    world = context.world
    with world.first_here():
        staged = _staged(sources, context)
    skips = agreed_skips(staged, share, context)
    with world.first_here():
        dataset = load_coco(staged, skips)
    refuse_other_data(dataset, world)
    return dataset


def tell_left_out(data: TrainingData, context: RunContext) -> None:
    """Says what both splits go without, and writes the lists beside the results."""
    for key, dataset in data.by_key.items():
        if dataset.skips:
            tell_skipped(dataset, key, context)


def _staged(sources: Sequence[DataSource], context: RunContext) -> list[StagedSource]:
    into = context.work_dir / "data"
    with context.staging():
        return stage(sources, into, context.reporter.say, context.stop)


def count_classes(asked: int | None, train: CocoDataset) -> int:
    """The number of classes: what the spec says, or what the data needs.

    Raises:
        TrainerError: InvalidDataset if the spec says less than the data needs.
    """
    needed = train.num_classes
    if asked is None:
        return needed
    if asked < needed:
        raise invalid_dataset(
            f"dataset.num_classes is {asked}, but the largest category id is {needed - 1}, which "
            f"takes {needed}.",
            f"Set it to {needed} (numClasses of a DinoJob), or leave it out.",
        )
    return asked
