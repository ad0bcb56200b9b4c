"""Copies of a DinoJob that has lived, with its Jobs and pods: a crowd of them is there soon.

Ten thousand lives take an operator half an hour, and what is measured comes after them. A copy is
what the original is, under another name and with uids of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from dino_api import names
from dino_api.names import Label
from tests.bench.search_load_player import APPLY, MERGE, Api, Object

SERVER_SIDE = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
OF_THE_UID = ("controller-uid", "batch.kubernetes.io/controller-uid")
"""Labels that the API server gives a Job and its pods."""
AT_ONCE = 24


@dataclass(frozen=True)
class JobFamily:
    """A DinoJob with all that it made, as the API server tells it: an owner before what it owns."""

    name: str
    members: Sequence[Object]

    async def copy(self, api: Api, name: str) -> None:
        """Makes one of that name. Raises aiohttp.ClientResponseError."""
        uids: dict[str, str] = {}
        for member in self.members:
            text = json.dumps(fresh(member)).replace(self.name, name)
            for old, new in uids.items():
                text = text.replace(old, new)
            thing = json.loads(text)
            made = await api.call("POST", collection(api, thing), thing)
            uids[member["metadata"]["uid"]] = made["metadata"]["uid"]
            if "status" in thing:
                await tell(api, thing)

    async def copies(self, api: Api, every: Sequence[str]) -> None:
        """One of each name, as fast as they are taken."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> None:
            async with room:
                await self.copy(api, name)

        await asyncio.gather(*map(one, every))


async def read_family(api: Api, name: str) -> JobFamily:
    """What there is of that name now; it must be in nothing else that is told of it."""
    kinds = (("v1", "ConfigMap"), ("batch/v1", "Job"), ("v1", "Pod"))
    members = [await api.call("GET", f"{api.ours(names.PLURAL)}/{name}")]
    for version, kind in kinds:
        what = {"apiVersion": version, "kind": kind}
        where = f"{collection(api, what)}?labelSelector={Label.JOB.value}={name}"
        members += [{**what, **each} for each in (await api.call("GET", where))["items"]]
    return JobFamily(name, members)


def fresh(member: Object) -> Object:
    """Without what the API server gives to each object."""
    meta = {key: value for key, value in member["metadata"].items() if key not in SERVER_SIDE}
    made = {**member, "metadata": meta}
    if member["kind"] == "Job":
        meta["labels"] = without_uid(meta["labels"])
        template = member["spec"]["template"]
        labels = without_uid(template["metadata"]["labels"])
        template = {**template, "metadata": {**template["metadata"], "labels": labels}}
        spec = {key: value for key, value in member["spec"].items() if key != "selector"}
        made["spec"] = {**spec, "template": template}
    return made


def without_uid(labels: Object) -> Object:
    """Labels that the next Job may have as well."""
    return {key: value for key, value in labels.items() if key not in OF_THE_UID}


def collection(api: Api, thing: Object) -> str:
    """The path of the objects of its kind."""
    version, plural = thing["apiVersion"], f"{thing['kind'].lower()}s"
    root = "/api" if version == "v1" else "/apis"
    return f"{root}/{version}/namespaces/{api.namespace}/{plural}"


async def tell(api: Api, thing: Object) -> None:
    """Its status; a DinoJob's by the manager who writes it."""
    where = f"{collection(api, thing)}/{thing['metadata']['name']}/status"
    if thing["kind"] != names.KIND:
        await api.call("PATCH", where, {"status": thing["status"]}, MERGE)
        return
    named = {"name": thing["metadata"]["name"], "namespace": api.namespace}
    body = {key: thing[key] for key in ("apiVersion", "kind", "status")} | {"metadata": named}
    await api.call("PATCH", f"{where}?fieldManager={names.FIELD_MANAGER}&force=true", body, APPLY)
