"""The form of a rule: one statement, for Python and for the API server side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dino_api.experiment.spec import ExperimentSpec
from dino_api.names import TRAINS, Action
from dino_api.problem import Problem, Severity

PLACEHOLDER = re.compile(r"\{([A-Za-z_.]+)\}")
PATH_OR_S3 = "must be a path or an s3:// URI"
NAME_S3 = "Write s3://bucket/path; the endpoint is configured apart."
ONE_PROCESS = "must be 1 where there are GPUs: each GPU has a process of its own"


class _Holds:
    """What a check returns where the rule holds; None may be a value worth showing."""


HOLDS = _Holds()
Check = Callable[[ExperimentSpec], object]
"""HOLDS, or the value that breaks the rule."""


@dataclass(frozen=True)
class Rule:
    """One statement about the experiment.

    path: the key it is about. must: what has to hold. remedy: what to write instead.
    cel: the same statement in CEL, true where it holds; empty where the CRD's schema says it or
    where it is a warning, which admission does not have. `{lr}` stands for the key `lr` of the
    section, or its default where the object leaves it out.
    scope: the section that CEL's `self` is; the section of `path` unless given.
    """

    id: str
    path: str
    must: str
    remedy: str
    check: Check
    cel: str = ""
    scope: str | None = None
    severity: Severity = "error"

    def asked(self, action: Action) -> bool:
        """Whether it counts for an action: where that reads the section of the key. Warnings about
        sections of all actions are about training."""
        section = self.path.partition(".")[0]
        if section in {*Action}:
            return section == action or (section == Action.TRAIN and action in TRAINS)
        return self.severity == "error" or action in TRAINS

    def problem(self, spec: ExperimentSpec) -> Problem | None:
        """The problem, or None where the rule holds."""
        got = self.check(spec)
        if got is HOLDS:
            return None
        return Problem(self.path, got, self.must, self.remedy, self.severity, self.id)

    @property
    def section(self) -> str:
        """The dotted path of the section that the CEL text is attached to."""
        return self.path.rpartition(".")[0] if self.scope is None else self.scope

    @property
    def keys(self) -> frozenset[str]:
        """The dotted paths that the rule reads, as far as its CEL text names them."""
        prefix = "" if self.scope == "spec" else f"{self.section}."
        read = (prefix + name for name in PLACEHOLDER.findall(self.cel))
        return frozenset({self.path, *(name.removeprefix("experiment.") for name in read)})

    @property
    def message(self) -> str:
        """The sentence of the API server; it puts the path before it."""
        leaf = self.path.rpartition(".")[2]
        return f"{leaf} {self.must}. {self.remedy}".strip()


def breaks(condition: bool, got: object) -> object:
    """`got` where the condition (a broken rule) is true, else HOLDS."""
    return got if condition else HOLDS


def bad_scheme(uri: str) -> bool:
    """Whether the text names a store that cannot be read. Local paths and s3:// can."""
    return "://" in uri and not uri.startswith("s3://")


def value_of(spec: ExperimentSpec, path: str) -> Any:
    """The value of a key by its dotted path."""
    node: Any = spec
    for part in path.split("."):
        node = getattr(node, part)
    return node


def names_store(path: str) -> Check:
    """The check of one key that must be a path or an s3:// URI."""

    def check(spec: ExperimentSpec) -> object:
        uri = value_of(spec, path)
        return breaks(bad_scheme(uri), uri)

    return check


def where_set(leaf: str, holds: str) -> str:
    """CEL of a rule about one key whose default keeps it: asked only where the object has it."""
    return f"!has(self.{leaf}) || {holds}"


def fixed(id: str, path: str, value: str | int | bool, remedy: str) -> Rule:
    """An option that TAO has and this release does not: only `value` is accepted."""
    leaf = path.rpartition(".")[2]
    text = f"'{value}'" if isinstance(value, str) else str(value).lower()

    def check(spec: ExperimentSpec) -> object:
        given = value_of(spec, path)
        return breaks(given != value, given)

    shown = text.strip("'")
    must = f"must be {shown} in this release"
    return Rule(id, path, must, remedy, check, cel=f"{{{leaf}}} == {text}")
