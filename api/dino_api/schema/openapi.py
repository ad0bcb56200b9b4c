"""From pydantic's JSON Schema to what a CRD accepts: structural, no references, no nulls."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = (
    "type",
    "description",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "not",
    "nullable",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
)
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


def structural(model: type[BaseModel]) -> Schema:
    """The model's schema in the form of a CRD's openAPIV3Schema, without defaults."""
    schema = model.model_json_schema(by_alias=True)
    return _node(schema, schema.get("$defs", {}))


def _node(node: Schema, defs: dict[str, Schema]) -> Schema:
    node = _flat(node, defs)
    result = {name: node[name] for name in _KEPT if name in node}
    for exclusive, bound in _EXCLUSIVE.items():
        if exclusive in node:
            result |= {bound: node[exclusive], exclusive: True}
    # A CRD has no choice of types: any value passes, and who reads it judges. Of a mapping it takes
    # no key, unless it says so.
    if "anyOf" in node or node.get("additionalProperties") is True:
        result["x-kubernetes-preserve-unknown-fields"] = True
    if "anyOf" in node:
        # A null passes as well, but each later write of the object, also of its status, would be
        # refused by a rule on what it is in: findings/kubernetes-null-without-a-type.sh
        result["nullable"] = True
    if "const" in node:
        result["enum"] = [node["const"]]
    return result | _children(node, defs)


def _children(node: Schema, defs: dict[str, Schema]) -> Schema:
    result: Schema = {}
    if "items" in node:
        result["items"] = _node(node["items"], defs)
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _node(node["additionalProperties"], defs)
    if "properties" in node:
        properties: dict[str, Schema] = node["properties"]
        result["properties"] = {name: _node(one, defs) for name, one in properties.items()}
    return result


def _flat(node: Schema, defs: dict[str, Schema]) -> Schema:
    """Follows references and takes the one branch that is not null."""
    while "$ref" in node or _nullable(node):
        if "$ref" in node:
            inner = defs[node["$ref"].rpartition("/")[2]]
        else:
            inner = next(branch for branch in node["anyOf"] if branch.get("type") != "null")
        node = inner | {k: v for k, v in node.items() if k not in ("$ref", "anyOf")}
    return node


def _nullable(node: Schema) -> bool:
    branches = node.get("anyOf", ())
    return any(branch.get("type") == "null" for branch in branches)


def unbounded(node: Schema, path: str = "") -> list[str]:
    """Paths of strings, lists and maps without a cap; the CEL cost estimate needs caps."""
    uncapped = []
    if node.get("type") == "string" and not {"maxLength", "enum"} & {*node}:
        uncapped.append(f"{path}: maxLength")
    if node.get("type") == "array" and "maxItems" not in node:
        uncapped.append(f"{path}: maxItems")
    if "additionalProperties" in node and "maxProperties" not in node:
        uncapped.append(f"{path}: maxProperties")
    for name, inner in node.get("properties", {}).items():
        uncapped += unbounded(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in node:
            uncapped += unbounded(node[name], f"{path}[]")
    return uncapped
