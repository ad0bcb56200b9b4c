"""One key: plan, look again at the API server where it matters, carry the plan out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from dino_operator.plan.job.decide import plan as plan_job
from dino_operator.plan.model import Object, Patch, Plan, Settings
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.children import Children, Refusal
from dino_operator.plan.observed.resource import Resource, asks_for_search
from dino_operator.plan.reported import refusals
from dino_operator.plan.search.decide import plan as plan_search
from dino_operator.runtime.cache import ObjectCache, version_of
from dino_operator.runtime.children_reader import ChildrenReader
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.events import EventRecorder
from dino_operator.runtime.katib import Katib, KatibObjects
from dino_operator.runtime.keys import KINDS, Key, Kind, named_by
from dino_operator.runtime.kueue import Kueue
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.writes import (
    EXPERIMENT,
    MOVED,
    Api,
    ObjectWriter,
    RequestRefused,
    Stranger,
)

log = logging.getLogger(__name__)
UNFIT = (400, 422)
"""Answers to a status that does not fit its schema, or whose resource does not."""
TAKEN_OVER = {Kind.DINOJOBS: "inherited", Kind.DINOAUTOMLS: "engine"}
"""Fields of a status by which all is taken over from what the spec names."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Decision(NamedTuple):
    """A plan, and the resource that it was made of; None where there is none."""

    resource: Object | None
    plan: Plan

    def is_outdated(self, known: Object | None) -> bool:
        """Whether the plan does something, and another version or a namesake is known by now."""
        return not self.plan.is_empty and _identity(self.resource) != _identity(known)


