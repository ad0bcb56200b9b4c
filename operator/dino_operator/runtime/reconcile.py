"""One key: plan, look again at the API server where it matters, carry the plan out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from dino_api.names import FIELD_MANAGER, Action, Phase
from dino_operator.plan import job, names, observe, search, status
from dino_operator.plan.model import WORK, Delete, Event, Object, Patch, Plan, Settings
from dino_operator.runtime.cache import Cache
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.katib import Katib, Reader
from dino_operator.runtime.keys import KINDS, PLURALS, Key, Kind, named_by
from dino_operator.runtime.metrics import Metrics

log = logging.getLogger(__name__)
MADE_ONCE = frozenset({"ServiceAccount", "RoleBinding", "ConfigMap", "Service"})
LONGEST_EVENT = 1000
MOVED = (404, 409)
INVALID = 422
EXPERIMENT = "Experiment"
REFUSALS = (400, 403, 422, 500)
"""Of a webhook, of missing rights, of a schema, and of a webhook that does not answer."""


class Api(Reader, Protocol):
    """What is asked of the API server; `client.Client` is the real one."""

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]: ...
    async def create(self, thing: Object) -> Object: ...
    async def patch(self, namespace: str, patch: Patch) -> Object: ...
    async def delete(self, namespace: str, delete: Delete) -> None: ...
    async def apply_status(self, resource: Object, status: Object) -> Object: ...


class Stranger(Exception):
    """A child's name is taken by an object that is not ours."""

    def __init__(self, thing: Object) -> None:
        super().__init__(observe.name_of(thing))
        self.thing = thing


