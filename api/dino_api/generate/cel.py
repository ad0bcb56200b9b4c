"""Puts rules into a CRD schema as x-kubernetes-validations."""

from __future__ import annotations

import re
from typing import Any

from dino_api.experiment.paths import field_at
from dino_api.rules import RULES, Rule
from dino_api.rules.catalogue import decided, immutables
from dino_api.rules.resource import RESOURCE_RULES, ResourceRule
from dino_api.rules.rule import PLACEHOLDER

Schema = dict[str, Any]
_FORBIDDEN = "FieldValueForbidden"


def literal(value: Any) -> str:
    """A default as a CEL literal. Raises TypeError for a value that CEL has no literal for."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list):
        return f"[{', '.join(literal(entry) for entry in value)}]"
    raise TypeError(f"no CEL literal for {value!r}")


def expand(rule: Rule) -> str:
    """The rule's CEL with each `{key}` as its value or, where the object lacks it, its default."""
    return PLACEHOLDER.sub(lambda found: _value(rule, found.group(1)), rule.cel)


def _value(rule: Rule, name: str) -> str:
    prefix = "" if rule.section == "spec" else f"{rule.section}."
    field = field_at((prefix + name).removeprefix("experiment."))
    default = literal(field.get_default(call_default_factory=True))
    parts = name.split(".")
    paths = [".".join(("self", *parts[: end + 1])) for end in range(len(parts))]
    present = " && ".join(f"has({path})" for path in paths)
    return f"({present} ? {paths[-1]} : {default})"


def add_rules(root: Schema) -> None:
    """Adds every rule to the CRD's openAPIV3Schema, in place."""
    experiment = root["properties"]["spec"]["properties"]["experiment"]
    _refuse_decided(experiment)
    for rule in RULES:
        if rule.cel:
            _add_experiment_rule(root, experiment, rule)
    for one in (*RESOURCE_RULES, *immutables()):
        _add_resource_rule(root, one)


def _add_experiment_rule(root: Schema, experiment: Schema, rule: Rule) -> None:
    if rule.section == "spec":
        node, path = root["properties"]["spec"], f".experiment.{rule.path}"
    else:
        node = _at(experiment, rule.section)
        path = "." + rule.path.removeprefix(f"{rule.section}.")
    _add(node, expand(rule), rule.message, path)


def _refuse_decided(experiment: Schema) -> None:
    """Refuses, inside the experiment, what the resource itself decides."""
    for (*parents, leaf), message in decided():
        node = _at(experiment, ".".join(parents))
        _add(node, f"!has(self.{leaf})", message, f".{leaf}", reason=_FORBIDDEN)


def _add_resource_rule(root: Schema, rule: ResourceRule) -> None:
    node = root
    for part in re.findall(r"[^.\[\]]+|\[\]", rule.scope):
        node = node["items"] if part == "[]" else node["properties"][part]
    in_schema = rule.path and rule.path != "metadata.name"
    _add(node, rule.cel, rule.message, f".{rule.path}" if in_schema else "")


def _at(experiment: Schema, path: str) -> Schema:
    node = experiment
    for part in filter(None, path.split(".")):
        node = node["properties"][part]
    return node


def _add(node: Schema, rule: str, message: str, path: str = "", reason: str = "") -> None:
    entry = {"rule": rule, "message": message}
    entry |= {"fieldPath": path} if path else {}
    entry |= {"reason": reason} if reason else {}
    node.setdefault("x-kubernetes-validations", []).append(entry)