class Reconciler:
    """Makes the cluster agree with one DinoJob or DinoAutoML at a time."""

    def __init__(
        self,
        cache: ObjectCache,
        api: Api,
        settings: Settings,
        metrics: OperatorMetrics,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cache, self._api, self._settings = cache, api, settings
        self._metrics, self._now = metrics, now
        self._katib = Katib(api, settings.katib_poll)
        self._writer = ObjectWriter(cache, api)
        self._events = EventRecorder(api, now)
        self._heard: dict[Key, Counter[str]] = {}
        self._kueue = Kueue(api, settings.recheck)

    async def reconcile(self, key: Key) -> float | None:
        """Returns the seconds until time alone may change the plan. Raises ApiError: then the queue
        has it tried again, later and later."""
        try:
            again = await self._pursue(key)
        except RequestRefused as answer:
            return await self._tell(key, answer)
        except ApiError as error:
            if error.status in MOVED:  # the cache is behind: what we spoke of is not there any more
                await self.refresh(key)
            raise
        self._heard.pop(key, None)
        return again

    async def _pursue(self, key: Key) -> float | None:
        decision = await self._decide(key)
        try:
            await self._carry_out(key, decision)
        except Stranger as stranger:
            decision = await self._decide(key, (ApiObject(stranger.thing),))
            await self._carry_out(key, decision)
        resource, again = self._cache.resource(key), decision.plan.requeue_after
        if resource is not None and self._events.late(resource):
            return min(again or self._settings.recheck, self._settings.recheck)
        return again

    async def _decide(
        self, key: Key, strangers: tuple[ApiObject, ...] = (), refusal: Refusal | None = None
    ) -> Decision:
        """The plan, made of what is there now where it cannot be taken back. Raises ApiError."""
        decision = await self._plan(key, strangers, refusal=refusal)
        if decision.plan.irrevocable:
            await self.refresh(key)
            decision = await self._plan(key, strangers, fresh=True, refusal=refusal)
        self._check_current(key, decision)
        return decision

    def _check_current(self, key: Key, decision: Decision) -> None:
        """Raises ApiError where the resource changed, or went, while an answer was awaited."""
        if decision.is_outdated(self._cache.resource(key)):
            raise ApiError(409, "Conflict", "it has changed while an answer was awaited")

    async def _tell(self, key: Key, answer: RequestRefused) -> float | None:
        """Says what was refused, and does nothing else.

        Raises RequestRefused where it may be taken later.
        What is said is of the same plan, made with the refusal known. The answer may have been long
        in coming, and what was asked for be done all the same.
        """
        judged = refusals.judge(answer.refusal)
        if judged.is_quiet:
            log.info("%s: %s", key, judged.sentence)
            return None
        resource = self._cache.resource(key)
        if resource is not None and ApiObject(resource).is_finished and judged.lasts:
            log.warning("%s: %s", key, judged.sentence)  # the next resync tries it again
            return None
        heard = self._heard.setdefault(key, Counter())
        words = refusals.without_numbers(judged.message)
        refusal = replace(answer.refusal, heard=heard[words])
        heard[words] += 1
        try:
            decision = await self._decide(key, refusal=refusal)
            await self._carry_out(key, _without_changes(decision, refusal))
        except ApiError as error:
            log.warning("%s: its status is not written: %s", key, error)
            if error.status in MOVED:
                await self.refresh(key)
            raise answer from error
        plan = decision.plan
        if judged.ends:
            return plan.requeue_after
        if key.kind is Kind.DINOAUTOMLS and refusal.verb == "create":
            # A trial that cannot be made is no reason to leave others held, or to let bad ones run.
            changes = Plan(patches=plan.patches, deletes=plan.deletes)
            await self._carry_out(key, decision._replace(plan=changes))
        raise answer

    async def _plan(
        self,
        key: Key,
        strangers: tuple[ApiObject, ...] = (),
        fresh: bool = False,
        refusal: Refusal | None = None,
    ) -> Decision:
        """fresh: what is not watched is read anew. Raises ApiError."""
        resource = self._cache.resource(key)
        if resource is None:
            return Decision(None, Plan())
        children = replace(self._cache.children(key, strangers), refusal=refusal)
        if key.kind is Kind.DINOJOBS:
            held = await self._kueue.read(resource, children.jobs, fresh)
            children = replace(children, kueue=held.kueue, workload=held.workload)
            made = plan_job(resource, children, self._now(), self._settings)
            reader = ChildrenReader(self._api, key.namespace, children)
            if await reader.answer(made, fresh):
                made = plan_job(resource, reader.children, self._now(), self._settings)
            return Decision(resource, made)
        seen = await self._read_katib(resource, fresh, refusal)
        children = replace(
            children,
            katib_served=seen.served,
            experiment=seen.experiment,
            suggestion=seen.suggestion,
            katib_trials=seen.trials,
        )
        made = await self._search(resource, children)
        reader = ChildrenReader(self._api, key.namespace, children)
        if await reader.answer(made, fresh):
            made = await self._search(resource, reader.children)
        return Decision(resource, made)

    async def _search(self, resource: Object, children: Children) -> Plan:
        """The sampler may think for a while, and other plans must not wait for it."""
        return await asyncio.to_thread(plan_search, resource, children, self._now(), self._settings)

    async def _read_katib(
        self, resource: Object, fresh: bool, refusal: Refusal | None
    ) -> KatibObjects:
        """Nothing is seen once its objects are known not to be readable; until then raises
        RequestRefused."""
        if refusal is not None and refusal.verb == "read":
            return KatibObjects()
        try:
            return await self._katib.read(resource, fresh)
        except ApiError as error:
            raise RequestRefused("read", EXPERIMENT, "of Katib", error) from error

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
        things, version = await self._api.children(kind, key)
        self._cache.replace(kind, things, version, {key})

    async def _refresh_resource(self, kind: Kind, known: Object | None) -> None:
        if known is None:
            return
        meta = known["metadata"]
        thing = await self._api.get(kind, meta["namespace"], meta["name"])
        if thing is None or thing["metadata"]["uid"] != meta["uid"]:
            self._cache.remove(kind, known)
        if thing is not None:
            self._cache.put(kind, thing)

    async def _refresh_named(self, key: Key, resource: Object | None) -> None:
        """What the resource names, unless it has ended: then it is as it was.

        What has ended may be gone by now, or another one have its name, as long as nothing was
        taken over from it.
        """
        if resource is None or ApiObject(resource).is_finished:
            return
        awaited = TAKEN_OVER[key.kind] not in resource.get("status", {})
        named = {each: self._cache.resource(each) for each in named_by(key.kind, resource)}
        await asyncio.gather(
            *(
                self._refresh_resource(each.kind, thing)
                for each, thing in named.items()
                if thing is not None and (awaited or not ApiObject(thing).is_finished)
            )
        )

    async def _carry_out(self, key: Key, decision: Decision) -> None:
        """Writes in the plan's order: after a crash anywhere the next plan mends the rest."""
        resource, plan = decision
        if resource is None or (plan.is_empty and not self._events.late(resource)):
            return
        if _is_seen_by_katib(plan):
            self._katib.forget(resource)
        for thing in plan.creates:
            self._check_current(key, decision)
            await self._writer.create(resource, thing)
        await self._change(key, plan.patches)
        for delete in plan.deletes:
            await self._writer.delete(key.namespace, delete)
        await self._events.post(resource, plan.events)
        if plan.status is not None:
            applied = await self._apply_status(resource, plan.status)
            self._cache.put(key.kind, applied)
            self._count(key.kind, resource, plan.status)
        log.info("%s: %s", key, _summary(plan))

    async def _change(self, key: Key, patches: Sequence[Patch]) -> None:
        """Tries every patch: one that is refused for good is no reason to keep others waiting.

        Raises the first RequestRefused once all were tried.
        """
        refused: list[RequestRefused] = []
        for patch in patches:
            try:
                patched = await self._writer.patch(key.namespace, patch)
            except RequestRefused as answer:
                refused.append(answer)
                continue
            if patch.kind in set(Kind):
                self._cache.put(Kind(patch.kind), patched)
        if refused:
            raise refused[0]

    async def _apply_status(self, resource: Object, status: Object) -> Object:
        """Raises ApiError; where the content is refused, which no later try mends, it is told by an
        event first."""
        try:
            return await self._api.apply_status(resource, status)
        except ApiError as error:
            if error.status in UNFIT:
                await self._events.post(resource, (refusals.of_status(error.message),))
            raise

    def _count(self, kind: Kind, resource: Object, facts: Object) -> None:
        """A start or an end, once: the status of the resource does not have it yet."""
        known = resource.get("status", {})
        if kind is Kind.DINOJOBS and "startTime" in facts and "startTime" not in known:
            self._metrics.started(facts)
        if ApiObject({"status": facts}).is_finished and not ApiObject(resource).is_finished:
            # Written by the pod, so in no plan's facts.
            progress = {"progress": known.get("progress")}
            self._metrics.ended(KINDS[kind], progress | facts)


def _children_of(key: Key, resource: Object | None, served: frozenset[Kind]) -> list[Kind]:
    """What to read anew, without pods, which are read where Jobs are.

    Most DinoJobs have no search, and none is asked for. A search of the embedded engine has no Job
    before its report.
    """
    status = (resource or {}).get("status", {})
    if key.kind is Kind.DINOAUTOMLS:
        by_dinojobs = status.get("engine") == "Embedded" and "completionTime" not in status
        return [Kind.DINOJOBS] if by_dinojobs else [Kind.DINOJOBS, Kind.JOBS]
    asks = asks_for_search((resource or {}).get("spec", {}))
    searched = asks and Kind.DINOAUTOMLS in served
    return [Kind.DINOAUTOMLS, Kind.JOBS] if searched else [Kind.JOBS]


def _identity(resource: Object | None) -> tuple[str, int] | None:
    return None if resource is None else (objects.uid_of(resource), version_of(resource))


def _without_changes(decision: Decision, refusal: Refusal) -> Decision:
    """Status and events: whatever else is refused, they are written."""
    resource, plan = decision
    lasting = refusals.lasting(Resource(resource), refusal) if resource else ()
    return Decision(resource, Plan(status=plan.status, events=(*plan.events, *lasting)))


def _is_seen_by_katib(plan: Plan) -> bool:
    changed = {each.kind for each in plan.patches} | {each.kind for each in plan.deletes}
    return "experiments" in changed or any(each["kind"] == EXPERIMENT for each in plan.creates)


def _summary(plan: Plan) -> str:
    """One line for the log: what was done."""
    parts = [f"created {each['kind']} {each['metadata']['name']}" for each in plan.creates]
    parts += [f"patched {each.kind} {each.name}" for each in plan.patches]
    parts += [f"deleted {each.kind} {each.name}" for each in plan.deletes]
    parts += [f"{each.reason}: {each.message}" for each in plan.events]
    if plan.status is not None:
        parts.append(f"phase {plan.status['phase']}")
    return "; ".join(parts)
