"""What the operator would make of a manifest, without a cluster. Pure.

The same plan functions that run in a cluster, asked as if everything went well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from dino_api import names as api
from dino_api.problem import render as sentence
from dino_api.resources.dinoautoml import DinoAutoMLSpec
from dino_api.resources.dinojob import DinoJobSpec
from dino_api.search import InvalidSearch, resolve_search
from dino_operator.plan.job import routing
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observed import crd_schema, dropped_keys, job_action
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job_view import View
from dino_operator.plan.rendered import children, spec_file
from dino_operator.plan.rendered.pods import Attempt
from dino_operator.plan.search.engines.katib import engine as katib
from dino_operator.plan.search.engines.katib import experiment
from dino_operator.plan.search.samplers.draw import draw
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs

Engine = Literal["Auto", "Katib", "Embedded"]
NO_UID = "00000000-0000-0000-0000-000000000000"
"""The API server gives the real one."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""Nothing that is rendered depends on the time."""

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_META: Object = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}


class Refused(ValueError):
    """The manifest cannot be run; the message has a line for each reason."""


@dataclass(frozen=True)
class Preview:
    """What would be made, in order. notes: what a reader should know besides, as sentences."""

    objects: tuple[Object, ...]
    notes: tuple[str, ...] = ()


def preview(manifest: Any, settings: Settings, engine: Engine | None = None) -> Preview:
    """Everything that the operator would make of a DinoJob or DinoAutoML. Raises Refused.

    engine: in place of spec.engine.
    """
    resource = _checked(manifest)
    try:
        if resource["kind"] == api.AUTOML_KIND:
            return _of_search(resource, settings, engine)
        return _of_job(resource, settings, engine)
    except spec_file.InvalidSpec as error:
        raise Refused("\n".join(error.problems)) from error
    except InvalidSearch as error:
        wrong = (each for each in error.problems if each.severity == "error")
        raise Refused("\n".join(map(sentence, wrong))) from error
    except ValidationError as error:
        said = [f"spec.{_path(each['loc'])}: {each['msg']}." for each in error.errors()]
        raise Refused("\n".join(said)) from error


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _checked(manifest: Any) -> Object:
    """The manifest as the API server would store it: with namespace and uid. Raises Refused."""
    if not isinstance(manifest, dict):
        raise Refused("It is no manifest: a mapping with apiVersion, kind, metadata and spec is.")
    kind = manifest.get("kind")
    if kind not in crd_schema.KINDS or manifest.get("apiVersion") != api.API_VERSION:
        wanted = " or ".join(f"{known} ({api.API_VERSION})" for known in crd_schema.KINDS)
        raise Refused(
            f"kind {kind!r} of apiVersion {manifest.get('apiVersion')!r} is not for this operator. "
            f"Give a {wanted}."
        )
    meta = manifest.get("metadata")
    if not isinstance(meta, dict) or not meta.get("name"):
        raise Refused("metadata.name is missing. Give the resource a name.")
    if wrong := list(crd_schema.mistyped(meta, _META, ("metadata",))):
        raise Refused("\n".join(wrong))
    if not isinstance(manifest.get("spec"), dict):
        raise Refused(f"spec is missing. kubectl explain {kind.lower()}.spec says what is in it.")
    whole = {"namespace": "default", "uid": NO_UID, **meta}
    return {
        "apiVersion": api.API_VERSION,
        "kind": kind,
        "metadata": whole,
        "spec": _as_stored(manifest["spec"], kind),
    }


def _as_stored(spec: Object, kind: str) -> Object:
    """What the API server makes of it: keys without a value are dropped. Raises Refused."""
    known = crd_schema.of_spec(kind)
    strange = crd_schema.unknown(spec, known)
    wrong = [
        f"{crd_schema.named(('spec', *at))} is unknown.{crd_schema.near(at, known)}"
        for at in strange
    ]
    wrong += (said for _, said in dropped_keys.nulls(spec, kind))
    stored: Object = crd_schema.without_nulls(spec, known)
    wrong += crd_schema.mistyped(stored, known, ("spec",))
    if wrong:
        raise Refused("\n".join(wrong))
    return stored


def _of_job(resource: Object, settings: Settings, engine: Engine | None) -> Preview:
    spec = DinoJobSpec.model_validate(resource["spec"])
    notes: tuple[str, ...] = ()
    if spec.parent is not None and spec.parent.name:
        told = f"{spec.parent.kind} {spec.parent.name}"
        notes = (f"spec.parent: the model that {told} leaves is not known here.",)
    if not job_action.asks_for_search(resource["spec"]) or not settings.automl:
        return Preview(tuple(_work(resource, settings)), notes)
    search = routing.search_for(View(resource, Children(), NOW, settings))
    search["metadata"]["uid"] = NO_UID
    below = _of_search(search, settings, engine)
    note = "automlPolicy is Auto: the job becomes the DinoAutoML above; Disabled trains at once."
    return Preview((_as_sent(search), *below.objects), (*notes, note, *below.notes))


def _work(resource: Object, settings: Settings, checked: bool = False) -> Iterator[Object]:
    """Of a DinoJob that no search runs for. checked: another job has checked the data."""
    resolved = spec_file.read_spec(resource)
    yield from children.inputs(resource, resolved, preflight=False)
    if resolved.reads_data and not checked:
        yield children.job(resource, resolved, Attempt(1, preflight=True), settings)
    left = resolved.job.spec.run_policy.active_deadline_seconds
    yield children.job(resource, resolved, Attempt(1, seconds_left=left), settings)


def _of_search(resource: Object, settings: Settings, engine: Engine | None) -> Preview:
    spec = DinoAutoMLSpec.model_validate(resource["spec"])
    search = resolve_search(spec, settings.profile)
    view = SearchView(resource, Children(), NOW, settings, search)
    chosen = engine or spec.engine
    refusal = katib.refusal(view)
    if chosen == "Katib" and refusal:
        raise Refused(f"spec.engine: Katib cannot run this search: {refusal}. Use Embedded.")
    first = tuple(_trial(view, 0))
    notes = tuple(map(sentence, search.warnings))
    if chosen == "Katib":
        return Preview((*first, *experiment.to_create(view)), notes)
    if chosen == "Auto":
        told = f"Katib cannot run it: {refusal}" if refusal else "--engine Katib shows the other"
        notes += (
            f"spec.engine is Auto: shown is Embedded, as on a cluster without Katib; {told}.",
        )
    count = min(search.parallel_trials, search.max_trials)
    others = [each for number in range(1, count) for each in _trial(view, number)]
    notes += (
        f"Of {search.max_trials} trials the first {count} are shown; later ones depend on results.",
    )
    return Preview((*first, *others), notes)


def _trial(view: SearchView, number: int) -> Iterator[Object]:
    """The DinoJob of a trial, and what is made of it in turn."""
    drawn = draw(view.search.space, view.spec.algorithm, number, ())
    if drawn is None:
        return
    job = dinojobs.render(view, number, drawn)
    yield job
    named = {**job, "metadata": {**job["metadata"], "uid": NO_UID}}
    yield from _work(named, view.settings, checked=number > 0)


def _as_sent(resource: Object) -> Object:
    meta = {key: value for key, value in resource["metadata"].items() if key != "uid"}
    return {**resource, "metadata": meta}
