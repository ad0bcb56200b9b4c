"""The splits of a COCO folder, in the layouts that tools write, and the facts a recipe needs.

train/annotations.json, train/images/     `dino convert`; images.tar.gz in place of images/
train/_annotations.coco.json, train/*.jpg Roboflow; valid/ for validation
annotations/instances_train2017.json, train2017/      COCO itself
annotations.json, images/                 one split
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_api.rules.data import data_rule
from dino_trainer.data.coco_entries import Entries, entries_of, outline_of
from dino_trainer.data.coco_json import read_json
from dino_trainer.data.flaws import Flaw
from dino_trainer.data.folder_files import is_hidden
from dino_trainer.data.image_store import Folder
from dino_trainer.data.packing import is_archive, stem
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.storage.files import named

TRAIN, VALIDATION, TEST = "train", "val", "test"
_CALLED = {
    TRAIN: ("train", "training"),
    VALIDATION: ("val", "valid", "validation"),
    TEST: ("test", "testing"),
}
_FILES = ("annotations.json", "_annotations.coco.json")
# Forms that differ by less than this factor are stretched into one without harm.
_ALIKE = 1.25
_SOME_SIZE = (640, 480)
# Of the images that a file lists, so many are looked for in each folder.
_PROBES = 20


@dataclass(frozen=True)
class FolderSplit:
    """A data source: paths as a spec has them, and how many images and boxes it lists."""

    images: Path
    annotations: Path
    count: int
    boxes: int


@dataclass(frozen=True)
class FolderFacts:
    """What a recipe depends on; all but `splits` is of the training images.

    classes: names by category id. size: width and height of the middle image, in pixels. alike:
    whether nearly all images have its form. most_boxes: of one image. small_side: of the boxes a
    tenth is smaller than a square of this side, in pixels. flaws: entries that cannot be used.
    """

    splits: Mapping[str, FolderSplit]
    classes: Mapping[int, str]
    size: tuple[int, int]
    alike: bool
    most_boxes: int
    small_side: float
    flaws: int = 0

    @property
    def num_classes(self) -> int:
        return max(self.classes) + 1


def find_annotations(folder: Path) -> dict[str, Path]:
    """The annotation file of each split, "" for a folder without splits; whatever is in them."""
    below = {split: _in_folder(folder / name) for split, name in _folders(folder)}
    by_split = {split: file for split, file in below.items() if file}
    return by_split or dict(_named_by_split(folder / "annotations")) or _single(folder)


def read_facts(folder: Path, files: Mapping[str, Path]) -> FolderFacts:
    """Reads the annotation files of `find_annotations`.

    Raises InvalidDataset for files that are not COCO, and where no split is for training.
    """
    files = {TRAIN: files[""]} if set(files) == {""} else files
    if TRAIN not in files:
        raise invalid_dataset(
            f"{folder} has no split for training, only {', '.join(sorted(files))}.",
            f"Name a folder that has {TRAIN}/annotations.json.",
        )
    flaws: list[Flaw] = []
    read = {split: _read(folder, split, file, flaws) for split, file in files.items()}
    splits = {split: one for split, (one, _) in read.items()}
    return _facts(splits, [entries for _, entries in read.values()], len(flaws))


def _folders(folder: Path) -> Iterator[tuple[str, str]]:
    with named(folder):
        there = {path.name.lower(): path.name for path in folder.iterdir() if path.is_dir()}
    for split, names in _CALLED.items():
        name = next((there[name] for name in names if name in there), None)
        if name:
            yield split, name


def _in_folder(folder: Path) -> Path | None:
    """The one annotation file that lies in a folder itself."""
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    jsons = _jsons(folder)
    return jsons[0] if len(jsons) == 1 else None


def _jsons(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with named(folder):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json")
    return [path for path in files if not is_hidden(path.name)]


def _named_by_split(folder: Path) -> Iterator[tuple[str, Path]]:
    """instances_train2017.json and its like; captions and key points stand beside them."""
    files = _jsons(folder)
    boxes = [path for path in files if path.name.startswith("instances")] or files
    named = {path: _splits_in(path.stem) for path in boxes}
    for split in _CALLED:
        # trainval.json holds both, and would be validated on what it is trained with.
        own = [path for path in boxes if named[path] == [split]]
        if len(own) == 1:
            yield split, own[0]


def _splits_in(name: str) -> list[str]:
    """Those that a word of the name stands for: "train" of valves_train2017."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return [split for split, names in _CALLED.items() if words.intersection(names)]


