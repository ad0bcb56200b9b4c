"""The requests the operator makes, on the asyncio half of the official `kubernetes` package.

Objects stay dicts: typed models would drop fields that the package does not know yet.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client as kube
from kubernetes.aio import config

from dino_api.names import (
    AUTOML_PLURAL,
    FIELD_MANAGER,
    GROUP,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    PLURAL,
    VERSION,
)
from dino_operator.plan.model import Delete, Object, Patch
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.children import StatusCause
from dino_operator.runtime.keys import LABELS, PLURALS, Key, Kind
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.shared_reads import SharedReads

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
PAGE = 500
TIMEOUT = 30.0

OURS = f"/apis/{GROUP}/{VERSION}"
KATIB = "/apis/kubeflow.org/v1beta1"
KUEUE_VERSIONS = ("/apis/kueue.x-k8s.io/v1beta2", "/apis/kueue.x-k8s.io/v1beta1")
"""Those of Workloads whose conditions are known here, the newest first."""

_BASES = {
    PLURAL: OURS,
    AUTOML_PLURAL: OURS,
    "experiments": KATIB,
    "suggestions": KATIB,
    "trials": KATIB,
    "jobs": "/apis/batch/v1",
    "pods": "/api/v1",
    "configmaps": "/api/v1",
    "serviceaccounts": "/api/v1",
    "services": "/api/v1",
    "events": "/api/v1",
    "limitranges": "/api/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}
_SELECTORS: dict[str, str] = {
    Kind.JOBS: f"{MANAGED_BY_LABEL}={MANAGED_BY}",
    Kind.PODS: f"{MANAGED_BY_LABEL}={MANAGED_BY}",
}
_VERSION = re.compile(r"[0-9]{1,20}")
"""Of a list; who answers in the API server's place has none."""
_List = tuple[str, str | None, str]
"""Kind, namespace, and selector or label of a list."""
_Listed = tuple[list[Object], int]


