"""The termination message of a pod: two lines of JSON, of which the first suffices.

The kubelet keeps 4,096 bytes of a message at most, and then the first 12,288/n bytes of it, where n
counts all containers of the pod, also those that others put into it. So the first line has what a
job is judged by in 1,536 bytes, which eight containers leave, and the second has the rest.
`read` makes of it what is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dino_api import metric
from dino_api.base import NAME
from dino_api.reported import clipped, shortened

Object = dict[str, Any]
Shorten = Callable[[Object], Object]

LIMIT = 4096
"""Bytes in all, which up to three containers leave."""
FIRST = 1536
"""Bytes of the first line."""
HOLDS = "holds"
"""In the first line: the names of all members of both, so that one that was cut is missed."""
MORE = "+"
"""Behind the name of a member that the first line has in short, and the second whole."""
FOLDER = "folder"
"""Where result.json lies. URIs below it may be written as ./name."""
HERE = "./"
LONGEST_FOLDER = 1100
ESSENTIAL = ("failure", "metrics", "model", "checkpoint", "comparison")
"""What a job is judged by, in the order of a line: the end of a line is cut first."""

_REST = ("note", "artifacts", "dataset", "specDigest", "curve")
_COUNTS = ("numClasses", "images", "annotations")
_SCORES = ("format", "precision", "mAP", "mAP50")
_WARNINGS, _WARNING = 12, 120
_DIGITS = metric.DIGITS + 2


def write(full: Object) -> str:
    """The message of a result, of at most 4,096 bytes. full: its members by wire names.

    What does not fit is left out, least important first: class names, the learning curve, all but
    the start of warnings, artifacts. `result.json` has it all.
    """
    full = {key: part for key, part in full.items() if part or key == "schema"}
    line = _fitting(_first(full), _FIRST_STEPS, FIRST, lambda it: _headed(it, full, both=full))
    folder = line.get(FOLDER)
    shown = absolute(line, folder)
    more = {key: full[key] for key in (*ESSENTIAL, *_REST) if full.get(key) != shown.get(key)}
    room = LIMIT - len(_compact(_headed(line, full, both=full)).encode()) - 1
    rest = _fitting(_below(folder, _ordered(more)), _REST_STEPS, room, lambda it: it)
    text = _compact(_headed(line, (*line, *rest), both=line.keys() & rest.keys()))
    return f"{text}\n{_compact(rest)}" if rest else text


def absolute(value: Any, folder: str | None) -> Any:
    """The value with whole URIs."""
    if folder is None:
        return value
    return _uris(value, lambda uri: folder + uri[1:] if uri.startswith(HERE) else uri)


def _uris(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every URI changed, at any depth."""
    if isinstance(value, list):
        return [_uris(each, change) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _uris(each, change) for key, each in value.items()}
    uris = (key for key in ("uri", "latestUri") if isinstance(made.get(key), str))
    return {**made, **{key: change(made[key]) for key in uris}}


