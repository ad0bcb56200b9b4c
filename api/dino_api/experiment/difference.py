"""Which keys of two specs differ, of those that decide what an action makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dino_api.base import Section
from dino_api.experiment.digest import deciding
from dino_api.experiment.paths import field_at, section_of
from dino_api.experiment.spec import ExperimentSpec
from dino_api.names import Action
from dino_api.reported import shortened

_SHOWN, _LONGEST = 6, 60


@dataclass(frozen=True)
class Difference:
    """A key with both of its values, defaults filled in."""

    path: str
    before: Any
    now: Any

    def told(self, before: str) -> str:
        """ "train.optim.lr is 0.001, <before> 0.0002"."""
        return f"{self.path} is {shown(self.now)}, {before} {shown(self.before)}"


def differences(before: ExperimentSpec, now: ExperimentSpec, action: Action) -> list[Difference]:
    """The keys by which two specs have different digests for an action, in the spec's order."""
    old, new = (dict(_leaves(deciding(spec, action), ExperimentSpec, ())) for spec in (before, now))
    found = []
    for path in dict.fromkeys((*old, *new)):
        was, is_ = (values.get(path, ...) for values in (old, new))
        if was != is_:
            key = ".".join(path)
            default = field_at(key).get_default(call_default_factory=True)
            was, is_ = (default if value is ... else value for value in (was, is_))
            found.append(Difference(key, was, is_))
    return found


def told(found: Iterable[Difference], before: str) -> str:
    """The differences in one line, at most six of them."""
    each = [one.told(before) for one in found]
    more = f"; and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return f"{'; '.join(each[:_SHOWN])}{more}"


def shown(value: Any) -> str:
    """A value as a user may write it, shortened where it is long."""
    if value in (None, "", [], {}):
        return "empty"
    return shortened(str(value), _LONGEST)


def _leaves(
    node: Mapping[str, Any], section: type[Section], at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A mapping that is no section, such as inference.color_map, is the value of one key."""
    for name, value in node.items():
        inner = section_of(section.model_fields[name].annotation)
        if inner and isinstance(value, Mapping):
            yield from _leaves(value, inner, (*at, name))
        else:
            yield (*at, name), value
