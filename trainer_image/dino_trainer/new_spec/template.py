"""The spec as a file that teaches: each key that a beginner turns, with why it has its value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import yaml

from dino_trainer.machine.inventory import Machine
from dino_trainer.new_spec.coco_folder import TEST, TRAIN, VALIDATION, FolderFacts, FolderSplit
from dino_trainer.new_spec.recipe import Recipe, shrunk

_SHOWN = 20
_GIB = 1 << 30
_SOURCES = {
    TRAIN: "train_data_sources",
    VALIDATION: "val_data_sources",
    TEST: "test_data_sources",
}
_NO_VALIDATION = (
    "  # There is no split for validation: the training images are scored, which flatters.\n"
)

_TEMPLATE = """\
# dino preflight -e {spec}     checks every image and box first
# dino train -e {spec}         then evaluate, export, quantize, inference
#
# Written by `dino init` for {folder} on {machine}: a start, to be changed.
# Paths count from the folder in which `dino` is run. `dino train -e … key=value` changes a key once.
# Every key with its meaning: docs/reference/experiment.md

results_dir: {results}

dataset:
{sources}  num_classes: {num_classes} # the largest category id plus one, as TAO counts; absent, it is taken from the data
{classes}  batch_size: {batch_size} # {why_batch}
  workers: {workers} # processes that read images; the result does not depend on them
  augmentation:
    fixed_size: [{height}, {width}] # [height, width] that every image is resized to. {why_size}
    zoom_crop: [0.8, 1.0] # a random part of each image, enlarged
    horizontal_flip_prob: {flip} # {why_flip}
    input_mean: [0.498, 0.498, 0.498] # what this backbone was trained with; leave these two lines out for others
    input_std: [0.502, 0.502, 0.502]

model:
  backbone: {backbone}
  pretrained_backbone_path: imagenet # shipped with the trainer, for this backbone alone. Larger, and better with
    # enough data: `dino weights fetch resnet_50` (docs/backbones.md), and the two lines that it prints
  return_interm_indices: {levels} # feature maps of strides {strides}: {why_levels}
  num_feature_levels: {num_levels} # as many as indices
  num_queries: {num_queries} # the most objects that are found in an image; the fullest here has {most_boxes}
  num_select: {num_select}
  enc_layers: {layers}{why_layers}
  dec_layers: {layers}
  dim_feedforward: {feedforward}
  dn_number: {dn_number} # denoising queries: they make a short training better, and cost time

train:
  num_gpus: {num_gpus} # {why_gpus}
  num_epochs: {num_epochs} # {steps:,} steps in all. More epochs help while validation still rises
  validation_interval: 1 # epochs between validations; more saves time where epochs are short
  precision: {precision} # {why_precision}
  clip_grad_norm: 0.1
  ema: # the average of the last weights is better than the last weights
    enabled: true
    decay: {ema_decay} # of about {averaged} steps
  optim:
    lr: {lr} # too high ends in NaN or finds nothing, too low needs more epochs. With the batch, by its square root
    lr_backbone: {lr_backbone} # a tenth: it knows edges and textures already
    lr_scheduler: Linear # flat, then down to 0
    warmup_steps: {warmup_steps}
