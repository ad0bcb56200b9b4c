"""Every combination of a grid, in an order that the seed shuffles."""

from __future__ import annotations

import itertools
import random

from dino_api.resources.dinoautoml import Assignment
from dino_api.search import active
from dino_operator.plan.search.samplers.observations import Space, defaults
from dino_operator.plan.search.samplers.prior import Dimension, choices_of


def cell(space: Space, seed: int, number: int) -> Assignment:
    """The combination of that trial, 1 for the first. Raises IndexError after the last one."""
    assignments = cells(space)
    order = random.Random(f"{seed}/grid").sample(range(len(assignments)), len(assignments))
    return assignments[order[number - 1]]


def cells(space: Space) -> list[Assignment]:
    """The combinations that differ in what counts, but for the baseline's own."""
    values = [
        Dimension(each).values if each.choices is None else choices_of(each) for each in space
    ]
    paths = [each.path for each in space]
    assignments = []
    baseline = defaults(space)
    for row in itertools.product(*values):
        parameters = active(space, dict(zip(paths, row, strict=True)))
        if parameters != baseline and parameters not in assignments:
            assignments.append(parameters)
    return assignments
