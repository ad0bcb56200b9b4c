"""Puts rules into a CRD schema as x-kubernetes-validations."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dino_api.experiment.paths import field_at
from dino_api.generate.search_schema import add_fixed, add_parameters
from dino_api.rules.catalogue import decided, immutables
from dino_api.rules.experiment import RULES
from dino_api.rules.experiment.rule import PLACEHOLDER, Rule
from dino_api.rules.resource import dinoautoml
from dino_api.rules.resource.dinoautoml import AUTOML_RULES, below_template
from dino_api.rules.resource.dinojob import RESOURCE_RULES
from dino_api.rules.resource.rule import ResourceRule

Schema = dict[str, Any]


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
    return PLACEHOLDER.sub(lambda match: _value(rule, match.group(1)), rule.cel)


def _value(rule: Rule, name: str) -> str:
    prefix = "" if rule.section == "spec" else f"{rule.section}."
    field = field_at((prefix + name).removeprefix("experiment."))
    value = field.get_default(call_default_factory=True)
    default, parts = literal(value), name.split(".")
    if isinstance(value, bool | int | float):
        return f"self.?{'.?'.join(parts)}.orValue({default})"
    # Behind an optional the API server does not know the caps of texts and lists, nor the cost.
    paths = [".".join(("self", *parts[: end + 1])) for end in range(len(parts))]
    present = " && ".join(f"has({path})" for path in paths)
    return f"({present} ? {paths[-1]} : {default})"


def add_job_rules(root: Schema) -> None:
    """Adds every rule of a DinoJob to the CRD's openAPIV3Schema, in place."""
    _add_training_rules(root["properties"]["spec"], str)
    for one in (*RESOURCE_RULES, *immutables()):
        _add_resource_rule(root, one)
    for entry in root["properties"]["spec"]["x-kubernetes-validations"]:
        if "oldSelf" not in entry["rule"]:
            entry |= _at_creation(entry["rule"])


def _at_creation(rule: str) -> Schema:
    """The rule as it is asked of new objects alone.

    An edit of runPolicy changes the spec, and the API server asks every rule of it again, though no
    other field can be edited: a rule that came with an upgrade would keep jobs that are older than
    it from being suspended, resumed and stopped. Parts that an edit leaves alone, as the template
    of a DinoAutoML, it does not judge again by itself (KEP-4008, ratcheting).
    """
    return {"rule": f"oldSelf.hasValue() || ({rule})", "optionalOldSelf": True}


def add_automl_rules(root: Schema) -> None:
    """The same for a DinoAutoML, whose training is its template."""
    spec = root["properties"]["spec"]
    _add_training_rules(spec["properties"]["template"], below_template)
    for one in (*AUTOML_RULES, *dinoautoml.immutables()):
        _add_resource_rule(root, one)
    add_parameters(spec)
    add_fixed(spec)


def _add_training_rules(training: Schema, reword: Callable[[str], str]) -> None:
    """Adds the rules of a training, in place.

    training: the schema with `experiment` in it. reword: a DinoJob's sentence for this kind.
    """
    experiment = training["properties"]["experiment"]
    for (*parents, leaf), message in decided():
        node = _at(experiment, ".".join(parents))
        if node is None:
            continue
        _add(node, f"!has(self.{leaf})", reword(message), f".{leaf}")
    for rule in RULES:
        if rule.cel and rule.section == "spec":
            _add(training, expand(rule), rule.message, f".experiment.{rule.path}")
        elif rule.cel and (node := _at(experiment, rule.section)) is not None:
            path = "." + rule.path.removeprefix(f"{rule.section}.")
            _add(node, expand(rule), rule.message, path)


def _add_resource_rule(root: Schema, rule: ResourceRule) -> None:
    node = root
    for part in re.findall(r"[^.\[\]]+|\[\]", rule.scope):
        node = node["items"] if part == "[]" else node["properties"][part]
    in_schema = rule.path and rule.path != "metadata.name"
    _add(node, rule.cel, rule.message, f".{rule.path}" if in_schema else "")


def _at(experiment: Schema, path: str) -> Schema | None:
    """The section; None where the kind does not have it."""
    node: Schema | None = experiment
    for part in filter(None, path.split(".")):
        node = node["properties"].get(part) if node else None
    return node


def _add(node: Schema, rule: str, message: str, path: str = "") -> None:
    entry = {"rule": rule, "message": message}
    entry |= {"fieldPath": path} if path else {}
    node.setdefault("x-kubernetes-validations", []).append(entry)
