"""`dino convert`: from what annotation tools write to the COCO folders that a training takes."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from dino_trainer.convert import formats
from dino_trainer.convert.coco_writer import How, write
from dino_trainer.convert.files import read_lines
from dino_trainer.convert.records import Export, ExportSource, LabelledImage
from dino_trainer.convert.splitting import NAMES, by_split, shares_of
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.storage.store import Say

_SECONDS = 5.0
_REMOTE = "Copy it here, convert it, and upload what is written."


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Reads the export, writes the folders, and says what became of what.

    Raises TrainerError: InvalidSpec, InvalidDataset, InputNotFound, DiskFull, AccessDenied; nothing
    is written then.
    """
    source, output = _local(arguments.source), _local(arguments.output)
    _require_apart(source, output)
    shares = shares_of(arguments.split) if arguments.split else None
    images = _local(arguments.images) if arguments.images else None
    if images is not None and not images.is_dir():
        raise invalid_spec(f"--images {images} is no folder.", "Name the folder of the images.")
    wanted = ExportSource(source, images, arguments.voc_zero_based, Steps("read", say))
    export = formats.read(arguments.format, wanted)
    if arguments.classes:
        names = read_lines(_local(arguments.classes))
        export = formats.listed(export, names, _local(arguments.classes))
    splits, left_out = _splits(export, shares is None, by_split(export.images, shares))
    for line in (*_lines(export, left_out), *_empty(splits, shares)):
        say(line)
    how = How(arguments.archive, arguments.link)
    write(splits, export.names, output, how, Steps("written", say))
    for line in _summary(splits, export.names, output):
        say(line)
    return 0


class Steps:
    """Counts images, and says how many now and then."""

    def __init__(self, done: str, say: Say, seconds: float = _SECONDS) -> None:
        self._done, self._say, self._seconds = done, say, seconds
        self._count, self._next = 0, time.monotonic() + seconds

    def __call__(self) -> None:
        self._count += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._seconds
            self._say(f"{self._count:,} images {self._done}")


def _local(text: str) -> Path:
    if "://" in text:
        raise invalid_spec(f"{text} lies in an object store.", _REMOTE)
    return Path(text)


def _require_apart(source: Path, output: Path) -> None:
    """The source stays as it is, also for whoever reads it next."""
    if output.resolve().is_relative_to(source.resolve()):
        raise invalid_spec(
            f"The output {output} lies in the source {source}, which is left as it is.",
            "Name a folder beside it.",
        )


def _splits(
    export: Export, of_export: bool, splits: dict[str, list[LabelledImage]]
) -> tuple[dict[str, list[LabelledImage]], int]:
    """What is written, and how many images are in no split though others are."""
    if not splits:
        raise invalid_dataset("The export has no image.", "Name the folder of the whole export.")
    if not export.names:
        raise invalid_dataset("The export has no class, and no box.", "Annotate some images.")
    left_out = len(splits.pop("")) if of_export and len(splits) > 1 and "" in splits else 0
    return splits, left_out


def _lines(export: Export, left_out: int) -> list[str]:
    lines = [export.reading] if export.reading else []
    lines += [f"warning: {line}" for line in export.warnings]
    if left_out:
        lines.append(
            f"warning: Images that the export puts into no split were left out: {left_out}. "
            "--split takes all."
        )
    return lines


def _empty(splits: dict[str, list[LabelledImage]], shares: tuple[float, ...] | None) -> list[str]:
    """Splits that were asked for and that no name fell into: a training takes no empty one."""
    wanted = [name for name, share in zip(NAMES, shares or (), strict=False) if share]
    return [
        f"warning: No image fell into {name}, which is not written: give it a larger share."
        for name in wanted
        if name not in splits
    ]


def _summary(
    splits: dict[str, list[LabelledImage]], names: tuple[str, ...], output: Path
) -> list[str]:
    """Where everything is, and how often each class occurs where."""
    lines = [
        f"{output / split}: {len(images)} images, {sum(len(one.boxes) for one in images)} boxes"
        for split, images in splits.items()
    ]
    counts = Counter(box.name for some in splits.values() for one in some for box in one.boxes)
    shown = [f"  category {at}: {name}, {counts[name]} boxes" for at, name in enumerate(names, 1)]
    more = [f"  and {len(shown) - 20} more"] if len(shown) > 20 else []
    return [*lines, *shown[:20], *more]
