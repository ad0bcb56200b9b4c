"""The CRDs of this checkout, and those of a release that asked for less: put in force.

They are replaced as a whole, whoever wrote them before.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import yaml

from dino_api import names
from dino_api.generate.crd import KINDS, crd
from tests.api.clients import Kubectl
from tests.api.operator_process import eventually

Object = dict[str, Any]
LATELY = "validation must be given"
"""How the sentences begin of the rules that the last release did not have."""


def ours() -> list[Object]:
    """As they are in this checkout."""
    return [crd(kind) for kind in KINDS]


def older() -> list[Object]:
    """Without the rules that came lately. Fails where one of the kinds has none of them."""
    found = copy.deepcopy(ours())
    for each in found:
        assert _without_lately(_schema(each)), f"{each['metadata']['name']} has no such rule"
    return found


def _without_lately(node: Any) -> int:
    """How many rules were taken out of it, in place."""
    if isinstance(node, list):
        return sum(map(_without_lately, node))
    if not isinstance(node, dict):
        return 0
    rules = node.get("x-kubernetes-validations", [])
    kept = [each for each in rules if LATELY not in each["message"]]
    if rules:
        node["x-kubernetes-validations"] = kept
    return len(rules) - len(kept) + sum(map(_without_lately, node.values()))


def install(kubectl: Kubectl, crds: list[Object]) -> None:
    """Makes them what the API server has."""
    for each in crds:
        text = yaml.safe_dump(each)
        eventually(lambda text=text: _is_written(kubectl, text), "the CRD written")
    wanted = {each["spec"]["names"]["kind"]: _sentences(_schema(each)) for each in crds}
    eventually(lambda: _published(kubectl) == wanted, "the CRDs in force")


def _is_written(kubectl: Kubectl, text: str) -> bool:
    """False where somebody else wrote it meanwhile, as the API server does with its status."""
    done = kubectl("replace", "-f", "-", stdin=text)
    if "NotFound" in done.stderr:
        done = kubectl("create", "-f", "-", stdin=text)
    if "(Conflict)" in done.stderr or "(AlreadyExists)" in done.stderr:
        return False
    assert done.returncode == 0, done.stderr
    return True


def _schema(each: Object) -> Object:
    schema: Object = each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _published(kubectl: Kubectl) -> dict[str, list[str]]:
    """Kind -> sentences of its rules, as the API server tells them to clients: a moment after the
    CRD was written, and not before it judges by it."""
    got = kubectl("get", "--raw", f"/openapi/v3/apis/{names.API_VERSION}")
    if got.returncode:
        return {}
    schemas = json.loads(got.stdout)["components"]["schemas"]
    kinds = {name.rpartition(".")[2]: schema for name, schema in schemas.items()}
    return {each.kind: _sentences(kinds.get(each.kind, {})) for each in KINDS}


def _sentences(node: Any) -> list[str]:
    """The messages of all rules below a schema, sorted."""
    found, left = [], [node]
    while left:
        looked = left.pop()
        if isinstance(looked, dict):
            found += [each["message"] for each in looked.get("x-kubernetes-validations", [])]
            left += looked.values()
        elif isinstance(looked, list):
            left += looked
    return sorted(found)


def in_force(takes: Callable[[], bool], wanted: bool) -> None:
    """takes: whether a manifest is taken now, which it is in one of the two only."""
    eventually(lambda: takes() == wanted, "the other CRD in force")
