"""What the operator would make of a manifest, without a cluster. Pure.

The same plan functions that run in a cluster, asked as if everything went well.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from dino_api import names as api
from dino_api.experiment.paths import Loc
from dino_api.problem import render as sentence
from dino_api.resources.dinoautoml import DinoAutoMLSpec
from dino_api.resources.dinojob import DinoJobSpec
from dino_api.search import InvalidSearch, resolve_search
from dino_operator.admission import FieldError, refusals
from dino_operator.plan.annotations import LAST_APPLIED
from dino_operator.plan.job import routing
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observed import crd_schema, dropped_keys
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob, asks_for_search
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


class InvalidManifest(ValueError):
    """The manifest cannot be run; the message has a line for each reason."""


@dataclass(frozen=True)
class Preview:
    """What would be made, in order.

    notes: what a reader should know besides, as sentences. warnings: what is doubtful about the
    spec itself.
    """

    objects: tuple[Object, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def preview(manifest: Any, settings: Settings, engine: Engine | None = None) -> Preview:
    """Everything that the operator would make of a DinoJob or DinoAutoML. Raises InvalidManifest.

    engine: in place of spec.engine.
    """
    resource = _checked(manifest)
    try:
        if resource["kind"] == api.AUTOML_KIND:
            return _of_search(resource, settings, engine)
        return _of_job(resource, settings, engine)
    except spec_file.InvalidSpec as error:
        raise InvalidManifest("\n".join(error.problems)) from error
    except InvalidSearch as error:
        wrong = (each for each in error.problems if each.severity == "error")
        raise InvalidManifest("\n".join(map(sentence, wrong))) from error
    except ValidationError as error:
        raise InvalidManifest("\n".join(spec_file.problems_of(error, "spec."))) from error


def refused(manifest: Any) -> list[FieldError]:
    """What the API server refuses, and keys without a value that it drops and the operator does
    not."""
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    if not isinstance(spec, dict) or str(manifest.get("kind")) not in crd_schema.KINDS:
        return refusals(manifest)
    nulls = list(dropped_keys.nulls(spec, manifest["kind"]))
    all_refusals = refusals({**manifest, "spec": _without(spec, [at for at, _ in nulls])})
    for at, message in nulls:
        where = crd_schema.named(("spec", *at))
        all_refusals.append(FieldError(where, message.removeprefix(f"{where}: ")))
    return all_refusals


def _without(spec: Object, places: Iterable[Loc]) -> Object:
    """A copy that lacks these keys."""
    kept = copy.deepcopy(spec)
    for *path, name in places:
        node: Any = kept
        for part in path:
            node = node[part]
        del node[name]
    return kept


def _checked(manifest: Any) -> Object:
    """The manifest as the API server stores it: with namespace and uid. Raises InvalidManifest."""
    if problems := refused(manifest):
        raise InvalidManifest("\n".join(map(str, problems)))
    kind = manifest["kind"]
    whole = {"namespace": "default", "uid": NO_UID, **manifest["metadata"]}
    return {
        "apiVersion": api.API_VERSION,
        "kind": kind,
        "metadata": {"name": whole.get("generateName"), **whole},
        "spec": _stored(manifest["spec"], kind),
    }


def _stored(spec: Object, kind: str) -> Object:
    """As clients store it that drop no null of the experiment, so that each is spoken of."""
    kept = dict(crd_schema.without_nulls(spec, crd_schema.of_spec(kind)))
    noted = {"metadata": {"annotations": {LAST_APPLIED: json.dumps({"spec": spec})}}}
    return dict(dropped_keys.with_nulls({**noted, "spec": kept}, kind)["spec"])


def _of_job(resource: Object, settings: Settings, engine: Engine | None) -> Preview:
    spec = DinoJobSpec.model_validate(resource["spec"])
    notes: tuple[str, ...] = ()
    if spec.parent is not None and spec.parent.name:
        message = f"{spec.parent.kind} {spec.parent.name}"
        notes = (f"spec.parent: the model that {message} leaves is not known here.",)
    if not asks_for_search(resource["spec"]) or not settings.automl:
        doubts = spec_file.read_spec(DinoJob(resource)).warnings
        return Preview(tuple(_work(DinoJob(resource), settings)), notes, doubts)
    search = routing.search_for(JobView(DinoJob(resource), Children(), NOW, settings))
    search["metadata"]["uid"] = NO_UID
    below = _of_search(search, settings, engine)
    note = "automlPolicy is Auto: the job becomes the DinoAutoML above; Disabled trains at once."
    made = (_as_sent(search), *below.objects)
    return Preview(made, (*notes, note, *below.notes), below.warnings)


def _work(resource: DinoJob, settings: Settings, checked: bool = False) -> Iterator[Object]:
    """Children of a DinoJob that no search runs for. checked: another job has checked the data."""
    resolved = spec_file.read_spec(resource)
    yield from children.inputs(resource, resolved, preflight=False)
    if resolved.reads_data and not checked:
        yield children.job(resource, resolved, Attempt(1, preflight=True), settings)
    left = resolved.job.spec.run_policy.active_deadline_seconds
    yield children.job(resource, resolved, Attempt(1, seconds_left=left), settings)


def _of_search(resource: Object, settings: Settings, engine: Engine | None) -> Preview:
    spec = DinoAutoMLSpec.model_validate(resource["spec"])
    search = resolve_search(spec, settings.profile)
    view = SearchView(DinoAutoML(resource), Children(), NOW, settings, search)
    chosen = engine or spec.engine
    refusal = katib.refusal(view)
    if chosen == "Katib" and refusal:
        raise InvalidManifest(
            f"spec.engine: Katib cannot run this search: {refusal}. Use Embedded."
        )
    first = tuple(_trial(view, 0))
    doubts = tuple(map(sentence, search.warnings))
    if chosen == "Katib":
        return Preview((*first, *experiment.to_create(view)), warnings=doubts)
    notes: tuple[str, ...] = ()
    if chosen == "Auto":
        message = f"Katib cannot run it: {refusal}" if refusal else "--engine Katib shows the other"
        notes += (
            f"spec.engine is Auto: shown is Embedded, as on a cluster without Katib; {message}.",
        )
    count = min(search.parallel_trials, search.max_trials)
    others = [each for number in range(1, count) for each in _trial(view, number)]
    notes += (
        f"Of {search.max_trials} trials the first {count} are shown; later ones depend on results.",
    )
    return Preview((*first, *others), notes, doubts)


def _trial(view: SearchView, number: int) -> Iterator[Object]:
    """The DinoJob of a trial, and what is made of it in turn."""
    parameters = draw(view.search.space, view.spec.algorithm, number, ())
    if parameters is None:
        return
    job = dinojobs.render(view, number, parameters)
    yield job
    named = {**job, "metadata": {**job["metadata"], "uid": NO_UID}}
    yield from _work(DinoJob(named), view.settings, checked=number > 0)


def _as_sent(resource: Object) -> Object:
    meta = {key: value for key, value in resource["metadata"].items() if key != "uid"}
    return {**resource, "metadata": meta}
