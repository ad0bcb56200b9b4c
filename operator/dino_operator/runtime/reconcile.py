"""One key: plan, look again at the API server where it matters, carry the plan out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from dino_api.names import FIELD_MANAGER, Phase
from dino_operator.plan import job, names, observe
from dino_operator.plan.model import Delete, Event, Object, Patch, Plan, Settings
from dino_operator.runtime.cache import Cache, Key, Kind
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.metrics import Metrics

log = logging.getLogger(__name__)
MADE_ONCE = frozenset({"ServiceAccount", "RoleBinding", "ConfigMap", "Service"})
LONGEST_EVENT = 1000
MOVED = (404, 409)


class Api(Protocol):
    """What is asked of the API server; `client.Client` is the real one."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None: ...
    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]: ...
    async def create(self, thing: Object) -> Object: ...
    async def patch_job(self, namespace: str, patch: Patch) -> Object: ...
    async def delete_job(self, namespace: str, delete: Delete) -> None: ...
    async def apply_status(self, resource: Object, status: Object) -> Object: ...


class Stranger(Exception):
    """A child's name is taken by an object that is not ours."""

    def __init__(self, thing: Object) -> None:
        super().__init__(observe.name_of(thing))
        self.thing = thing


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Reconciler:
    """Makes the cluster agree with one DinoJob at a time."""

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

    async def reconcile(self, key: Key) -> float | None:
        """Returns the seconds until time alone may change the plan. Raises ApiError."""
        plan = self._plan(key)
        if plan.irrevocable:
            await self.refresh(key)
            plan = self._plan(key)
        try:
            await self._carry_out(key, plan)
        except Stranger as found:
            plan = self._plan(key, (found.thing,))
            await self._carry_out(key, plan)
        except ApiError as error:
            if error.status in MOVED:  # the cache is behind: what we spoke of is not there any more
                await self.refresh(key)
            raise
        return plan.requeue_after

    def _plan(self, key: Key, strangers: tuple[Object, ...] = ()) -> Plan:
        resource = self._cache.resource(key)
        if resource is None:
            return Plan()
        children = self._cache.children(key, strangers)
        return job.plan(resource, children, self._now(), self._settings)

    async def refresh(self, key: Key) -> None:
        """Reads the resource and its children anew.

        Pods after Jobs: a Job that is gone or ended by then makes no more pods.
        """
        known = self._cache.resource(key)
        _, (jobs, version) = await asyncio.gather(
            self._refresh_resource(known), self._api.children(Kind.JOBS, key)
        )
        self._cache.replace(Kind.JOBS, jobs, version, {key})
        pods, version = await self._api.children(Kind.PODS, key)
        self._cache.replace(Kind.PODS, pods, version, {key})

    async def _refresh_resource(self, known: Object | None) -> None:
        if known is None:
            return
        meta = known["metadata"]
        found = await self._api.get(Kind.DINOJOBS, meta["namespace"], meta["name"])
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            self._cache.remove(Kind.DINOJOBS, known)
        if found is not None:
            self._cache.put(Kind.DINOJOBS, found)

    async def _carry_out(self, key: Key, plan: Plan) -> None:
        """In the plan's order: a crash after any step leaves a state that the next plan mends."""
        resource = self._cache.resource(key)
        if resource is None or plan.is_empty:
            return
        for thing in plan.creates:
            await self._create(resource, thing)
        for patch in plan.patches:
            self._cache.put(Kind.JOBS, await self._api.patch_job(key[0], patch))
        for delete in plan.deletes:
            await self._api.delete_job(key[0], delete)
        for event in plan.events:
            await self._post(resource, event)
        if plan.status is not None:
            applied = await self._api.apply_status(resource, plan.status)
            self._cache.put(Kind.DINOJOBS, applied)
            self._count(resource, plan.status)
        log.info("%s/%s: %s", *key, _summary(plan))

    async def _create(self, resource: Object, thing: Object) -> None:
        kind, meta = thing["kind"], thing["metadata"]
        try:
            made = await self._api.create(thing)
        except ApiError as error:
            if not error.exists:
                raise
            made = await self._existing_job(resource, meta["name"]) if kind == "Job" else thing
        if kind == "Job":
            self._cache.put(Kind.JOBS, made)
        elif kind in MADE_ONCE:
            self._cache.know(meta["namespace"], kind, meta["name"])

    async def _existing_job(self, resource: Object, name: str) -> Object:
        """Ours, made before the answer was lost; or a stranger."""
        found = await self._api.get(Kind.JOBS, resource["metadata"]["namespace"], name)
        if found is None:
            raise ApiError(409, "Conflict", f"Job {name} was there a moment ago")
        if observe.controller_uid(found) != observe.uid_of(resource):
            raise Stranger(found)
        return found

    async def _post(self, resource: Object, event: Event) -> None:
        try:
            await self._api.create(event_object(resource, event, self._now()))
        except ApiError as error:
            if not error.exists:
                raise

    def _count(self, resource: Object, status: Object) -> None:
        phase = status["phase"]
        if phase not in (Phase.COMPLETE, Phase.FAILED) or "completionTime" in resource["status"]:
            return
        if phase == Phase.FAILED:
            self._metrics.failures.labels(status.get("failure", {}).get("reason", "")).inc()
        if "startTime" in status:
            ended = observe.parse_time(status["completionTime"])
            ran = (ended - observe.parse_time(status["startTime"])).total_seconds()
            self._metrics.durations.labels(phase).observe(ran)


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
    said += [f"patched Job {each.name}" for each in plan.patches]
    said += [f"deleted Job {each.name}" for each in plan.deletes]
    said += [f"{each.reason}: {each.message}" for each in plan.events]
    if plan.status is not None:
        said.append(f"phase {plan.status['phase']}")
    return "; ".join(said)