class ApiError(Exception):
    """The API server refused a request, or did not answer (status 0)."""

    def __init__(
        self, status: int, reason: str, message: str, causes: tuple[StatusCause, ...] = ()
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.causes = status, reason, message, causes

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be taken a moment later: no answer, a race, overload."""
        return self.status in (0, 429) or self.status == 409 or self.status >= 500

    @property
    def exists(self) -> bool:
        """Whether a create was refused because the name is taken."""
        return self.status == 409 and self.reason == "AlreadyExists"


def path(plural: str, namespace: str | None, name: str = "", sub: str = "") -> str:
    """The URL path of a collection, an object or a subresource."""
    parts = [_BASES[plural]]
    if namespace:
        parts.append(f"namespaces/{quote(namespace)}")
    parts += [plural, quote(name), sub]
    return "/".join(part for part in parts if part)


async def configuration() -> kube.Configuration:
    """Credentials of the pod's service account, or else from KUBECONFIG. Raises ConfigException.

    Proxies of the environment and netrc files are not looked at, as kopf's watches do not look at
    them either: doing so anew for each request took a third of the process's time.
    """
    settings = kube.Configuration(client_session_kwargs={"trust_env": False})
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    return settings


class Client:
    """Few verbs, counted, and never more than `concurrency` requests at once.

    before_write: called for each request other than a GET right before its first byte is sent; also
    for one that is sent again as its connection was closed.
    """

    def __init__(
        self,
        settings: kube.Configuration,
        metrics: OperatorMetrics,
        concurrency: int = 32,
        timeout: float = TIMEOUT,
        before_write: Callable[[], None] | None = None,
    ) -> None:
        settings.trace_configs = [_asking(before_write)] if before_write else None
        self._api = kube.ApiClient(settings)
        self._api.user_agent = "dino-operator"
        self._metrics = metrics
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._writes: set[asyncio.Task[Object]] = set()
        self._lists = SharedReads(self._list_alike)
        self._children = SharedReads(self._list_labelled)

    async def finish_writes(self) -> None:
        """Waits for the answers to all writes: whoever asked for them may be gone."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    async def close(self) -> None:
        """Closes the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        verb: str,
        where: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
    ) -> Object:
        """One request. Raises ApiError. A write goes on where its caller is cancelled."""
        sent = self._send(verb, where, query, body, content)
        if verb == "GET":
            return await sent
        writing = asyncio.create_task(sent)
        self._writes.add(writing)
        writing.add_done_callback(self._writes.discard)
        return await asyncio.shield(writing)

    async def _send(
        self, verb: str, where: str, query: dict[str, str] | None, body: Any, content: str
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": content}
        async with self._slots:
            try:
                # Without the body, which is JSON already: the package would copy it.
                method, url, headers, *_ = await self._api.param_serialize(
                    verb,
                    where,
                    query_params=list((query or {}).items()),
                    header_params=headers,
                    auth_settings=["BearerToken"],
                )
                answer = await self._api.call_api(
                    method, url, headers, body, _request_timeout=self._timeout
                )
                raw = await answer.read()  # type: ignore[no-untyped-call]
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._metrics.requests.labels(verb, "0").inc()
                raise ApiError(0, "Unreachable", f"{verb} {where}: {error!r}") from error
        self._metrics.requests.labels(verb, str(answer.status)).inc()
        return _decode(answer.status, raw)

    async def served(self, group: str = OURS) -> frozenset[str]:
        """The plurals that the API server knows in a group and version; empty without the group."""
        try:
            listed = await self.request("GET", group)
        except ApiError as error:
            if error.status == 404:
                return frozenset()
            raise
        return frozenset(each["name"] for each in listed.get("resources") or [])

    async def list_all(
        self, kind: str, namespace: str | None, selector: str = ""
    ) -> tuple[list[Object], int]:
        """All objects that the operator watches, and the version of the list."""
        things, version = await self._lists.answer((kind, namespace, selector), "")
        return list(things), version

    async def _list_alike(self, what: _List, _: tuple[str, ...]) -> _Listed:
        return await self._list(*what)

    async def _list(self, kind: str, namespace: str | None, selector: str) -> _Listed:
        """All pages together."""
        things, version = list[Object](), 0
        async for page, of_list in self.pages(kind, namespace, selector):
            things += page
            version = of_list
        return things, version

    async def pages(
        self, kind: str, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[_Listed]:
        """The objects page by page, each with the version of the list: whoever needs little of each
        object need not hold all of them. The next page is asked for before one is looked at: the
        API server takes as long to write a page as it takes to read one. Raises ApiError.
        """
        chosen = ",".join(part for part in (_SELECTORS.get(kind, ""), selector) if part)
        query = {"limit": str(PAGE), **({"labelSelector": chosen} if chosen else {})}

        def ask(more: dict[str, str]) -> asyncio.Task[Object]:
            where = path(kind, namespace)
            return asyncio.create_task(self.request("GET", where, query={**query, **more}))

        asked = ask({})
        try:
            while True:
                page = await asked
                about = objects.mapping(page.get("metadata"))
                version = str(about.get("resourceVersion", ""))
                if not _VERSION.fullmatch(version):
                    raise ApiError(0, "", f"the API server's answer is no list of {kind}")
                token = about.get("continue")
                if token:
                    asked = ask({"continue": token})
                    await asyncio.sleep(0)  # it is sent
                yield page.get("items") or [], int(version)
                if not token:
                    return
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def list_in(self, group: str, plural: str, space: str, selector: str) -> list[Object]:
        """The objects of that kind, group and version with that label: few, on one page."""
        where = f"{group}/namespaces/{quote(space)}/{plural}"
        page = await self.request("GET", where, query={"labelSelector": selector})
        return list(page.get("items") or [])

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        try:
            return await self.request("GET", path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def events(self, namespace: str, uid: str) -> list[Object]:
        """Events about the object of that uid."""
        query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(PAGE)}
        page = await self.request("GET", path("events", namespace), query=query)
        return page.get("items") or []

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]:
        """Objects of that kind with the label of the key. Plans that ask at once share a list."""
        label = LABELS[key.kind]
        things, version = await self._children.answer((kind, key.namespace, label), key.label)
        return [each for each in things if _carries(each, label, key.label)], version

    async def _list_labelled(self, what: _List, values: tuple[str, ...]) -> _Listed:
        """Of several labels' values."""
        kind, namespace, label = what
        return await self._list(kind, namespace, f"{label} in ({','.join(values)})")

    async def create(self, thing: Object) -> Object:
        """Creates it. Raises ApiError; `exists` where the name is taken."""
        where = path(f"{thing['kind'].lower()}s", thing["metadata"]["namespace"])
        return await self.request("POST", where, query=_MANAGER, body=thing)

    async def patch(self, namespace: str, patch: Patch) -> Object:
        """A merge patch of the object with that uid. Raises ApiError 409 for another uid."""
        where = path(patch.kind, namespace, patch.name)
        meta = {**patch.body.get("metadata", {}), "uid": patch.uid}
        body = {**patch.body, "metadata": meta}
        return await self.request("PATCH", where, query=_MANAGER, body=body, content=MERGE)

    async def delete(self, namespace: str, delete: Delete) -> None:
        """Deletes the object with that uid, what it owns after it. Already gone is fine."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": delete.uid}}
        try:
            await self.request("DELETE", path(delete.kind, namespace, delete.name), body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def apply_status(self, resource: Object, status: Object) -> Object:
        """Applies the status to the version that it was planned from; what others own stays.

        Raises ApiError 409 for another version or uid: a late plan must not take back a later one.
        """
        meta = resource["metadata"]
        named = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion")}
        body = {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "metadata": named,
            "status": status,
        }
        where = path(PLURALS[resource["kind"]], meta["namespace"], meta["name"], "status")
        query = {**_MANAGER, "force": "true"}
        return await self.request("PATCH", where, query=query, body=body, content=APPLY)


def _carries(thing: Object, label: str, value: str) -> bool:
    return bool((thing["metadata"].get("labels") or {}).get(label) == value)


_Sent = aiohttp.TraceRequestHeadersSentParams | aiohttp.TraceRequestChunkSentParams
_MANAGER = {"fieldManager": FIELD_MANAGER}


def _asking(before_write: Callable[[], None]) -> aiohttp.TraceConfig:
    """Between the check and the first byte nothing may be waited for, not even the event loop: a
    process that was stopped meanwhile would send what was right before.

    aiohttp says so before it hands over headers, and what follows them; both leave together.
    """

    async def ask(_: object, __: object, about: _Sent) -> None:
        if about.method != "GET":
            before_write()

    made = aiohttp.TraceConfig()
    made.on_request_headers_sent.append(ask)
    made.on_request_chunk_sent.append(ask)
    return made


def _decode(status: int, raw: bytes) -> Object:
    answer = _object_in(raw)
    if 200 <= status <= 299:
        if answer is None:
            raise ApiError(0, "", "the API server's answer cannot be read")
        return answer
    if answer is None:
        answer = {"message": raw[:300].decode(errors="replace")}
    reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    raise ApiError(status, reason, message, _causes(answer))


def _object_in(raw: bytes) -> Object | None:
    """The object of an answer; None where a proxy, or who else answers, has sent something else."""
    try:
        answer = json.loads(raw or b"{}")
    except (RecursionError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _causes(answer: Object) -> tuple[StatusCause, ...]:
    causes = objects.mappings(objects.mapping(answer.get("details")).get("causes"))
    return tuple(
        StatusCause(*(str(each.get(key, "")) for key in ("reason", "field", "message")))
        for each in causes
    )