def _compact(value: Object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _fitting(
    value: Object, steps: Sequence[Shorten], room: int, form: Callable[[Object], Object]
) -> Object:
    """The value, shortened step by step until its form takes no more bytes than that."""
    for shorten in (lambda it: it, *steps):
        value = shorten(value)
        if len(_compact(form(value)).encode()) <= room:
            break
    return value


def _headed(line: Object, members: Iterable[str], both: Container[str]) -> Object:
    """The first line with what it begins with."""
    known = (key for key in members if key in (*ESSENTIAL, *_REST))
    named = dict.fromkeys(key + MORE if key in both else key for key in known)
    head: Object = {key: line[key] for key in ("schema", "action") if key in line}
    return {**head, HOLDS: ",".join(named), **{k: v for k, v in line.items() if k not in head}}


def _first(full: Object) -> Object:
    line = {key: full[key] for key in ("schema", "action", *ESSENTIAL) if key in full}
    counts = {key: full.get("dataset", {}).get(key) for key in _COUNTS}
    counts = {key: each for key, each in counts.items() if each is not None}
    others = {"dataset": counts or None, "note": full.get("note"), FOLDER: full.get(FOLDER)}
    return {**line, **{key: each for key, each in others.items() if each is not None}}


def _ordered(rest: Object) -> Object:
    """The rest, with the names of classes last in what is known of the data: they are cut first."""
    if "dataset" not in rest:
        return rest
    data = dict(rest["dataset"])
    last = {key: data.pop(key) for key in ("warnings", "classNames") if key in data}
    return {**rest, "dataset": {**data, **last}}


# ---- steps of shortening ------------------------------------------------------------------------


def _without(*names: str) -> Shorten:
    return lambda value: {key: part for key, part in value.items() if key not in names}


def _in(member: str, change: Shorten) -> Shorten:
    """A change of one member, where it is there."""
    return lambda value: {**value, member: change(value[member])} if member in value else value


def _texts(message: int, remedy: int) -> Shorten:
    """A failure's texts in so many bytes; without what gets none."""
    most = {"reason": NAME, "message": message, "remedy": remedy}

    def change(failure: Object) -> Object:
        kept = {key: part for key, part in failure.items() if most.get(key) != 0}
        return {k: clipped(v, most[k]) if k in most else v for k, v in kept.items()}

    return _in("failure", change)


def _below(folder: str | None, value: Object) -> Object:
    """The value, with the URIs of what lies in the folder as ./name."""
    if folder is None:
        return value
    start = folder + "/"
    made: Object = _uris(value, lambda it: HERE + it[len(start) :] if it.startswith(start) else it)
    return made


def _relative(line: Object) -> Object:
    """The line with the folder first and URIs below it, or without a folder that is long."""
    folder = line.get(FOLDER)
    if folder is None or len(folder.encode()) > LONGEST_FOLDER:
        return _without(FOLDER)(line)
    return {FOLDER: folder, **_below(folder, line)}


def _round(value: Any) -> Any:
    """The value with as many digits as one validation run knows, and two more."""
    if isinstance(value, dict):
        return {key: _round(each) for key, each in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def _scores(comparison: Object) -> Object:
    """The accuracy of both."""
    sides = {
        side: {key: each for key, each in comparison[side].items() if key in _SCORES}
        for side in ("reference", "candidate")
    }
    return {**{k: v for k, v in comparison.items() if k in ("loss", "maxLoss")}, **sides}


def _one_file(line: Object) -> Object:
    """A model says what a later job goes on from: the checkpoint beside it says it again."""
    return _without("checkpoint")(line) if "model" in line else line


def left_out(count: int) -> str:
    """What stands in the place of so many warnings."""
    return f"and {count} more, in the report"


def _few_warnings(data: Object) -> Object:
    warnings = data.get("warnings", [])
    cut = [shortened(text, _WARNING) for text in warnings]
    more = [left_out(len(cut) - _WARNINGS)] if len(cut) > _WARNINGS else []
    return {**data, "warnings": cut[:_WARNINGS] + more}


_FIRST_STEPS: tuple[Shorten, ...] = (
    _relative,
    _round,
    _texts(400, 240),
    _without("note", "dataset"),
    _in("checkpoint", _without("latestUri")),
    _texts(160, 0),
    _in("comparison", _scores),
    _one_file,
    _in("metrics", lambda it: {key: it[key] for key in ("mAP", "mAP50") if key in it}),
    _without("comparison"),
    _without("model", "checkpoint"),
    _without(FOLDER),
)
_REST_STEPS: tuple[Shorten, ...] = (
    _in("dataset", _without("classNames")),
    _without("curve"),
    _in("dataset", _few_warnings),
    _without("artifacts"),
    _without("dataset"),
    _texts(900, 600),
    _without("failure"),
    _without("note", "specDigest", "metrics", "comparison"),
    _one_file,
    _without("model", "checkpoint"),
)


# ---- reading ------------------------------------------------------------------------------------

_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class MessageContent:
    """What a message says. lost: members that it held and that were cut, whole or in part.
    shortened: those of which only the first line is left."""

    members: Object
    lost: frozenset[str] = frozenset()
    shortened: frozenset[str] = frozenset()


def read(text: str) -> MessageContent | None:
    """What is left of a message, or of the text of result.json; None of anything else."""
    try:
        return _read(text)
    except RecursionError:  # the end of somebody's log
        return None


def _read(text: str) -> MessageContent | None:
    try:
        members = json.loads(text)
    except ValueError:
        return _of_lines(text)
    if not isinstance(members, dict):
        return None
    if HOLDS not in members:
        return MessageContent(members)
    return _judged(members, frozenset(members))


def _of_lines(text: str) -> MessageContent | None:
    """What is left of two lines, or of some that were cut."""
    first, _, second = text.partition("\n")
    members, whole = _members(first)
    if "schema" not in whole:
        return None
    more, more_whole = _members(second)
    for name, value in more.items():
        members[name] = value if name in more_whole else _merged(members.get(name), value)
    # What the first line has whole suffices: cut in the second, only what is more exact is lost.
    return _judged(members, whole | more_whole, more_whole)


def _merged(known: Any, value: Any) -> Any:
    """What is known, with what is left of a longer form of it."""
    if not (isinstance(known, dict) and isinstance(value, dict)):
        return value
    return {**known, **{key: _merged(known.get(key), part) for key, part in value.items()}}


def _judged(
    members: Object, whole: frozenset[str], second: frozenset[str] = frozenset()
) -> MessageContent:
    """A cut message that does not say what it held may have held all that is essential.

    whole: members that are; second: those of them that the second line has.
    """
    held_names = members.pop(HOLDS, None)
    named = str(held_names).split(",") if held_names and HOLDS in whole else ESSENTIAL
    held = frozenset(name.removesuffix(MORE) for name in named)
    both = frozenset(name.removesuffix(MORE) for name in named if name.endswith(MORE))
    lost = held - whole
    folder = members.get(FOLDER)
    folder = folder if isinstance(folder, str) else None  # a log's own JSON may have anything
    return MessageContent(absolute(members, folder), lost, both - second - lost)


def _members(text: str) -> tuple[Object, frozenset[str]]:
    """The members of an object whose text may be cut, and the names of those that are whole."""
    members, whole = {}, set()
    for name, value, end in _pairs(text, 0):
        if value is not None:
            members[name] = value
        if end is not None:
            whole.add(name)
    return members, frozenset(whole)


def _pairs(text: str, at: int) -> Iterator[tuple[str, Any, int | None]]:
    """Name, value and end of each member of the object that begins there; no end of a cut one."""
    while text[at : at + 1] in ("{", ","):
        try:
            name, colon = _DECODER.raw_decode(text, at + 1)
        except ValueError:
            return
        if not isinstance(name, str) or text[colon : colon + 1] != ":":
            return
        value, end = _value(text, colon + 1)
        yield name, value, end
        if end is None:
            return
        at = end


def _value(text: str, at: int) -> tuple[Any, int | None]:
    """A value and its end: no end where it is cut. A cut text or number is none."""
    if text.startswith("{", at):
        return _object(text, at)
    if text.startswith("[", at):
        return _array(text, at)
    try:
        value, end = _DECODER.raw_decode(text, at)
    except ValueError:
        return None, None
    # 12 may be the start of 1234.
    return (value, end) if text[end : end + 1] in (",", "}", "]") else (None, None)


def _object(text: str, at: int) -> tuple[Object, int | None]:
    made: Object = {}
    end: int | None = at + 1
    for name, value, after in _pairs(text, at):
        end = after
        if value is not None:
            made[name] = value
    return made, end + 1 if end is not None and text.startswith("}", end) else None


def _array(text: str, at: int) -> tuple[list[Any], int | None]:
    """The list and its end. A cut one has its whole objects: names that lack some would mislead."""
    made: list[Any] = []
    if text.startswith("[]", at):
        return made, at + 2
    while text[at : at + 1] in ("[", ","):
        value, end = _value(text, at + 1)
        if end is None:
            break
        made.append(value)
        at = end
    if text.startswith("]", at):
        return made, at + 1
    return [each for each in made if isinstance(each, dict)], None