"""  # noqa: E501 (lines of the spec)


def spec_text(
    facts: FolderFacts, recipe: Recipe, machine: Machine, folder: Path, output: Path
) -> str:
    """The whole file. output: its own path, which the first lines name."""
    values = {
        **vars(recipe),
        **_of_data(facts, recipe),
        **_of_machine(recipe, machine),
        "spec": _plain(output),
        "folder": _plain(folder),
        "results": _value("results"),
        "height": recipe.size[0],
        "width": recipe.size[1],
        "levels": list(recipe.levels),
        "strides": ", ".join(str(4 * 2**level) for level in recipe.levels),
        "num_levels": len(recipe.levels),
        "averaged": round(1 / (1 - recipe.ema_decay)),
        "lr": _decimal(recipe.lr),
        "lr_backbone": _decimal(recipe.lr_backbone),
    }
    return _TEMPLATE.format(**values)


def _of_data(facts: FolderFacts, recipe: Recipe) -> Mapping[str, object]:
    return {
        "sources": _sources(facts.splits),
        "num_classes": facts.num_classes,
        "classes": _classes(facts.classes),
        "most_boxes": facts.most_boxes,
        "why_size": _why_size(facts, recipe),
        "why_flip": "by their names, some classes mirrored are others: then 0, else 0.5"
        if recipe.flip == 0
        else "0 where left and right have a meaning, such as digits or text",
        "why_levels": _why_levels(recipe),
    }


def _of_machine(recipe: Recipe, machine: Machine) -> Mapping[str, object]:
    return {
        "machine": in_words(machine),
        "why_batch": _why_batch(recipe, machine),
        "why_gpus": _why_gpus(machine),
        "why_precision": _why_precision(machine),
        "why_layers": "" if machine.gpus else " # 6 learn more, given ten times the steps",
    }


def in_words(machine: Machine) -> str:
    """The machine in words: "2 cores with 15 GiB and no GPU"."""
    host = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    host += f" with {machine.memory / _GIB:.0f} GiB" if machine.memory else ""
    if not machine.gpus:
        return f"{host} and no GPU"
    first = machine.gpus[0]
    many = f"{len(machine.gpus)} of " if len(machine.gpus) > 1 else ""
    return f"{host} and {many}{_plain(first.name)} with {first.memory / _GIB:.0f} GiB"


def _sources(splits: Mapping[str, FolderSplit]) -> str:
    text = ""
    for name, key in _SOURCES.items():
        split = splits.get(name)
        if split is None:
            text += _NO_VALIDATION if name == VALIDATION else ""
            continue
        text += f"  {key}: # {split.count:,} images, {split.boxes:,} boxes\n"
        text += f"    - image_dir: {_value(str(split.images))}\n"
        text += f"      json_file: {_value(str(split.annotations))}\n"
    return text


def _classes(classes: Mapping[int, str]) -> str:
    """Ids with names, as comments."""
    shown = [f"{id} {_plain(name)}" for id, name in islice(classes.items(), _SHOWN)]
    more = [f"and {len(classes) - _SHOWN} more"] if len(classes) > _SHOWN else []
    lines = textwrap.wrap(", ".join([*shown, *more]), 100, break_on_hyphens=False)
    return "".join(f"    # {line}\n" for line in lines)


def _why_size(facts: FolderFacts, recipe: Recipe) -> str:
    width, height = facts.size
    form = (
        "Most are" if facts.alike else "They differ in form, and are stretched; the middle one is"
    )
    small = round(facts.small_side * shrunk(facts, recipe.size))
    boxes = f"; a tenth of the boxes is below {small} pixels then" if small else ""
    return f"{form} {height} by {width}{boxes}. Larger finds smaller objects, and takes longer"


def _why_levels(recipe: Recipe) -> str:
    if 1 in recipe.levels:
        return "stride 8 is for small objects, and takes most of the time"
    return "1 before them adds stride 8, for small objects, at twice the time"


def _why_batch(recipe: Recipe, machine: Machine) -> str:
    if machine.gpus:
        return "images a step; estimated, not measured: raise it while the GPU has memory left"
    return "images a step; more takes more memory"


def _why_gpus(machine: Machine) -> str:
    if not machine.gpus:
        return "0 trains on the CPU; none was found that PyTorch can use"
    if len(machine.gpus) > 1:
        return f"of {len(machine.gpus)} here; with all, batch_size is that of each"
    return "0 trains on the CPU"


def _why_precision(machine: Machine) -> str:
    where = "this GPU" if machine.gpus else "this CPU"
    if machine.bf16 is None:
        return "whether this CPU has bf16 in hardware is not known here"
    if machine.bf16:
        return f"{where} multiplies bf16 faster; fp32 where the loss becomes NaN"
    return f"{where} has no bf16 in hardware"


def _value(text: str) -> str:
    """A text as YAML, quoted where it has to be."""
    dumped = yaml.safe_dump(text, allow_unicode=True, width=10**9)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _plain(text: object) -> str:
    """A text in a comment: of one line, whatever is in it."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text)
    )


def _decimal(value: float) -> str:
    """Not 4e-05, which YAML 1.1 reads as a text."""
    return f"{value:.8f}".rstrip("0")
