"""Operations on DinoJobs and DinoAutoMLs, from the schemas of their CRDs (the idea is Acto's).

Every property of a spec is set to what its schema lets in, to what lies just outside of that, and
is emptied, nulled and removed. Nothing here knows what ought to come of an operation:
`operation_oracles` judges it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from dino_api.experiment.paths import Loc
from dino_api.names import Env
from dino_operator.plan.model import Object
from dino_operator.plan.observed import crd_schema
from dino_operator.plan.observed.crd_schema import named
from tests.api.admission_cases import BAD, BAD_OF, GONE
from tests.api.test_admission import GOOD
from tests.api.test_admission_search import BAD as BAD_SEARCHES
from tests.proof.operation_bases import BASES, EVERYTHING, POD, bases_of
from tests.unit.api_rule_cases import CASES
from tests.unit.plan_store import copied

Value = tuple[str, Any]
"""How the property is changed, and what it is then."""
Schema = dict[str, Any]

EXAMPLES: dict[str, tuple[str, str]] = {
    "uri": ("s3://bucket/some", "s3://bucket/other"),
    "endpoint": ("http://store:9000", "https://store"),
    "name": ("some", "other"),
    "path": ("model.dropout_ratio", "train.optim.lr"),
    "queueName": ("some", "other.queue"),
    "device": ("cpu", "cuda:1"),
    "backbone": ("resnet_18", "resnet_101"),
}
"""Texts that a property takes, where not every text will do."""
OF_PARENT: dict[str, tuple[str, str]] = {
    "uri": ("s3://bucket/some.pth", "s3://bucket/some.onnx"),
    "name": ("base", "other"),
}
QUANTITIES: tuple[Any, ...] = (
    *("4", "0.5", "500m", "2Gi", "1.5e3", "0", "many", "", "-1", "4 "),
    *(2, 0.5, 1e-7, 1e22, 0, -1, True, [], {}, ["1"], {"a": 1}),
)
"""Of what may be a number or a text."""
ANYTHING: tuple[Any, ...] = (1, 0.25, "text", "", True, None, [], {}, [1], {"a": 1}, 2**63)
"""Of what the schema leaves open."""
KEYS = ("some", "example.com/some", "app.kubernetes.io/managed-by", "job-name", "no key!", "")
"""Keys of a mapping that may have any."""
MOST_ENTRIES = 64
"""Longer lists are no other case, and slow."""
LONGEST = 5000
WHOLE, HUGE, TINY = 2**31, 2**63, 5e-324
"""Numbers at which machines, and not the schema, have their limits."""


@dataclass(frozen=True)
class Operation:
    """A change of one property, or of several that belong together.

    base: the object that is changed. changes: each place below spec and its value; GONE removes it.
    how: what the change is like.
    """

    base: str
    changes: tuple[tuple[Loc, Any], ...]
    how: str

    @property
    def at(self) -> Loc:
        """The property that it is about."""
        return self.changes[0][0]

    @property
    def path(self) -> str:
        """Its place, with `[]` for whichever entry."""
        return ".".join("[]" if isinstance(part, int) else part for part in ("spec", *self.at))

    def __str__(self) -> str:
        return f"{self.base}: {named(('spec', *self.at))} {self.how}"

    def before(self) -> Object:
        """The object that is changed; not to be changed itself."""
        return BASES[self.base]

    def after(self) -> Object:
        """The object with the change."""
        return self.on(self.before())

    def on(self, manifest: Object) -> Object:
        """Another object with the change."""
        made = copied(manifest)
        for at, value in self.changes:
            put(made, at, value)
        return dict(made)


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation that changes its object, those of the schemas first."""
    found = (*of_schemas(), *of_variables(), *of_rules())
    return tuple(each for each in found if each.after() != each.before())


def of_schemas() -> Iterator[Operation]:
    """Those of every property of both kinds, on each object on which it is worth trying."""
    for kind in crd_schema.KINDS:
        for at, known in properties(crd_schema.of_spec(kind)):
            for base in bases_of(kind, at):
                where = aimed(at)
                for how, value in values(known, where):
                    yield Operation(base, ((where, value),), how)
                yield from _added(base, where, known)


def _added(base: str, at: Loc, known: Schema) -> Iterator[Operation]:
    """Keys beside those that a mapping has."""
    inner = known.get("additionalProperties")
    for key in KEYS if isinstance(inner, dict) else ():
        yield Operation(base, (((*at, key), sample(inner, (*at, key))),), "added")


def of_variables() -> Iterator[Operation]:
    """Variables that the operator sets, too, beside the one that is given."""
    at = ("podTemplate", "env")
    for each in Env:
        given = [*POD["env"], {"name": each.value, "value": "1"}]
        yield Operation(EVERYTHING, ((at, given),), f"given {each.value}")


