"""Every rule and failure in one list: what is checked, where, how bad it is, and the way out.

The API server, `dino preflight`, the command and the pages of documentation read the same entries.
Entries come from the tables of their kind; only what no table holds stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dino_api import failures
from dino_api.base import note_of
from dino_api.experiment.paths import walk
from dino_api.problem import Severity
from dino_api.resources.dinojob import DinoJobSpec
from dino_api.rules.data import DATA_RULES
from dino_api.rules.experiment import RULES
from dino_api.rules.resource import dinoautoml
from dino_api.rules.resource.dinoautoml import SEARCH_CEL
from dino_api.rules.resource.dinojob import RESOURCE_RULES, immutable
from dino_api.rules.resource.rule import ResourceRule
from dino_api.rules.search import SEARCH_RULES

Where = Literal["admission", "cli", "search", "preflight", "runtime"]
_EDITABLE = "runPolicy"
_BOTH: tuple[Where, ...] = ("admission", "cli")


@dataclass(frozen=True)
class CatalogueEntry:
    """One rule or failure.

    where: admission (the API server refuses the object), cli (the command refuses the spec),
    search (the operator and `kubectl-dino render` refuse the DinoAutoML), preflight (the data is
    looked at), runtime (an attempt ends with it).
    """

    id: str
    severity: Severity
    where: tuple[Where, ...]
    message: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON types."""
        return asdict(self) | {"where": list(self.where)}


# What reading a spec finds before any rule about several keys can be asked.
_READING = (
    CatalogueEntry(
        "unknown-key", "error", _BOTH, "A key that does not exist", "Use the nearest name."
    ),
    CatalogueEntry(
        "value", "error", _BOTH, "A value of the wrong type or out of its range", "See the key."
    ),
    CatalogueEntry("needed", "error", _BOTH, "A key that training needs is not given", "Give it."),
    CatalogueEntry(
        "interpolation",
        "error",
        ("cli", "runtime"),
        "A reference such as ${a.b} that stands for nothing, a resolver, or a template",
        "Refer to a key of the spec, or write the value itself.",
    ),
    CatalogueEntry(
        "missing-value",
        "error",
        ("cli", "runtime"),
        "A value that is ???, still to be given",
        "Give it, or leave the key out.",
    ),
    CatalogueEntry(
        "null",
        "warning",
        ("cli",),
        "A key without a value, which is taken as left out",
        "Give it one.",
    ),
    CatalogueEntry(
        "dead-key", "warning", ("cli",), "A key of TAO that has no effect", "Leave it out."
    ),
    CatalogueEntry(
        "other-action", "warning", ("cli",), "A section that this action does not read", ""
    ),
)


def immutables() -> list[ResourceRule]:
    """The fields of a DinoJob's spec that cannot be edited."""
    fields = DinoJobSpec.model_fields.items()
    names = ((field.alias or name, field.is_required()) for name, field in fields)
    return [
        immutable(name, required, "DinoJob", f"spec.{_EDITABLE}")
        for name, required in names
        if name != _EDITABLE
    ]


def decided() -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and sentence of every key of the experiment that the resource itself decides."""
    for path, field in walk():
        if by := note_of(field).resource:
            yield path, f"{path[-1]} is decided by the resource: use {by}"


def catalogue() -> list[CatalogueEntry]:
    """All entries: spec, resource, search, data, runtime. Ids are unique."""
    return [*_READING, *_spec(), *_resource(), *_search(), *_data(), *_runtime()]


def _spec() -> Iterator[CatalogueEntry]:
    for rule in RULES:
        where: tuple[Where, ...] = _BOTH if rule.cel else ("cli",)
        yield CatalogueEntry(rule.id, rule.severity, where, f"{rule.path} {rule.must}", rule.remedy)


def _resource() -> Iterator[CatalogueEntry]:
    taken = {rule.id for rule in RULES}
    for rule in (*RESOURCE_RULES, *immutables()):
        path = ".".join(part for part in (rule.scope, rule.path) if part)
        id = f"resource-{rule.id}" if rule.id in taken else rule.id
        yield CatalogueEntry(
            id, "error", ("admission",), f"{path} {rule.must}", _sentence(rule.remedy)
        )
    for key, sentence in decided():
        message, _, remedy = sentence.partition(": ")
        message = ".".join(("spec.experiment", *key[:-1], message))
        id = f"{'-'.join(key).replace('_', '-')}-decided"
        yield CatalogueEntry(id, "error", ("admission",), message, _sentence(remedy))


def _search() -> Iterator[CatalogueEntry]:
    for one in SEARCH_RULES:
        where: tuple[Where, ...] = ("admission", "search") if one.admission else ("search",)
        yield CatalogueEntry(one.id, one.severity, where, one.message, one.remedy)
    shared = {one.id for one in SEARCH_RULES}
    for rule in (*SEARCH_CEL, *dinoautoml.immutables()):
        if rule.id not in shared:
            path = ".".join(part for part in (rule.scope, rule.path) if part)
            id = rule.id if rule in SEARCH_CEL else f"search-{rule.id}"
            message = f"{path} {rule.must}"
            yield CatalogueEntry(id, "error", ("admission",), message, _sentence(rule.remedy))


def _data() -> Iterator[CatalogueEntry]:
    for rule in DATA_RULES:
        yield CatalogueEntry(rule.id, rule.severity, ("preflight",), rule.title, rule.remedy)


def _runtime() -> Iterator[CatalogueEntry]:
    for rule in failures.TABLE:
        message = _begun(rule.when)
        code = "" if rule.exit_code is None else f" (exit code {rule.exit_code})"
        yield CatalogueEntry(
            rule.reason.value, "error", ("runtime",), f"{message}{code}", rule.remedy
        )


def _sentence(text: str) -> str:
    return f"{_begun(text).rstrip('.')}." if text else ""


def _begun(text: str) -> str:
    """The text with a capital letter, unless it begins with the name of a field or an action."""
    first = text.partition(" ")[0]
    return text if "." in first or "_" in first else f"{text[:1].upper()}{text[1:]}"
