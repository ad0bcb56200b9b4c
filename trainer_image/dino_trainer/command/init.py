"""`dino init`: from a COCO folder to a spec that trains on it, on the machine at hand."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from dino_api.names import FailureReason
from dino_api.reported import sound
from dino_trainer.convert.recognised import RecognisedExport, has_images, recognised
from dino_trainer.data.coco_json import NotCoco
from dino_trainer.errors import TrainerError, invalid_dataset, invalid_spec
from dino_trainer.machine.inventory import Machine, this_machine
from dino_trainer.new_spec.coco_folder import VALIDATION, FolderFacts, find_annotations, read_facts
from dino_trainer.new_spec.recipe import Recipe, recipe_for
from dino_trainer.new_spec.template import in_words, spec_text
from dino_trainer.storage.files import named

_LAYOUT = (
    "A COCO folder has train/annotations.json and train/images, and val beside train: "
    "docs/data.md. `dino convert --help` lists the formats that become one."
)
_MADE = "coco-dataset"
_SPLIT = " --split 0.8,0.1,0.1"
_THERE = "Name another file with --output, or remove that one."


def run(folder: str, output: Path) -> int:
    """Writes the spec, and says what it found and what comes next.

    Raises TrainerError: InvalidSpec, InvalidDataset, InputNotFound, AccessDenied; nothing is
    written then.
    """
    if output.exists():
        raise invalid_spec(f"{output} is there already.", _THERE)
    path = _local(folder)
    facts = _facts(path)
    _require_text(facts)
    machine = this_machine()
    recipe = recipe_for(facts, machine)
    _write_new(output, spec_text(facts, recipe, machine, path, output))
    _tell(facts, recipe, machine, output)
    return 0


def _local(text: str) -> Path:
    if "://" in text:
        raise invalid_spec(
            f"{text} lies in an object store.",
            "Write the spec for a copy of its annotations here, and put the s3:// URIs into it.",
        )
    path = Path(text)
    if not path.exists():
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"There is no {path}.",
            "Check the path for a typing error.",
        )
    return path


def _facts(path: Path) -> FolderFacts:
    """Raises InvalidDataset for what is no COCO folder, with the command that makes one of it."""
    files = find_annotations(path) if path.is_dir() else {}
    try:
        if files:
            return read_facts(path, files)
    except NotCoco:
        if not recognised(path):
            raise
    if other := recognised(path):
        raise invalid_dataset(f"{path} is not COCO: it looks like {other.format}.", _convert(other))
    if path.is_file():
        raise invalid_dataset(f"{path} is a file.", "Name the folder that it lies in.")
    holds = "images, and no annotations" if has_images(path) else "no annotations"
    raise invalid_dataset(f"{path} holds {holds} that are COCO.", _LAYOUT)


def _require_text(facts: FolderFacts) -> None:
    """Raises InvalidSpec for paths that a spec cannot hold."""
    paths = [path for one in facts.splits.values() for path in (one.images, one.annotations)]
    if odd := next((path for path in map(str, paths) if path != sound(path)), None):
        raise invalid_spec(
            f"{odd} has bytes that are no UTF-8, and a spec is text.",
            "Rename the folder or the file that has them.",
        )


def _convert(other: RecognisedExport) -> str:
    split, source = "" if other.split else _SPLIT, shlex.quote(str(other.source))
    made = f"--output {_MADE}{split}   and then   dino init {_MADE}"
    return f"dino convert {other.format} {source} {made}"


def _write_new(output: Path, text: str) -> None:
    """Raises InvalidSpec where the file was made meanwhile."""
    try:
        with named(output), output.open("x", encoding="utf-8") as file:
            file.write(text)
    except TrainerError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise invalid_spec(f"{output} is there already.", _THERE) from error
        raise


def _tell(facts: FolderFacts, recipe: Recipe, machine: Machine, output: Path) -> None:
    for name, split in facts.splits.items():
        print(f"{name}: {split.count:,} images, {split.boxes:,} boxes in {split.annotations}")
    if VALIDATION not in facts.splits:
        print("warning: There is no validation data: metrics will be those of the training data.")
    if facts.flaws:
        print(f"warning: Entries that cannot be used: {facts.flaws}. dino preflight names them.")
    names = f"{len(facts.classes)} categories, num_classes {facts.num_classes}"
    size = f"{recipe.size[1]}x{recipe.size[0]} pixels"
    print(f"{names}; images become {size}, {recipe.batch_size} a step, {recipe.precision}")
    print(f"for {in_words(machine)}: {recipe.num_epochs} epochs, {recipe.steps:,} steps")
    spec = shlex.quote(os.fspath(output))
    print(f"{spec} is written. Next: dino preflight -e {spec} && dino train -e {spec}")
