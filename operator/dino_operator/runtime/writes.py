"""What a plan wants written, asked of the API server, with its answers told apart.

Something is done; or it was done before the last answer was lost; or the name belongs to a
stranger; or the API server refuses it; or what we spoke of has moved on, and the cache is behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from dino_api.names import AUTOML_KIND, AUTOML_PLURAL, KIND, PLURAL
from dino_operator.plan.model import GPU_KINDS, Delete, Object, Patch, Plural
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.children import Refusal, Verb
from dino_operator.runtime import katib, kueue
from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.children_reader import ChildrenApi
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import PLURALS, Key, Kind

MADE_ONCE = frozenset({"ServiceAccount", "RoleBinding", "ConfigMap", "Service"})
MOVED = (404, 409)
EXPERIMENT = "Experiment"
MANIFEST: Mapping[Plural, str] = {
    "jobs": "Job",
    PLURAL: KIND,
    AUTOML_PLURAL: AUTOML_KIND,
    "experiments": EXPERIMENT,
}
"""The kinds that plans change, as people read them."""


class Api(katib.KatibApi, kueue.KueueApi, ChildrenApi, Protocol):
    """What is asked of the API server; `client.Client` is the real one."""

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]: ...
    async def create(self, thing: Object) -> Object: ...
    async def patch(self, namespace: str, patch: Patch) -> Object: ...
    async def delete(self, namespace: str, delete: Delete) -> None: ...
    async def apply_status(self, resource: Object, status: Object) -> Object: ...


class Stranger(Exception):
    """A child's name is taken by an object that is not ours."""

    def __init__(self, thing: Object) -> None:
        super().__init__(objects.name_of(thing))
        self.thing = thing


class RequestRefused(ApiError):
    """Something was not made, changed, deleted or shown, and the status has to say why."""

    def __init__(self, verb: Verb, kind: str, name: str, error: ApiError) -> None:
        super().__init__(error.status, error.reason, error.message, error.causes)
        answer = (error.status, error.reason, error.message, error.causes)
        self.refusal = Refusal(verb, kind, name, *answer)


class ObjectWriter:
    """Creates, patches and deletes.

    Raises Stranger, RequestRefused, and ApiError for what has moved.
    """

    def __init__(self, cache: ObjectCache, api: Api) -> None:
        self._cache, self._api = cache, api

    async def create(self, resource: Object, thing: Object) -> None:
        """Makes a child of the resource, and remembers it."""
        kind, meta = thing["kind"], thing["metadata"]
        try:
            made = await self._api.create(thing)
        except ApiError as error:
            if error.status == 409 and not error.exists:
                raise
            if error.exists:
                made = await self._existing(resource, thing) if kind in GPU_KINDS else thing
            elif await self._is_there(thing):
                made = thing
            else:
                raise RequestRefused("create", kind, meta["name"], error) from error
        if kind in PLURALS:
            self._cache.put(PLURALS[kind], made)
        elif kind in MADE_ONCE:
            self._cache.know(thing)

    async def _is_there(self, thing: Object) -> bool:
        """Quotas and policies refuse an object before anybody sees that it exists already."""
        if thing["kind"] not in MADE_ONCE:
            return False
        meta = thing["metadata"]
        try:
            plural = f"{thing['kind'].lower()}s"
            return await self._api.get(plural, meta["namespace"], meta["name"]) is not None
        except ApiError:
            return False

    async def patch(self, namespace: str, patch: Patch) -> Object:
        """Changes an object; returns it as it is then."""
        with _refusing("patch", patch):
            return await self._api.patch(namespace, patch)

    async def delete(self, namespace: str, delete: Delete) -> None:
        """Deletes an object; one that is gone is fine."""
        with _refusing("delete", delete):
            await self._api.delete(namespace, delete)

    async def _existing(self, resource: Object, thing: Object) -> Object:
        """Ours, made before the answer was lost; or a stranger."""
        kind, name = thing["kind"], thing["metadata"]["name"]
        present = await self._api.get(f"{kind.lower()}s", resource["metadata"]["namespace"], name)
        if present is None:
            raise ApiError(409, "Conflict", f"{kind} {name} was there a moment ago")
        if objects.controller_uid(present) != objects.uid_of(resource):
            raise Stranger(present)
        return present


@contextmanager
def _refusing(verb: Verb, change: Patch | Delete) -> Iterator[None]:
    """Raises RequestRefused for an answer to this change, and ApiError for what has moved."""
    try:
        yield
    except ApiError as error:
        if error.status in MOVED:
            raise
        raise RequestRefused(verb, MANIFEST[change.kind], change.name, error) from error
