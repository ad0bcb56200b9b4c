"""The formats by name, and one record of what `dino convert --help` says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from dino_api.reported import sound
from dino_trainer.convert.records import Export, ExportSource
from dino_trainer.errors import invalid_dataset


class AnnotationFormat(NamedTuple):
    """module: of this folder. called: by people. source: what is to be named."""

    module: str
    called: str
    source: str


FORMATS = {
    "yolo": AnnotationFormat(
        "yolo", "YOLO (Ultralytics, Roboflow, Darknet)", "the folder with data.yaml, or classes.txt"
    ),
    "voc": AnnotationFormat("voc", "Pascal VOC", "the folder with Annotations and JPEGImages"),
    "kitti": AnnotationFormat(
        "kitti", "KITTI", "the folder with label_2 and image_2, or labels and images"
    ),
    "label-studio": AnnotationFormat(
        "label_studio", "Label Studio", "the JSON (or JSON-MIN) export"
    ),
    "cvat": AnnotationFormat(
        "cvat", "CVAT for images 1.1", "the unpacked export, or annotations.xml"
    ),
    "datumaro": AnnotationFormat("datumaro", "Datumaro", "the folder with annotations and images"),
    "fiftyone": AnnotationFormat(
        "fiftyone", "FiftyOne", "the folder with samples.json, or labels.json"
    ),
}


def read(format: str, source: ExportSource) -> Export:
    """What a tool wrote. Raises TrainerError with file, field and remedy."""
    module = import_module(f"dino_trainer.convert.{FORMATS[format].module}")
    export: Export = module.read(source)
    require_own_names(export.names, source.path)
    return export


def listed(export: Export, names: Sequence[str], where: Path) -> Export:
    """The same with the classes in the order of `names`; further ones follow, and are told.

    where: what messages call the list.
    """
    require_own_names(names, where)
    more = [name for name in export.names if name not in names]
    warning = f"Classes that --classes does not list follow after it: {', '.join(more)}."
    warnings = (*export.warnings, *([warning] if more else []))
    return replace(export, names=(*names, *more), warnings=warnings)


def require_own_names(names: Sequence[str], where: Path) -> None:
    """Raises InvalidDataset where a class has no name, another one's, or one that is no text."""
    for place, name in enumerate(names, start=1):
        if len(name.strip().splitlines()) != 1:
            raise invalid_dataset(
                f"{where}: class {place} is called {name!r}.", "Give it a name of one line."
            )
        if name != sound(name):
            raise invalid_dataset(
                f"{where}: class {place} is called {name!r}, which has half of a character.",
                "Give it another name there.",
            )
        if name in names[: place - 1]:
            raise invalid_dataset(
                f"{where}: two classes are called {name!r}.", "Rename or merge them there."
            )
