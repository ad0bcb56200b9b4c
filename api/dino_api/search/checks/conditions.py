"""What is wrong with the parameters of a search beside each other: repeated paths, and `when`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dino_api.problem import Problem
from dino_api.resources.dinoautoml import SearchParameter, Value
from dino_api.rules.resource.dinoautoml import SEARCH
from dino_api.rules.search import BY_ID
from dino_api.search.assignment import typed
from dino_api.search.limits import refusal, shown
from dino_api.search.space import searchable


def check_names(space: Sequence[SearchParameter]) -> Iterator[Problem]:
    """Paths that stand twice, and conditionals on nothing or on themselves."""
    for path, count in Counter(one.path for one in space).items():
        if count > 1:
            must = f"{path} is searched {count} times"
            yield BY_ID["search-once"].problem(SEARCH, None, must)
    by_path = {one.path: one for one in space}
    for index, one in enumerate(space):
        if one.when is not None:
            yield from _condition(one, by_path, f"{SEARCH}[{index}].when")


def _condition(
    one: SearchParameter, space: Mapping[str, SearchParameter], at: str
) -> Iterator[Problem]:
    assert one.when is not None
    path = one.when.path
    if path == one.path:
        yield BY_ID["when-other"].problem(f"{at}.path", path, f"{path} depends on itself")
    elif path not in space:
        must = f"{one.path} depends on {path}, which is not searched"
        yield BY_ID["when-searched"].problem(f"{at}.path", path, must)
    elif _returns(one.path, space):
        must = f"{one.path} depends on {path}, which depends on it in turn"
        yield BY_ID["when-cycle"].problem(f"{at}.path", path, must)
    else:
        for value in one.when.values:
            if not _possible(space[path], value):
                must = f"{path} is never {shown(value)} in this search"
                yield BY_ID["when-value"].problem(f"{at}.values", value, must)


def _returns(start: str, space: Mapping[str, SearchParameter]) -> bool:
    path, seen = start, set[str]()
    while path in space and path not in seen:
        seen.add(path)
        when = space[path].when
        path = when.path if when is not None else ""
    return path == start


def _possible(other: SearchParameter, value: Value) -> bool:
    """Whether the other parameter may be drawn so; what is wrong with that is another problem."""
    if other.path not in searchable():
        return True
    if refusal(other.path, value):
        return False
    held = typed(other.path, value)
    if other.choices is not None:
        return any(held == choice or str(held) == str(choice) for choice in other.choices)
    if other.min is None or other.max is None or isinstance(held, str):
        return True
    return other.min <= held <= other.max
