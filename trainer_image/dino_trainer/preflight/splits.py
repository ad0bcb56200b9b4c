"""Compares sources with each other, training with validation, and both with the spec."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import chain, islice, pairwise

import numpy as np

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.class_ids import beyond, class_in_words
from dino_trainer.data.name_forms import apart
from dino_trainer.preflight.findings import MOST_EXAMPLES, Advice, Findings
from dino_trainer.preflight.places import NOWHERE, At
from dino_trainer.preflight.sources import PreflightSource, PreflightSplit

RARE = 100
# What a split may have instead of boxes, and what to do about it; "" is what the rule says.
_INSTEAD = (
    (
        "without width or height",
        "Write [x, y, width, height] with x and y of the upper left corner, and what is above 0.",
    ),
    ("outside their image", "Correct the boxes, or width and height of the images."),
    ("crowds, iscrowd 1", ""),
)


def check_splits(splits: Sequence[PreflightSplit], findings: Findings) -> None:
    """What the annotations of any action's data can have."""
    for split in splits:
        _shared_ids(split, findings)
        _empty_images(split, findings)
        _boxless(split, findings)
    _categories(splits, findings)


def check_contents(splits: Sequence[PreflightSplit], findings: Findings) -> None:
    """What only the images themselves show."""
    for split in splits:
        _repeated_images(split, findings)


def check_training(
    spec: ExperimentSpec,
    train: PreflightSplit,
    validation: PreflightSplit | None,
    findings: Findings,
) -> None:
    """validation: None where training data is scored, too."""
    _class_count(spec, train, findings)
    _enough(spec, train, findings)
    _class_counts(train, validation, findings)
    if not validation:
        findings.add("validation-omitted")


def class_counts(split: PreflightSplit) -> Counter[int]:
    """Usable boxes by category id, crowds left out."""
    counts: Counter[int] = Counter()
    for source in split.sources:
        ids, numbers = np.unique(source.entries.labels[source.objects], return_counts=True)
        counts.update(dict(zip(ids.tolist(), numbers.tolist(), strict=True)))
    return counts


def images_per_step(spec: ExperimentSpec) -> int:
    """What one optimiser step of all processes takes."""
    train = spec.train
    processes = train.num_gpus or train.num_processes
    return spec.dataset.batch_size * train.accumulate_grad_batches * processes * train.num_nodes


def _shared_ids(split: PreflightSplit, findings: Findings) -> None:
    owners: dict[int, str] = {}
    for source in split.sources:
        shared, examples = [], []
        for place, number in enumerate(source.entries.image_ids):
            other = owners.setdefault(number, source.name)
            if other != source.name:
                shared.append(place)
                examples.append(f"{other} and {source.name} id {number}")
        findings.add_places("image-id-shared", examples, str, source.at_images(shared))


def _empty_images(split: PreflightSplit, findings: Findings) -> None:
    for source in split.sources:
        places = np.flatnonzero(source.odd.empty).tolist()
        findings.add_places("image-empty", places, source.image, source.at_images(places))


def _boxless(split: PreflightSplit, findings: Findings) -> None:
    """A split without a box, and what there is instead; files without annotations are told."""
    if split.objects or any(source.flaws.of("no-boxes") for source in split.sources):
        return
    counts = (
        sum(int(one.odd.flat.sum()) for one in split.sources),
        sum(int(one.odd.outside.sum()) for one in split.sources),
        split.boxes,
    )
    seen = [(count, *case) for count, case in zip(counts, _INSTEAD, strict=True) if count]
    instead = "; ".join(f"{count} {what}" for count, what, _ in seen)
    remedy = seen[0][2] if len(seen) == 1 else ""
    example = f"{split.name} ({instead})" if instead else split.name
    findings.add("no-boxes", example, advice=Advice(remedy), at=At(split.name))


def _contents(split: PreflightSplit) -> Iterator[tuple[str, str]]:
    """Digest and name of every image that could be read."""
    for source in split.sources:
        yield from ((digest, source.image(place)) for place, digest in _digests(source))


def _digests(source: PreflightSource) -> Iterator[tuple[int, str]]:
    for position, facts in enumerate(source.facts):
        if facts and facts.digest:
            yield position, facts.digest


def _repeated_images(split: PreflightSplit, findings: Findings) -> None:
    first: dict[str, str] = {}
    for source in split.sources:
        repeated, examples = [], []
        for place, digest in _digests(source):
            name = source.image(place)
            other = first.setdefault(digest, name)
            # One file that two entries name has a rule of its own.
            if other != name:
                repeated.append(place)
                examples.append(f"{other} = {name}")
        findings.add_places("image-repeats", examples, str, source.at_images(repeated))


def check_leakage(train: PreflightSplit, validation: PreflightSplit, findings: Findings) -> None:
    """Images that are trained on and scored."""
    seen = dict(_contents(train))
    both = [(seen[digest], name) for digest, name in _contents(validation) if digest in seen]
    findings.add_places("leakage", both, " = ".join)