def of_rules() -> Iterator[Operation]:
    """What keeps and what breaks each rule of the CRDs, by the tables of their own tests."""
    for name, (path, value, *_) in BAD.items():
        if path.startswith("spec."):
            yield Operation("cells", ((_place(path), value),), f"as {name}")
    for name, (changes, *_) in BAD_SEARCHES.items():
        yield from _several("a search of cells", name, changes)
    for name, (action, changes, *_) in (*BAD_OF.items(), *GOOD.items()):
        yield from _several(f"cells, to {action}", name, changes)
    for name, case in CASES.items():
        classes = [("spec.numClasses", case.classes)] if case.classes else []
        for how, given in (("broken", case.broken), ("kept", case.fine)):
            changes = [("spec.experiment", given), *classes]
            yield from _several(f"cells, to {case.action}", f"rule {name} {how}", changes)


def _several(base: str, name: str, changes: Sequence[tuple[str, Any]]) -> Iterator[Operation]:
    """One operation, unless it is about the metadata."""
    if changes and all(path.startswith("spec.") for path, _ in changes):
        yield Operation(base, tuple((_place(path), value) for path, value in changes), f"as {name}")


def _place(path: str) -> Loc:
    """A dotted path as a place below spec."""
    _, *parts = path.split(".")
    return tuple(int(part) if part.isdigit() else part for part in parts)


# ---- properties and places -----------------------------------------------------------------------


def properties(known: Schema, at: Loc = ()) -> Iterator[tuple[Loc, Schema]]:
    """Every property below, with the entries of lists and mappings, and its schema."""
    for name, below in known.get("properties", {}).items():
        yield (*at, name), below
        yield from properties(below, (*at, name))
    if items := known.get("items"):
        yield (*at, 0), items
        yield from properties(items, (*at, 0))


ENTRIES = {"step": 1, "choices": 2, "when": 3}
"""Of `search`, the entry of the objects here that has what others lack."""


def aimed(at: Loc) -> Loc:
    """The place in the entry that has such a property."""
    if at[0] == "search" and len(at) > 2:
        return ("search", ENTRIES.get(str(at[2]), 0), *at[2:])
    return at


def below(known: Schema, part: str | int) -> Schema:
    """The schema of an entry or of a key; empty for one that it does not know."""
    if isinstance(part, int):
        return dict(known.get("items", {}))
    found = known.get("properties", {}).get(part) or known.get("additionalProperties") or {}
    return dict(found)


def put(manifest: Object, at: Loc, value: Any) -> None:
    """Sets or removes it, in place. What lies around it and is missing gets what it must have."""
    node, known = manifest["spec"], crd_schema.of_spec(manifest["kind"])
    for index, part in enumerate(at[:-1], start=1):
        known = below(known, part)
        node = _entered(node, part, known, at[:index])
    leaf = at[-1]
    if isinstance(node, list):
        node[leaf : int(leaf) + 1] = [] if value is GONE else [copied(value)]
    elif value is GONE:
        node.pop(leaf, None)
    else:
        node[leaf] = copied(value)


def _entered(node: Any, part: Any, known: Schema, at: Loc) -> Any:
    if isinstance(node, list):
        while len(node) <= part:
            node.append(sample(known, at))
        return node[part]
    if node.get(part) is None:
        node[part] = sample(known, at)
    return node[part]


# ---- values --------------------------------------------------------------------------------------


def sample(known: Schema, at: Loc) -> Any:
    """The least that the schema takes there."""
    if "enum" in known:
        return known["enum"][0]
    kind = known.get("type")
    if kind == "object":
        inner = known.get("properties", {})
        return {key: sample(inner[key], (*at, key)) for key in known.get("required", ())}
    if kind == "array":
        entry = sample(known.get("items", {}), (*at, 0))
        return [copied(entry) for _ in range(max(1, known.get("minItems", 1)))]
    if kind == "boolean":
        return True
    if kind in ("integer", "number"):
        return _between(known)
    return examples(at)[0]


def examples(at: Loc) -> tuple[str, str]:
    """Two texts that may stand there."""
    *_, parent, leaf = ("", "", *at)
    if parent == "parent" and leaf in OF_PARENT:
        return OF_PARENT[str(leaf)]
    return EXAMPLES.get(str(leaf), ("some", "other"))


def values(known: Schema, at: Loc) -> Iterator[Value]:
    """What the property is set to."""
    yield from _of_its_kind(known, at)
    yield "nulled", None
    yield "removed", GONE


