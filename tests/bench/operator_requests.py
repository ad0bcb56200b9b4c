"""What operators asked of an API server, read from its audit log."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote_plus

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Asked:
    """One request that was answered. verb: as the API server calls it. what: resource, with its
    subresource. about: the text in which names stand. share: of a request for several jobs."""

    verb: str
    what: str
    about: str
    code: int
    share: float = 1.0

    @property
    def is_write(self) -> bool:
        """Whether it was to change something."""
        return self.verb in WRITES

    def __str__(self) -> str:
        return f"{self.verb} {self.what}"


def read(log: Path, since: int, *users: str) -> Iterator[Asked]:
    """Those users' requests, in the order of their answers; watches are left out."""
    assert log.stat().st_size >= since, f"{log} was begun anew meanwhile"
    with log.open("rb") as text:
        text.seek(since)
        for line in text:
            if any(user.encode() in line for user in users):
                yield from _asked(line, users)


def _asked(line: bytes, users: Collection[str]) -> Iterator[Asked]:
    entry = json.loads(line)
    about = entry.get("objectRef")
    done = entry.get("stage") == "ResponseComplete" and entry["verb"] != "watch"
    if about and done and entry["user"]["username"] in users:
        what = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        text = f"{about.get('name', '')} {unquote_plus(entry['requestURI'])}"
        yield Asked(entry["verb"], what, text, entry.get("responseStatus", {}).get("code", 0))


def by_job(asked: Iterable[Asked], prefix: str) -> dict[str, list[Asked]]:
    """The requests about each DinoJob whose name is the prefix and a number, and about what it has;
    under the empty name those about none of them. One for several jobs counts for each in part."""
    pattern = re.compile(rf"(?<![a-z0-9-]){re.escape(prefix)}\d+(?![a-z0-9])")
    found: dict[str, list[Asked]] = defaultdict(list)
    for each in asked:
        names = set(pattern.findall(each.about)) or {""}
        for name in names:
            found[name].append(replace(each, share=1 / len(names)))
    return found


def to_the_job(asked: Iterable[Asked]) -> list[Asked]:
    """Those until the first Job was made, that one included. Raises ValueError for none."""
    first = []
    for each in asked:
        first.append(each)
        if (each.verb, each.what) == ("create", "jobs") and each.code == 201:
            return first
    raise ValueError("no Job was made")


def count(asked: Iterable[Asked]) -> float:
    """How many requests, those for several jobs in part."""
    return sum(each.share for each in asked)


def kinds(asked: Iterable[Asked], jobs: int) -> dict[str, float]:
    """Requests of each kind for each of so many jobs, the most frequent ones first."""
    counted: dict[str, float] = defaultdict(float)
    for each in asked:
        counted[str(each)] += each.share
    ordered = sorted(counted.items(), key=lambda pair: -pair[1])
    return {kind: round(number / jobs, 2) for kind, number in ordered}
