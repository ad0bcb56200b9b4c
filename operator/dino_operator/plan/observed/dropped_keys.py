"""Keys of the spec that were dropped without a word, by the API server or by kubectl.

Only a client that asks for strict field validation is told of a key that is misspelt; Argo CD's
client-side sync does not ask. Keys without a value (null) are dropped in any case, but those of the
experiment by kubectl apply alone. They still stand in the annotation in which kubectl and Argo CD
keep what was applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dino_api.experiment.paths import Loc, NearPaths, value_at
from dino_api.names import AUTOML_KIND, KIND, ConditionType, FailureReason
from dino_api.resources.null_keys import misleading
from dino_operator.plan.annotations import LAST_APPLIED
from dino_operator.plan.model import Object
from dino_operator.plan.observed import crd_schema, failure
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.crd_schema import EXPERIMENT
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoAutoML, asks_for_search

HOW = (
    "Delete the {kind}, correct the keys and apply it strictly: kubectl apply refuses unknown keys "
    "by itself, Argo CD with the sync option ServerSideApply=true."
)
BEGUN = frozenset({"attempts", "automl", "specDigest", "engine", "trials", "history"})
"""Facts of a status: of what has begun, the spec is not judged again."""


def refusal(view: JobView) -> Cause | None:
    """Why a DinoJob that has made nothing so far is not begun."""
    begun = view.own_jobs or view.search or BEGUN & view.status.raw.keys()
    if begun or view.resource.is_true(ConditionType.DATA_READY):
        return None
    return _cause(view.resource.raw, KIND)


def refusal_of_search(search: DinoAutoML, children: Children) -> Cause | None:
    """The same for a DinoAutoML. A namesake that is being deleted leaves trials for a while."""
    begun = children.dinojobs_of(search.uid) or BEGUN & search.status.raw.keys()
    return None if begun else _cause(search.raw, AUTOML_KIND)


def _cause(resource: Object, kind: str) -> Cause | None:
    sentences = problems(resource, kind)
    if not sentences:
        return None
    rule = failure.cause(FailureReason.INVALID_SPEC, "").rule
    return Cause(rule, "\n".join(sentences), HOW.format(kind=kind))


def are_any(resource: Object, kind: str) -> bool:
    """Whether something was dropped that the plan has a word about."""
    return bool(problems(resource, kind)) or null_keys_of(resource, kind) is not None


def problems(resource: Object, kind: str) -> list[str]:
    """A sentence for each key that was applied and dropped, and whose absence changes the work."""
    written = _applied(resource).get("spec")
    if not isinstance(written, dict):
        return []
    stored, known = resource.get("spec") or {}, crd_schema.of_spec(kind)
    near = NearPaths()
    unknown = [(at, _message(at, known, near)) for at in crd_schema.unknown(written, known)]
    return [each for at, each in (*unknown, *nulls(written, kind)) if not _has(stored, at)]


def _message(at: Loc, known: Object, near: NearPaths) -> str:
    where = crd_schema.named(("spec", *at))
    return f"{where}: is unknown, and the API server dropped it.{crd_schema.near(at, known, near)}"


def nulls(written: Object, kind: str) -> Iterator[tuple[Loc, str]]:
    """The place of each key without a value that may not be dropped, and a sentence about it."""
    for at, meant in misleading(written, crd_schema.KINDS[kind].spec):
        if at == ("datasets",) and kind == KIND and not asks_for_search(written):
            continue  # no profile is used then: what is missing has a sentence of its own
        where = crd_schema.named(("spec", *at))
        message = f"{where}: has no value, and means {meant} where it is left out."
        yield at, f"{message} Give it a value, or remove the key."


def with_nulls(resource: Object, kind: str) -> Object:
    """The resource with the nulls of its experiment that kubectl apply dropped, as if it had been
    created by another client: what is said of a null does not hang on that."""
    if (noted := null_keys_of(resource, kind)) is None:
        return resource
    spec = dict(resource["spec"])
    inner = spec
    for name in crd_schema.KINDS[kind].training:
        inner[name] = dict(inner[name])
        inner = inner[name]
    inner[EXPERIMENT] = _joined(inner.get(EXPERIMENT) or {}, noted)
    return {**resource, "spec": spec}


def null_keys_of(resource: Object, kind: str) -> Object | None:
    """The experiment's nulls that were applied and are not stored, in their sections; None where
    there are none."""
    names = (*crd_schema.KINDS[kind].training, EXPERIMENT)
    written = value_at(_applied(resource).get("spec") or {}, ".".join(names))
    stored = value_at(resource.get("spec") or {}, ".".join(names)) or {}
    known = crd_schema.of_spec(kind)
    for name in names:
        known = known["properties"][name]
    return _missing_nulls(written, stored, known)


def _missing_nulls(written: Any, stored: Object, known: Object) -> Object | None:
    """Of known keys alone: what is unknown is refused, or was added to what has begun."""
    missing: Object = {}
    for name, schema in known.get("properties", {}).items() if isinstance(written, dict) else ():
        if name not in written:
            continue
        if written[name] is None and name not in stored:
            missing[name] = None
        elif below := _missing_nulls(written[name], stored.get(name) or {}, schema):
            missing[name] = below
    return missing or None


def _joined(stored: Object, nulls: Object) -> Object:
    added = {
        name: value if value is None else _joined(stored.get(name) or {}, value)
        for name, value in nulls.items()
    }
    return {**stored, **added}


def _applied(resource: Object) -> Object:
    """What was applied last; empty where nobody noted it."""
    noted = (resource["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        manifest = json.loads(noted) if noted else {}
    except (ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _has(stored: Any, at: Loc) -> bool:
    """Whether the stored spec has the key: then nobody dropped it, or it was set since."""
    for part in at:
        if isinstance(stored, list):
            stored = dict(enumerate(stored))
        if not isinstance(stored, dict) or part not in stored:
            return False
        stored = stored[part]
    return True
