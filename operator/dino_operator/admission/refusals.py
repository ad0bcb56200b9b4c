"""From a manifest to what the API server would refuse about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dino_api import names as api
from dino_api.experiment.paths import Loc, NearPaths
from dino_operator.admission import metadata
from dino_operator.admission.keywords import broken
from dino_operator.admission.model import FieldError, Schema
from dino_operator.admission.rules import broken_rules
from dino_operator.plan.observed import crd_schema

UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation"
)
_ROOT = ("apiVersion", "kind", "metadata", "spec", "status")


def refusals(manifest: Any) -> list[FieldError]:
    """Everything that the API server would say of a new DinoJob or DinoAutoML, in its order: keys
    and types; then ranges, lists and choices; then rules, where those do not keep it from asking
    them. Its status is not read, as the API server does not read it."""
    if (strange := _no_resource(manifest)) is not None:
        return [strange]
    kind, meta = manifest["kind"], manifest["metadata"]
    known = crd_schema.of_spec(kind)
    stored = crd_schema.without_nulls(manifest.get("spec"), known)
    decoded = [*_unknown(manifest, known), *metadata.mistyped(meta)]
    problems = [*decoded, *metadata.broken(meta), *_of_schema(stored, known)]
    if any(each.blocking for each in problems):
        return [*problems, FieldError("", UNCHECKED)]
    return [*problems, *broken_rules({**manifest, "spec": stored}, crd_schema.of_kind(kind), ())]


def _no_resource(manifest: Any) -> FieldError | None:
    """Why nothing else can be asked of it."""
    if not isinstance(manifest, dict):
        return FieldError(
            "", "It is no manifest: a mapping with apiVersion, kind, metadata, spec is."
        )
    kind, version = manifest.get("kind"), manifest.get("apiVersion")
    is_known = isinstance(kind, str) and kind in crd_schema.KINDS
    if not is_known or version != api.API_VERSION:
        wanted = " or ".join(f"{known} ({api.API_VERSION})" for known in crd_schema.KINDS)
        meant = "" if is_known else crd_schema.did_you_mean(str(kind), crd_schema.KINDS)
        message = f"kind {kind!r} of apiVersion {version!r} is not for this operator."
        return FieldError("", f"{message} Give a {wanted}.{meant}")
    meta = manifest.get("metadata")
    if not isinstance(meta, dict) or not (meta.get("name") or meta.get("generateName")):
        return FieldError("metadata.name", "is missing. Give the resource a name.")
    if not isinstance(manifest.get("spec"), dict):
        remedy = f"kubectl explain {str(kind).lower()}.spec says what is in it."
        return FieldError("spec", f"is missing. {remedy}")
    return None


def _unknown(manifest: Schema, known: Schema) -> Iterator[FieldError]:
    """Keys that nobody knows, which kubectl apply refuses by itself."""
    for name in manifest:
        if name not in _ROOT:
            yield FieldError(str(name), f"is unknown.{crd_schema.did_you_mean(name, _ROOT)}")
    yield from metadata.unknown(manifest["metadata"])
    near = NearPaths()
    for at in crd_schema.unknown(manifest["spec"], known):
        where = crd_schema.named(("spec", *at))
        yield FieldError(where, f"is unknown.{crd_schema.near(at, known, near)}")


def _of_schema(stored: Any, known: Schema) -> Iterator[FieldError]:
    wrong = dict(_mistyped(stored, known))
    yield from wrong.values()
    yield from broken(stored, known, ("spec",), wrong.keys())


def _mistyped(stored: Any, known: Schema) -> Iterator[tuple[Loc, FieldError]]:
    """Place and refusal of every value of another type than the schema says."""
    for at, message in crd_schema.mistyped_at(stored, known, ("spec",)):
        yield at, FieldError(crd_schema.named(at), message, blocking=True)