def _single(folder: Path) -> dict[str, Path]:
    for place in (folder, folder / "annotations"):
        if file := _in_folder(place):
            return {"": file}
    return {}


def _read(folder: Path, split: str, file: Path, flaws: list[Flaw]) -> tuple[FolderSplit, Entries]:
    document = read_json(file)
    names = outline_of(document, file).file_names
    place = _folder_of(folder, split, file, names)
    images = _archive_for(file, place) or place
    store = Folder(place) if place else None
    entries = entries_of(document, file, flaws.append, store)
    if large := next((flaw for flaw in flaws if flaw.rule == "category-id-large"), None):
        raise invalid_dataset(large.message, data_rule(large.rule).remedy)
    if names and images is None:
        raise _nowhere(folder, split, file, names[0])
    if images is None or not entries.file_names:
        raise invalid_dataset(
            f"{file} lists no image that can be used: {flaws[0].message}",
            data_rule(flaws[0].rule).remedy,
        )
    return FolderSplit(images, file, len(entries.file_names), len(entries.boxes)), entries


def _folder_of(folder: Path, split: str, file: Path, names: Sequence[str]) -> Path | None:
    """The folder that has the most of the images, of those looked for; None where none has any."""
    # Where entries have addresses in place of names, the short forms come last.
    probes = [*names[:_PROBES], *names[-_PROBES:]]
    counts = {place: _count(place, probes) for place in _image_folders(folder, split, file)}
    best = max(counts, key=counts.__getitem__, default=None)
    return best if best and counts[best] else None


def _archive_for(file: Path, place: Path | None) -> Path | None:
    """The archive beside an annotation file: called images, or the only one where no folder has
    the images. It is not opened, which would take minutes."""
    with named(file.parent):
        archives = sorted(path for path in file.parent.iterdir() if is_archive(path.name))
    called = [path for path in archives if stem(path.name).lower() == "images"]
    fitting = called or ([] if place else archives)
    return fitting[0] if len(fitting) == 1 else None


def _count(place: Path, names: Sequence[str]) -> int:
    """How many of the images lie there."""
    store = Folder(place)
    return sum(store.find(name) is not None for name in names)


def _nowhere(folder: Path, split: str, file: Path, name: str) -> TrainerError:
    looked = ", ".join(map(str, _image_folders(folder, split, file))) or str(file.parent)
    return invalid_dataset(
        f"{file} lists {name!r}, which lies in none of {looked}.",
        "Put the images into a folder images beside the annotations; a file_name begins below it.",
    )


def _image_folders(folder: Path, split: str, file: Path) -> Iterator[Path]:
    """Where images of that split may lie, the likeliest first."""
    year = file.stem.rpartition("_")[2]
    names = (year, split, *_CALLED.get(split, ()))
    places = [file.parent / "images", file.parent]
    places += [top / name for name in names for top in (folder / "images", folder)]
    places += [folder / "images", folder]
    yield from (place for place in dict.fromkeys(places) if place.is_dir())


def _facts(splits: Mapping[str, FolderSplit], read: Sequence[Entries], flaws: int) -> FolderFacts:
    train = read[list(splits).index(TRAIN)]
    classes = {id: name for entries in reversed(read) for id, name in entries.categories.items()}
    if not classes:
        raise invalid_dataset(
            f"{splits[TRAIN].annotations} lists no category.", data_rule("category-entry").remedy
        )
    sizes = train.sizes if len(train.sizes) else np.array([_SOME_SIZE])
    forms = sizes[:, 0] / sizes[:, 1]
    middle = float(np.median(forms))
    off = np.maximum(forms / middle, middle / forms)
    sides = np.sqrt(np.clip(train.boxes[:, 2:], 0, None).prod(axis=1))
    counts = np.bincount(train.images, minlength=1)
    height = float(np.median(sizes[:, 1]))
    return FolderFacts(
        splits=splits,
        classes=dict(sorted(classes.items())),
        size=(round(height * middle), round(height)),
        alike=bool((off <= _ALIKE).mean() >= 0.9),
        most_boxes=int(counts.max()),
        small_side=float(np.quantile(sides, 0.1)) if len(sides) else 0.0,
        flaws=flaws,
    )
