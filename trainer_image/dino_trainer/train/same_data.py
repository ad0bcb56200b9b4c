"""Whether a training goes on with the data that it began with, without the same images of it."""

from collections.abc import Iterable, Sequence

from dino_trainer.data.coco import digest_without
from dino_trainer.data.splits import TRAIN, VALIDATION, TrainingData
from dino_trainer.data.unreadable import KEY
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.train.checkpoint_content import ReadData, Resumable

_NAMED = 10
_BEGIN_ANEW = "or choose another output and name the checkpoint as train.pretrained_model_path."


def read(data: TrainingData) -> ReadData:
    """What a checkpoint remembers of the data."""
    left_out = {key: dataset.left_out for key, dataset in data.by_key.items()}
    return {
        "dataset_digest": data.train.digest,
        "validation_digest": data.validation.digest,
        "left_out": left_out,
    }


def refuse_other(saved: Resumable, data: TrainingData, *, same_spec: bool) -> None:
    """Raises InvalidDataset where the training data is not the checkpoint's, or the best weights
    so far were scored on other images than the next ones would be.

    same_spec: whether the checkpoint is of this very experiment, in this output; another one scores
    on what it likes. A checkpoint of an earlier release does not say what it was scored on, or went
    without.
    """
    before, now = saved.get("left_out", {}), read(data)
    if saved["dataset_digest"] != now["dataset_digest"]:
        theirs = before.get(TRAIN, [])
        changes = _changes(theirs, now["left_out"][TRAIN])
        if changes and digest_without(data.train.sources, theirs) == saved["dataset_digest"]:
            raise _other_images(TRAIN, changes)
        raise invalid_dataset(
            "The training data is not the data that the checkpoint was trained on.",
            f"Put the data back; {_BEGIN_ANEW}",
        )
    if same_spec:
        _refuse_other_scores(saved, now)


def _refuse_other_scores(saved: Resumable, now: ReadData) -> None:
    """The same of the validation data."""
    before = saved.get("left_out", {})
    if VALIDATION in before and VALIDATION in now["left_out"]:
        changes = _changes(before[VALIDATION], now["left_out"][VALIDATION])
        if changes:
            raise _other_images(VALIDATION, changes)
    if saved.get("validation_digest", now["validation_digest"]) != now["validation_digest"]:
        raise invalid_dataset(
            "The validation data is not the data that the checkpoint was scored on: the next mAP "
            "would be compared with one of other images.",
            f"Put the data back; {_BEGIN_ANEW}",
        )


def _other_images(key: str, changes: str) -> TrainerError:
    used = "trained on" if key == TRAIN else "validated on"
    return invalid_dataset(
        f"dataset.{key} is not the data that the checkpoint was {used}: {changes} ({KEY}).",
        f"Put these files back as they were when the training began; {_BEGIN_ANEW}",
    )


def _changes(before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> str:
    """Which images came or went, as a clause; "" where none did."""
    old, new = _names(before), _names(now)
    parts = []
    if repaired := [name for name in old if name not in new]:
        parts.append(f"{_listed(repaired)} left out then and can be read now")
    if damaged := [name for name in new if name not in old]:
        parts.append(f"{_listed(damaged)} read then and cannot be now")
    return ", ".join(parts)


def _names(by_source: Iterable[Iterable[str]]) -> dict[str, None]:
    """In order, each once."""
    return dict.fromkeys(name for names in by_source for name in names)


def _listed(names: Sequence[str]) -> str:
    """`5.png and 2 more were`."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more} {'was' if len(names) == 1 else 'were'}"
