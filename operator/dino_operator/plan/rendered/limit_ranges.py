"""A LimitRange of the namespace bounds what the operator requests by itself.

What the user asks for in spec.resources stays as it is: there the API server's sentence is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from math import ceil

from dino_operator.plan.model import Object
from dino_operator.plan.rendered.quantities import amount

TYPES = ("Container", "Pod")
"""Ours is the one container of its pod that counts. Claims are others' business."""
BOUNDED = ("cpu", "memory")


def fitted(job: Object, ranges: Iterable[Object]) -> Object:
    """The Job with requests that these LimitRanges allow.

    A request that equals its limit is the user's own.
    """
    bounds = [item for each in ranges for item in each.get("spec", {}).get("limits") or ()]
    bounds = [item for item in bounds if item.get("type") in TYPES]
    if not bounds:
        return job
    made = deepcopy(job)
    for container in made["spec"]["template"]["spec"]["containers"]:
        given = container["resources"]
        for name in BOUNDED:
            request, limit = given["requests"].get(name), given.get("limits", {}).get(name)
            if request is not None and request != limit:
                given["requests"][name] = _within(name, request, limit, bounds)
    return made


def _within(name: str, request: str, limit: str | None, bounds: list[Object]) -> str:
    """The request, no less than asked for and no more than allowed; the upper bound wins."""
    limits = [limit] if limit else [*_all("default", name, bounds), *_all("max", name, bounds)]
    most = min(limits, key=amount, default=None)
    least = list(_all("min", name, bounds))
    if most is not None:
        ratios = _all("maxLimitRequestRatio", name, bounds)
        least += [_share(name, most, amount(ratio)) for ratio in ratios]
    raised = max([request, *least], key=amount)
    return raised if most is None else min(raised, most, key=amount)


def _all(what: str, name: str, bounds: list[Object]) -> Iterator[str]:
    for each in bounds:
        if name in (each.get(what) or {}):
            yield str(each[what][name])


def _share(name: str, limit: str, ratio: float) -> str:
    """The least request that a limit allows."""
    least = amount(limit) / ratio
    return f"{ceil(least * 1000)}m" if name == "cpu" else str(ceil(least))
