"""A LimitRange: what a namespace allows its pods and containers to ask for."""

from __future__ import annotations

from typing import Literal

from dino_operator.plan.observed.api_object import ApiObject, Part

Bound = Literal["default", "max", "min", "maxLimitRequestRatio"]
"""What an item says of a resource. default: the limit where none is given."""


class LimitRangeItem(Part):
    """What a LimitRange says of objects of one type."""

    @property
    def type(self) -> str:
        """Container, Pod, or one that is not ours; empty where it is left out."""
        return str(self.raw.get("type") or "")

    def quantity(self, bound: Bound, resource: str) -> str | None:
        """That bound of cpu or memory, as it is written; None where there is none."""
        quantity = (self.raw.get(bound) or {}).get(resource)
        return None if quantity is None else str(quantity)


class LimitRange(ApiObject):
    """A LimitRange of the namespace."""

    @property
    def items(self) -> tuple[LimitRangeItem, ...]:
        """What it says, by type."""
        return tuple(map(LimitRangeItem, self._spec.get("limits") or ()))
