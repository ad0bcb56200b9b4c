"""A LimitRange of the namespace bounds what the operator requests by itself.

What the user asks for in spec.resources stays as it is: there the API server's sentence is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from math import ceil

from dino_operator.plan.model import Object
from dino_operator.plan.observed.limit_range import Bound, LimitRange, LimitRangeItem
from dino_operator.plan.rendered.quantities import amount

TYPES = ("Container", "Pod")
"""Ours is the one container of its pod that counts. Claims are others' business."""
BOUNDED = ("cpu", "memory")


def fitted(job: Object, ranges: Iterable[LimitRange]) -> Object:
    """The Job with requests that these LimitRanges allow.

    A request that equals its limit is the user's own.
    """
    items = [item for each in ranges for item in each.items if item.type in TYPES]
    if not items:
        return job
    made = deepcopy(job)
    for container in made["spec"]["template"]["spec"]["containers"]:
        given = container["resources"]
        for name in BOUNDED:
            request, limit = given["requests"].get(name), given.get("limits", {}).get(name)
            if request is not None and request != limit:
                given["requests"][name] = _within(name, request, limit, items)
    return made


def _within(name: str, request: str, limit: str | None, items: list[LimitRangeItem]) -> str:
    """The request, no less than asked for and no more than allowed; the upper bound wins."""
    limits = [limit] if limit else [*_all("default", name, items), *_all("max", name, items)]
    most = min(limits, key=amount, default=None)
    least = list(_all("min", name, items))
    if most is not None:
        ratios = _all("maxLimitRequestRatio", name, items)
        least += [_share(name, most, amount(ratio)) for ratio in ratios]
    raised = max([request, *least], key=amount)
    return raised if most is None else min(raised, most, key=amount)


def _all(bound: Bound, name: str, items: list[LimitRangeItem]) -> Iterator[str]:
    quantities = (item.quantity(bound, name) for item in items)
    return (quantity for quantity in quantities if quantity is not None)


def _share(name: str, limit: str, ratio: float) -> str:
    """The least request that a limit allows."""
    least = amount(limit) / ratio
    return f"{ceil(least * 1000)}m" if name == "cpu" else str(ceil(least))