def _categories(splits: Sequence[PreflightSplit], findings: Findings) -> None:
    sources = [source for split in splits for source in split.sources]
    names: dict[int, dict[str, str]] = defaultdict(dict)
    for source in sources:
        for number, name in source.entries.categories.items():
            names[number].setdefault(name, source.name)
    conflicts = sorted(number for number, by in names.items() if len(by) > 1)
    # One common list may move any of them.
    at = At(classes=conflicts, reach=list(names))
    examples = (f"{number} is {_meanings(names[number])}" for number in conflicts)
    findings.add_all("category-conflict", examples, at)
    _lists_differ(splits, sorted(names), findings)
    if 0 in names:
        findings.add("category-zero", f"0 is {next(iter(names[0]))!r}")
    if large := beyond({number: next(iter(by)) for number, by in names.items()}):
        described = (class_in_words(number, next(iter(names[number]))) for number in large)
        findings.add_all("category-id-large", described)
    else:
        _gaps(names.keys(), findings)


def _meanings(by: Mapping[str, str]) -> str:
    shown = apart(by)
    return " and ".join(f"{shown[name]} ({source})" for name, source in by.items())


def _gaps(known: Set[int], findings: Findings) -> None:
    used = [0, *sorted(number for number in known if number > 0)]
    gaps = used[-1] - len(used) + 1
    between = chain.from_iterable(range(low + 1, high) for low, high in pairwise(used))
    shown = islice(between, MOST_EXAMPLES)
    findings.add_all("category-gaps", map(str, shown))
    if gaps > MOST_EXAMPLES:
        findings.add("category-gaps", count=gaps - MOST_EXAMPLES)


def _lists_differ(splits: Sequence[PreflightSplit], numbers: list[int], findings: Findings) -> None:
    """Ids that a whole split does not list have a place of their own: no box of it has them."""
    sources = [source for split in splits for source in split.sources]
    lists = [split.categories for split in splits if split.sources]
    for wholly in (True, False):
        ids, examples = [], []
        for number in numbers:
            without = [one.name for one in sources if number not in one.entries.categories]
            nowhere = any(number not in one for one in lists)
            if without and nowhere == wholly:
                ids.append(number)
                examples.append(f"{number} (not in {', '.join(without)})")
        at = At(classes=ids) if wholly else NOWHERE
        findings.add_places("category-lists-differ", examples, str, at)


def _class_count(spec: ExperimentSpec, train: PreflightSplit, findings: Findings) -> None:
    asked, largest = spec.dataset.num_classes, max(train.categories, default=0)
    if asked is not None and asked <= largest:
        example = f"{asked} asked for, the largest id is {largest}, which takes {largest + 1}"
        findings.add("class-count", example, at=At(train.name))


def check_eval_ids(
    spec: ExperimentSpec, splits: Sequence[PreflightSplit], findings: Findings
) -> None:
    """Classes to score that the scored data, the last split, does not have."""
    scored, asked = splits[-1], spec.dataset.eval_class_ids or ()
    unknown = [id for id in asked if id not in scored.categories]
    examples = [f"{id}{_listed_elsewhere(id, splits)}" for id in unknown]
    findings.add_places("eval-class-unknown", examples, str, At(scored.name, classes=unknown))
    boxless = sorted(set(asked) & scored.categories.keys())
    if boxless and not set(boxless) & class_counts(scored).keys():
        at = At(scored.name, classes=boxless, reach=boxless)
        example = f"{scored.name} {', '.join(map(str, boxless))}"
        findings.add("eval-class-boxless", example, at=at)


def _listed_elsewhere(id: int, splits: Sequence[PreflightSplit]) -> str:
    """` ('cell' in train, not in validation)`, where another split has it."""
    scored = splits[-1].name
    for split in splits[:-1]:
        if name := split.categories.get(id):
            return f" ({name!r} in {split.name}, not in {scored})"
    return ""


def _enough(spec: ExperimentSpec, train: PreflightSplit, findings: Findings) -> None:
    needed = images_per_step(spec)
    if train.listed < needed:
        example = f"{train.listed} images, {needed} a step"
        findings.add("too-few-images", example, at=At(train.name))


def _class_counts(
    train: PreflightSplit, validation: PreflightSplit | None, findings: Findings
) -> None:
    trained, names = class_counts(train), train.categories

    def add(
        rule: str, split: PreflightSplit, ids: list[int], describe: Callable[[int], str]
    ) -> None:
        findings.add_places(rule, ids, describe, At(split.name, classes=ids))

    add("class-untrained", train, [id for id in names if not trained[id]], partial(_class, names))
    most = max(trained.values(), default=0)
    rare = [id for id, count in sorted(trained.items()) if count * RARE < most]
    add("class-imbalance", train, rare, lambda id: f"{_class(names, id)}: {trained[id]}")
    if validation and validation.sources:
        scored, listed = class_counts(validation), {**names, **validation.categories}
        unseen = [id for id in sorted(listed) if not scored[id]]
        add("class-unvalidated", validation, unseen, partial(_class, listed))


def _class(names: Mapping[int, str], id: int) -> str:
    return f"{id} {names.get(id, '')}".strip()


def digests(splits: Iterable[PreflightSplit]) -> list[str]:
    """The digests of all sources, in order."""
    return [source.staged.digest for source in chain(*(split.sources for split in splits))]
