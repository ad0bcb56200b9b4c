"""Compares sources with each other, training with validation, and both with the spec."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain, islice

import numpy as np

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.class_ids import beyond, in_words
from dino_trainer.preflight.findings import EXAMPLES, Findings
from dino_trainer.preflight.sources import Source, Split

RARE = 100


def check_splits(splits: Sequence[Split], findings: Findings) -> None:
    """What any action's data can have."""
    for split in splits:
        _shared_ids(split, findings)
        _repeated_images(split, findings)
        _empty_images(split, findings)
        if split.whole and not split.objects:
            only = f" ({split.boxes} crowds, iscrowd 1)" if split.boxes else ""
            findings.add("no-boxes", f"{split.name}{only}")
    _categories(splits, findings)


def check_training(
    spec: ExperimentSpec, train: Split, validation: Split | None, findings: Findings
) -> None:
    """validation: None where training data is scored, too."""
    _class_count(spec, train, findings)
    _enough(spec, train, findings)
    _class_counts(train, validation, findings)
    if validation:
        _leakage(train, validation, findings)
    else:
        findings.add("validation-omitted")


def class_counts(split: Split) -> Counter[int]:
    """Usable boxes by category id, crowds left out."""
    counts: Counter[int] = Counter()
    for source in split.sources:
        kept = source.odd.usable & ~source.entries.crowd
        ids, numbers = np.unique(source.entries.labels[kept], return_counts=True)
        counts.update(dict(zip(ids.tolist(), numbers.tolist(), strict=True)))
    return counts


def images_per_step(spec: ExperimentSpec) -> int:
    """What one optimiser step of all processes takes."""
    train = spec.train
    processes = train.num_gpus or train.num_processes
    return spec.dataset.batch_size * train.accumulate_grad_batches * processes * train.num_nodes


def _shared_ids(split: Split, findings: Findings) -> None:
    owners: dict[int, str] = {}
    for source in split.sources:
        for number in source.entries.image_ids:
            other = owners.setdefault(number, source.name)
            if other != source.name:
                findings.add("image-id-shared", f"{other} and {source.name} id {number}")


def _empty_images(split: Split, findings: Findings) -> None:
    """Where boxes are left out, or there is none at all, that is said instead."""
    for source in split.sources if split.boxes else ():
        if not source.flaws.boxes:
            findings.add_places("image-empty", np.flatnonzero(source.odd.empty), source.image)


def _contents(split: Split) -> Iterator[tuple[str, str]]:
    """Digest and name of every image that could be read."""
    for source in split.sources:
        for position, facts in enumerate(source.facts):
            if facts and facts.digest:
                yield facts.digest, source.image(position)


def _repeated_images(split: Split, findings: Findings) -> None:
    first: dict[str, str] = {}
    for digest, name in _contents(split):
        other = first.setdefault(digest, name)
        # One file that two entries name has a rule of its own.
        if other != name:
            findings.add("image-repeats", f"{other} = {name}")


def _leakage(train: Split, validation: Split, findings: Findings) -> None:
    seen = dict(_contents(train))
    for digest, name in _contents(validation):
        if digest in seen:
            findings.add("leakage", f"{seen[digest]} = {name}")


def _categories(splits: Sequence[Split], findings: Findings) -> None:
    sources = [source for split in splits for source in split.sources]
    names: dict[int, dict[str, str]] = defaultdict(dict)
    for source in sources:
        for number, name in source.entries.categories.items():
            names[number].setdefault(name, source.name)
    for number, by in sorted(names.items()):
        if len(by) > 1:
            said = " and ".join(f"{name!r} ({source})" for name, source in by.items())
            findings.add("category-conflict", f"{number} is {said}")
    whole = not any(source.flaws.categories for source in sources)
    if whole:
        findings.add_all("category-lists-differ", _missing_somewhere(sources, sorted(names)))
    if 0 in names:
        findings.add("category-zero", f"0 is {next(iter(names[0]))!r}")
    if large := beyond({number: next(iter(by)) for number, by in names.items()}):
        examples = (in_words(number, next(iter(names[number]))) for number in large)
        findings.add_all("category-id-large", examples)
    elif whole:
        _gaps(names.keys(), findings)


def _gaps(known: Set[int], findings: Findings) -> None:
    largest = max(known, default=0)
    gaps = largest - sum(number > 0 for number in known)
    shown = islice((n for n in range(1, largest) if n not in known), EXAMPLES)
    findings.add_all("category-gaps", map(str, shown))
    if gaps > EXAMPLES:
        findings.add("category-gaps", count=gaps - EXAMPLES)


def _missing_somewhere(sources: list[Source], numbers: Iterable[int]) -> Iterator[str]:
    for number in numbers:
        without = [one.name for one in sources if number not in one.entries.categories]
        if without:
            yield f"{number} (not in {', '.join(without)})"


def _class_count(spec: ExperimentSpec, train: Split, findings: Findings) -> None:
    asked, largest = spec.dataset.num_classes, max(train.categories, default=0)
    if asked is not None and asked <= largest:
        example = f"{asked} asked for, the largest id is {largest}, which takes {largest + 1}"
        findings.add("class-count", example)


def check_eval_ids(spec: ExperimentSpec, scored: Split, findings: Findings) -> None:
    """Classes to score that the scored data does not have."""
    known = scored.categories
    unknown = [id for id in spec.dataset.eval_class_ids or () if id not in known]
    if scored.whole:
        findings.add_all("eval-class-unknown", map(str, unknown))
    asked = set(spec.dataset.eval_class_ids or ()) & known.keys()
    if asked and scored.objects and not asked & class_counts(scored).keys():
        findings.add("eval-class-boxless", f"{scored.name} {', '.join(map(str, sorted(asked)))}")


def _enough(spec: ExperimentSpec, train: Split, findings: Findings) -> None:
    needed = images_per_step(spec)
    if train.complete and train.listed < needed:
        findings.add("too-few-images", f"{train.listed} images, {needed} a step")


def _class_counts(train: Split, validation: Split | None, findings: Findings) -> None:
    if not (train.whole and train.objects) or findings.has("category-id-large"):
        return
    trained = class_counts(train)
    names = train.categories
    findings.add_all("class-untrained", (_class(id, names) for id in names if not trained[id]))
    most = max(trained.values(), default=0)
    rare = [id for id, count in sorted(trained.items()) if count * RARE < most]
    findings.add_all("class-imbalance", (f"{_class(id, names)}: {trained[id]}" for id in rare))
    if validation and validation.whole and validation.objects:
        scored = class_counts(validation)
        listed = {**names, **validation.categories}
        unseen = (_class(id, listed) for id in sorted(listed) if not scored[id])
        findings.add_all("class-unvalidated", unseen)


def _class(id: int, names: dict[int, str]) -> str:
    return f"{id} {names.get(id, '')}".strip()


def digests(splits: Iterable[Split]) -> list[str]:
    """Of all sources, in order."""
    return [source.staged.digest for source in chain(*(split.sources for split in splits))]