def _of_its_kind(known: Schema, at: Loc) -> Iterator[Value]:
    if "enum" in known:
        return _choices(known)
    kinds = {"integer": _numbers, "number": _numbers, "boolean": _flags}
    kind = known.get("type", "")
    if kind in kinds:
        return kinds[kind](known)
    shapes = {"string": _texts, "array": _lists, "object": _mappings}
    return shapes.get(kind, _open)(known, at)


def _choices(known: Schema) -> Iterator[Value]:
    for each in known["enum"]:
        yield f"set to {each}", each
    yield "set to no choice that there is", "no-such-choice"
    yield "set to a number that is no choice", 7


def _numbers(known: Schema) -> Iterator[Value]:
    low, high = known.get("minimum"), known.get("maximum")
    step = 1 if known["type"] == "integer" else 0.125
    if low is not None:
        yield "set to its lower bound", low
        yield "set below its lower bound", low - step
    if high is not None:
        yield "set to its upper bound", high
        yield "set above its upper bound", high + step
    yield "set between its bounds", _between(known)
    yield "set to a number as text", "1"
    yield "set to a flag", True
    if known["type"] == "integer":
        yield "set to half a number", 1.5
        yield "set beyond 32 bits", WHOLE
        yield "set beyond 64 bits", HUGE
    else:
        yield "set to the least number that there is", TINY
        yield "set to a number beyond all use", 1e300


def _between(known: Schema) -> int | float:
    """A number that the bounds let in; a small one, as most of them cost something."""
    low, high = known.get("minimum", 0), known.get("maximum", 1000)
    if known["type"] == "integer":
        return int(min(high, low + 2))
    return float(low + (high - low) / 4)


def _flags(_: Schema) -> Iterator[Value]:
    yield "set to true", True
    yield "set to false", False
    yield "set to a flag as text", "true"
    yield "set to one", 1


def _texts(known: Schema, at: Loc) -> Iterator[Value]:
    first, second = examples(at)
    yield "set to a text", first
    yield "set to another text", second
    yield "emptied", ""
    longest = known.get("maxLength", LONGEST)
    yield "set to the longest text", _long(first, longest)
    yield "set to a text that is too long", _long(first, longest + 1)
    yield "set to two lines", f"{first}\n{second}"
    yield "set to letters of other alphabets", f"{first}-ß-字-\u202e"
    yield "set to a text with a quote and a dollar", f"{first}'\"${{x}}"
    yield "set to a number in place of a text", 7
    yield "set to a flag in place of a text", True


def _long(text: str, length: int) -> str:
    """The text with an ending as it had, at that length."""
    stem, dot, ending = text.rpartition(".")
    if not dot or "/" in ending or ":" in ending:
        return text + "x" * (length - len(text))
    return stem + "x" * (length - len(text)) + dot + ending


def _lists(known: Schema, at: Loc) -> Iterator[Value]:
    entry = sample(known.get("items", {}), (*at, 0))
    most = known.get("maxItems", MOST_ENTRIES)
    yield "emptied", []
    yield "set to one entry", [entry]
    yield "set to two entries", [entry, copied(entry)]
    if most <= MOST_ENTRIES:
        yield "set to as many entries as may be", [copied(entry) for _ in range(most)]
        yield "set to too many entries", [copied(entry) for _ in range(most + 1)]
    yield "set to a null entry", [None]
    yield "set to an entry of another kind", [[{}]]
    yield "set to a mapping in place of a list", {}
    yield "set to a text in place of a list", "text"


def _mappings(known: Schema, at: Loc) -> Iterator[Value]:
    yield "emptied", {}
    yield "set to a list in place of a mapping", []
    yield "set to a text in place of a mapping", "text"
    if isinstance(known.get("additionalProperties"), dict):
        yield from _entries(known, at)
    else:
        yield "given a key that nobody knows", {**sample(known, at), "nobody-knows": 1}


def _entries(known: Schema, at: Loc) -> Iterator[Value]:
    inner = known["additionalProperties"]
    entry, longest = sample(inner, (*at, "")), inner.get("maxLength", LONGEST)
    yield "given one key", {"some": entry}
    yield "given a value that is empty", {"some": ""}
    yield "given the longest value", {"some": _long(entry, longest)}
    yield "given a value that is too long", {"some": _long(entry, longest + 1)}
    yield "given a value of another kind", {"some": 7}
    yield "given a value that is null", {"some": None}
    most = known.get("maxProperties", MOST_ENTRIES)
    if most <= MOST_ENTRIES:
        yield "given as many keys as may be", {f"key-{n}": entry for n in range(most)}
        yield "given too many keys", {f"key-{n}": entry for n in range(most + 1)}


def _open(known: Schema, _: Loc) -> Iterator[Value]:
    given = QUANTITIES if "pattern" in known else ANYTHING
    return ((f"set to {each!r}", each) for each in given)
