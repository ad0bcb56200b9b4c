"""What the API server refuses of `metadata`."""

from __future__ import annotations

from collections.abc import Iterator

from dino_operator.admission.cel_values import matches
from dino_operator.admission.model import FieldError, Schema
from dino_operator.plan.observed import crd_schema
from dino_operator.plan.observed.crd_schema import did_you_mean

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_WHOLE: Schema = {"type": "integer"}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
KNOWN: Schema = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "generateName": _TEXT,
        "namespace": _TEXT,
        "uid": _TEXT,
        "resourceVersion": _TEXT,
        "selfLink": _TEXT,
        "creationTimestamp": _TEXT,
        "deletionTimestamp": _TEXT,
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "generation": _WHOLE,
        "deletionGracePeriodSeconds": _WHOLE,
        "finalizers": {"type": "array", "items": _TEXT},
        "ownerReferences": _OBJECTS,
        "managedFields": _OBJECTS,
    },
}
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = rf"^{_LABEL}(\.{_LABEL})*$"
_QUALIFIED = r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character"
)
_PART = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)
_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)


def unknown(meta: Schema) -> Iterator[FieldError]:
    """Keys that metadata does not have."""
    for name in meta:
        if name not in KNOWN["properties"]:
            meant = did_you_mean(name, KNOWN["properties"], "metadata.")
            yield FieldError(f"metadata.{name}", f"is unknown.{meant}")


def mistyped(meta: Schema) -> Iterator[FieldError]:
    """Values of another type."""
    given = {name: value for name, value in meta.items() if value is not None}
    for at, message in crd_schema.mistyped_at(given, KNOWN, ("metadata",)):
        yield FieldError(crd_schema.named(at), message, blocking=True)


def broken(meta: Schema) -> Iterator[FieldError]:
    """Names and labels that Kubernetes does not have."""
    if list(mistyped(meta)):
        return
    name = meta.get("name")
    if name and not (len(name) <= 253 and matches(name, _NAME)):
        yield FieldError("metadata.name", f'Invalid value: "{name}": {_SUBDOMAIN}')
    namespace = meta.get("namespace")
    if namespace and not (len(namespace) <= 63 and matches(namespace, f"^{_LABEL}$")):
        yield FieldError("metadata.namespace", f'Invalid value: "{namespace}": {_SUBDOMAIN}')
    yield from _keys(meta, "annotations")
    yield from _keys(meta, "labels")
    for key, value in (meta.get("labels") or {}).items():
        if value and not (len(value) <= 63 and matches(value, _QUALIFIED)):
            message = f'Invalid value: "{value}" of {key}: {_VALUE}'
            yield FieldError("metadata.labels", message)


def _keys(meta: Schema, part: str) -> Iterator[FieldError]:
    for key in meta.get(part) or {}:
        prefix, slash, name = key.rpartition("/")
        fits = len(name) <= 63 and matches(name, _QUALIFIED)
        if not fits or (slash and not matches(prefix, _NAME)):
            yield FieldError(f"metadata.{part}", f'Invalid value: "{key}": name part {_PART}')