class Refused(ApiError):
    """The API server, or a webhook of Katib's, takes no such child: what the resource asks for is
    invalid in a way that its own schema does not see, such as an impossible toleration."""

    def __init__(self, thing: Object, error: ApiError) -> None:
        super().__init__(error.status, error.reason, error.message)
        what = f"the API server refuses {thing['kind']} {observe.name_of(thing)}: "
        told = error.message if thing["kind"] == EXPERIMENT else what + error.message
        self.refusal = (error.status, told)


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Reconciler:
    """Makes the cluster agree with one DinoJob or DinoAutoML at a time."""

    def __init__(
        self,
        cache: Cache,
        api: Api,
        settings: Settings,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cache, self._api, self._settings = cache, api, settings
        self._metrics, self._now = metrics, now
        self._katib = Katib(api, settings.katib_poll)

    async def reconcile(self, key: Key) -> float | None:
        """Returns the seconds until time alone may change the plan. Raises ApiError."""
        plan = await self._plan(key)
        if plan.irrevocable:
            await self.refresh(key)
            plan = await self._plan(key, fresh=True)
        try:
            await self._carry_out(key, plan)
        except Stranger as found:
            plan = await self._plan(key, (found.thing,))
            await self._carry_out(key, plan)
        except Refused as found:
            plan = await self._plan(key, refusal=found.refusal)
            await self._carry_out(key, plan)
        except ApiError as error:
            if error.status in MOVED:  # the cache is behind: what we spoke of is not there any more
                await self.refresh(key)
            raise
        return plan.requeue_after

    async def _plan(
        self,
        key: Key,
        strangers: tuple[Object, ...] = (),
        fresh: bool = False,
        refusal: tuple[int, str] | None = None,
    ) -> Plan:
        """fresh: what is not watched is read anew. Raises ApiError."""
        resource = self._cache.resource(key)
        if resource is None:
            return Plan()
        children = replace(self._cache.children(key, strangers), refusal=refusal)
        if key.kind is Kind.DINOJOBS:
            return job.plan(resource, children, self._now(), self._settings)
        seen = await self._katib.look(resource, fresh)
        children = replace(
            children,
            katib_served=seen.served,
            experiment=seen.experiment,
            suggestion=seen.suggestion,
            katib_trials=seen.trials,
        )
        # The sampler may think for a while, and other plans must not wait for it.
        return await asyncio.to_thread(search.plan, resource, children, self._now(), self._settings)

    async def refresh(self, key: Key) -> None:
        """Reads the resource and its children anew.

        Pods after Jobs: a Job that is gone or ended by then makes no more pods.
        """
        known = self._cache.resource(key)
        kinds = _children_of(key, known, self._cache.served)
        await asyncio.gather(
            self._refresh_resource(key.kind, known),
            self._refresh_named(key, known),
            *(self._refresh_children(kind, key) for kind in kinds),
        )
        if Kind.JOBS in kinds:
            await self._refresh_children(Kind.PODS, key)

    async def _refresh_children(self, kind: Kind, key: Key) -> None:
        found, version = await self._api.children(kind, key)
        self._cache.replace(kind, found, version, {key})

    async def _refresh_resource(self, kind: Kind, known: Object | None) -> None:
        if known is None:
            return
        meta = known["metadata"]
        found = await self._api.get(kind, meta["namespace"], meta["name"])
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            self._cache.remove(kind, known)
        if found is not None:
            self._cache.put(kind, found)

    async def _refresh_named(self, key: Key, resource: Object | None) -> None:
        """What the resource names, unless it has ended: then it is as it was."""
        if resource is None or status.is_over(resource):
            return
        named = (self._cache.resource(each) for each in named_by(key.kind, resource))
        open_ones = (each for each in named if each is not None and not status.is_over(each))
        await asyncio.gather(
            *(self._refresh_resource(PLURALS[each["kind"]], each) for each in open_ones)
        )

    async def _carry_out(self, key: Key, plan: Plan) -> None:
        """In the plan's order: a crash after any step leaves a state that the next plan mends."""
        resource = self._cache.resource(key)
        if resource is None or plan.is_empty:
            return
        if _is_seen_by_katib(plan):
            self._katib.forget(resource)
        for thing in plan.creates:
            await self._create(resource, thing)
        for patch in plan.patches:
            patched = await self._api.patch(key.namespace, patch)
            if patch.kind in set(Kind):
                self._cache.put(Kind(patch.kind), patched)
        for delete in plan.deletes:
            await self._api.delete(key.namespace, delete)
        for event in plan.events:
            await self._post(resource, event)
        if plan.status is not None:
            applied = await self._api.apply_status(resource, plan.status)
            self._cache.put(key.kind, applied)
            self._count(key.kind, resource, plan.status)
        log.info("%s: %s", key, _summary(plan))

    async def _create(self, resource: Object, thing: Object) -> None:
        kind, meta = thing["kind"], thing["metadata"]
        try:
            made = await self._api.create(thing)
        except ApiError as error:
            known = REFUSALS if kind == EXPERIMENT else (INVALID,)
            if kind in WORK and error.status in known:
                raise Refused(thing, error) from error
            if not error.exists:
                raise
            made = await self._existing(resource, thing) if kind in WORK else thing
        if kind in PLURALS:
            self._cache.put(PLURALS[kind], made)
        elif kind in MADE_ONCE:
            self._cache.know(meta["namespace"], kind, meta["name"])

    async def _existing(self, resource: Object, thing: Object) -> Object:
        """Ours, made before the answer was lost; or a stranger."""
        kind, name = thing["kind"], thing["metadata"]["name"]
        found = await self._api.get(f"{kind.lower()}s", resource["metadata"]["namespace"], name)
        if found is None:
            raise ApiError(409, "Conflict", f"{kind} {name} was there a moment ago")
        if observe.controller_uid(found) != observe.uid_of(resource):
            raise Stranger(found)
        return found

    async def _post(self, resource: Object, event: Event) -> None:
        try:
            await self._api.create(event_object(resource, event, self._now()))
        except ApiError as error:
            if not error.exists:
                raise

    def _count(self, kind: Kind, resource: Object, told: Object) -> None:
        """An end, once: the status of the resource does not have it yet."""
        ends = (Phase.COMPLETE.value, Phase.FAILED.value)
        if told["phase"] not in ends or resource.get("status", {}).get("phase") in ends:
            return
        self._metrics.ended(KINDS[kind], told)


def _children_of(key: Key, resource: Object | None, served: frozenset[Kind]) -> list[Kind]:
    """What to read anew, without pods, which are read where Jobs are.

    Most DinoJobs have no search, and none is asked for. A search of the embedded engine has no Job
    before its report.
    """
    told = (resource or {}).get("status", {})
    if key.kind is Kind.DINOAUTOMLS:
        by_dinojobs = told.get("engine") == "Embedded" and "completionTime" not in told
        return [Kind.DINOJOBS] if by_dinojobs else [Kind.DINOJOBS, Kind.JOBS]
    spec = (resource or {}).get("spec", {})
    trains = spec.get("action") == Action.TRAIN and spec.get("automlPolicy") != "Disabled"
    searched = trains and Kind.DINOAUTOMLS in served
    return [Kind.DINOAUTOMLS, Kind.JOBS] if searched else [Kind.JOBS]


def _is_seen_by_katib(plan: Plan) -> bool:
    changed = {each.kind for each in plan.patches} | {each.kind for each in plan.deletes}
    return "experiments" in changed or any(each["kind"] == EXPERIMENT for each in plan.creates)


def event_object(resource: Object, event: Event, now: datetime) -> Object:
    """The event as the API server takes it."""
    meta = resource["metadata"]
    name = names.event_name(meta["name"], meta["uid"], event.reason, event.key)
    seen = observe.format_time(now)
    named = {key: meta[key] for key in ("name", "namespace", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            **named,
        },
        "reason": str(event.reason),
        "message": event.message[:LONGEST_EVENT],
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
        "firstTimestamp": seen,
        "lastTimestamp": seen,
        "count": 1,
    }


def _summary(plan: Plan) -> str:
    """One line for the log: what was done."""
    said = [f"created {each['kind']} {each['metadata']['name']}" for each in plan.creates]
    said += [f"patched {each.kind} {each.name}" for each in plan.patches]
    said += [f"deleted {each.kind} {each.name}" for each in plan.deletes]
    said += [f"{each.reason}: {each.message}" for each in plan.events]
    if plan.status is not None:
        said.append(f"phase {plan.status['phase']}")
    return "; ".join(said)
