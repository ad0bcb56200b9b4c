"""Operations from the CRDs' schemas before a real API server and the running operator.

`tests/proof/test_operations.py` judges them without one: what it predicts is what happens here.
`make proof-operations` takes all of them, `make test` some.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_UP, Decimal
from itertools import count
from random import Random
from typing import Any

from kubernetes.client import ApiException
from kubernetes.utils.quantity import parse_quantity

from dino_api.names import AUTOML_KIND, FailureReason
from dino_api.rules.resource.dinoautoml import EDITABLE
from dino_operator.admission import refusals
from dino_operator.plan.model import Settings
from dino_operator.plan.observed import crd_schema
from tests.api import audit
from tests.api.admission_cases import causes
from tests.api.clients import DinoJobs
from tests.api.operator_cluster import Cluster, Operating, condition_of
from tests.api.operator_process import Process, eventually
from tests.api.test_validate import agree, told
from tests.proof.operation_bases import BASES, EVERYTHING
from tests.proof.operation_oracles import Judged, without_words
from tests.proof.operation_share import API_WALKS, chosen
from tests.proof.operations import Operation, operations
from tests.unit.plan_store import copied

Object = dict[str, Any]
SETTINGS = Settings("trainer:1")
"""Those of the operator of these tests."""
AT_ONCE = 8
BATCH = 40
USUAL = 24
"""Operations in `make test`."""
STEPS = 4
"""Edits of a walk."""
FREE = {AUTOML_KIND: EDITABLE, "DinoJob": ("runPolicy",)}
MISSING = ("priorityClassName", "runtimeClassName")
"""What is not there, so that no pod would be made."""
MOST, LEAST = 2**63 - 1, Decimal("0.001")
"""Of a quantity."""
SOON = 600
"""Seconds: what is to end sooner ends while it is looked at."""
NUMBERS = count()


def several(do: Any, things: Sequence[Any]) -> list[Any]:
    """So many at once, and their answers in order."""
    with ThreadPoolExecutor(AT_ONCE) as room:
        return list(room.map(do, things))


def test_the_api_server_takes_what_is_said_to_be_taken(dinojobs: DinoJobs) -> None:
    tried = chosen(operations(), USUAL)

    def asked(operation: Operation) -> str:
        manifest = operation.after()
        ours, theirs = refusals(manifest), told(dinojobs.api, dinojobs.namespace, manifest)
        if bool(ours) == bool(theirs) and agree(ours, as_we_write(theirs)):
            return ""
        return f"{operation}: {[str(each) for each in ours]}, the API server: {theirs}"

    wrong = [each for each in several(asked, tried) if each]
    print(f"{len(tried)} operations before the API server")
    assert not wrong, "\n".join(wrong)


def as_we_write(told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Numbers of the API server have an exponent from a million on."""
    zeros = re.compile(r"\b1e\+(\d\d)\b")
    return [(f, zeros.sub(lambda found: str(10 ** int(found[1])), said)) for f, said in told]


# ---- a life --------------------------------------------------------------------------------------


class Living:
    """DinoJobs and DinoAutoMLs of one namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        api = cluster.dinojobs.api
        self.of_kind = {
            kind: DinoJobs(api, cluster.namespace, known.plural)
            for kind, known in crd_schema.KINDS.items()
        }

    def create(self, manifest: Object) -> Object:
        """Under a name of its own. Raises ApiException."""
        made = copy.deepcopy(manifest)
        made["metadata"]["name"] = f"op-{next(NUMBERS)}"
        return self.of_kind[made["kind"]].create(made)

    def all(self) -> dict[tuple[str, str], Object]:
        """Those that are there, by kind and name."""
        return {
            (kind, each["metadata"]["name"]): each
            for kind, jobs in self.of_kind.items()
            for each in jobs.api.list_namespaced_custom_object(**jobs._where)["items"]
        }

    def get(self, thing: Object) -> Object:
        """As it is now."""
        return self.of_kind[thing["kind"]].get(thing["metadata"]["name"])

    def replace(self, thing: Object, spec: Object) -> Object:
        """With another spec. Raises ApiException."""
        jobs, name = self.of_kind[thing["kind"]], thing["metadata"]["name"]
        while True:
            body = {**self.get(thing), "spec": spec}
            try:
                made: Object = jobs.api.replace_namespaced_custom_object(
                    **jobs._where, name=name, body=body
                )
                return made
            except ApiException as error:
                if error.status != 409:  # the operator wrote its status meanwhile
                    raise

    def delete_all(self, things: Sequence[Object]) -> None:
        """And with them what was made for them."""

        def gone(thing: Object) -> None:
            jobs = self.of_kind[thing["kind"]]
            jobs.api.delete_namespaced_custom_object(
                **jobs._where, name=thing["metadata"]["name"], propagation_policy="Background"
            )

        several(gone, things)

    def made(self) -> dict[tuple[str, str], Object]:
        """Everything of the namespace that the operator makes, by kind and name."""
        core, batch = self.cluster.core, self.cluster.batch
        space = self.cluster.namespace
        lists = {
            "Job": batch.list_namespaced_job,
            "ConfigMap": core.list_namespaced_config_map,
            "Service": core.list_namespaced_service,
        }
        found = {
            (kind, each["metadata"]["name"]): each
            for kind, listing in lists.items()
            for each in json.loads(listing(space, _preload_content=False).data)["items"]
        }
        return found | self.all()


def test_what_is_taken_is_made_as_it_was_foretold(operating: Operating) -> None:
    taken = [each for each in chosen(operations(), USUAL) if not refusals(each.after())]
    wrong: list[str] = []
    told_of: list[str] = []
    with operating("--progress-old-seconds", "86400") as (cluster, operator):
        living = Living(cluster)
        for first in range(0, len(taken), BATCH):
            batch = taken[first : first + BATCH]
            things = several(lambda each: living.create(each.after()), batch)
            until_begun(living, things)
            operator.settled()
            made = living.made()
            for operation, thing in zip(batch, things, strict=True):
                now = made[thing["kind"], thing["metadata"]["name"]]
                wrong += [f"{operation}: {each}" for each in amiss(now, made)]
                told_of += refused_child(operation, now)
            if first + BATCH >= len(taken):  # while the last of them are there
                wrong += rests(operator, cluster)
            living.delete_all(things)
    print(f"{len(taken)} operations lived; a child of {len(told_of)} was refused: {told_of}")
    assert not wrong, "\n".join(wrong)


NULLS = ("spec.search[2].choices[0] set to None", "spec.search[3].when.values[0] set to None")


def test_a_null_without_a_type_ends_in_a_sentence(operating: Operating) -> None:
    """The API server took it, and then no status of the object any more."""
    tried = [each for each in operations() if str(each).endswith(NULLS)]
    assert len(tried) == len(NULLS)
    with operating() as (cluster, operator):
        living = Living(cluster)
        things = [living.create(each.after()) for each in tried]
        until_begun(living, things)
        operator.settled()
        ends = [condition_of(living.get(each), "Failed") for each in things]
        assert [each["reason"] for each in ends] == [FailureReason.INVALID_SPEC] * len(things)
        living.delete_all(things)


def until_begun(living: Living, things: Sequence[Object]) -> None:
    """Something is said of each of them."""
    left: list[str] = []

    def begun() -> bool:
        now = living.all()
        named = ((each["kind"], each["metadata"]["name"]) for each in things)
        left[:] = [f"{key[0]} {key[1]}" for key in named if not has_begun(now[key])]
        return not left

    eventually(begun, lambda: f"begun: {left}")


def has_begun(thing: Object) -> bool:
    """Whether something was said of it, of its spec as it is."""
    status = thing.get("status", {})
    return bool(status.get("observedGeneration") == thing["metadata"]["generation"])


def refused_child(operation: Operation, now: Object) -> list[str]:
    """What the API server alone refuses, which it tells in its own words."""
    said = condition_of(now, "Failed").get("message", "")
    return [f"{operation}: {said}"] if "the API server refuses" in said else []


def amiss(now: Object, made: dict[tuple[str, str], Object]) -> Iterator[str]:
    """What is not as it was foretold of it."""
    judged = Judged({**now, "status": {}}, SETTINGS)
    failed = condition_of(now, "Failed")
    if failed.get("status") == "True":
        yield from amiss_at_the_end(now, judged, failed)
        return
    if judged.invalid and not awaits(now):
        yield f"it goes on: {judged.invalid[0]}"
    for each in map(without_words, own(judged)):
        there = made.get((each["kind"], each["metadata"]["name"]))
        if there is not None:
            parts = {key: each[key] for key in each if key not in ("apiVersion", "kind")}
            yield from lacking(parts, there, f"{each['kind']} {each['metadata']['name']}")
    if judged.is_taken and not awaits(now) and not (first_of(judged) & made.keys()):
        yield f"none of {first_of(judged)} was made: {now['status']}"


def own(judged: Judged) -> list[Object]:
    """Its own children; those of its children hold uids that the preview cannot know."""
    uid = judged.manifest["metadata"]["uid"]
    owners = ((each, each["metadata"].get("ownerReferences", [])) for each in judged.children)
    return [each for each, listed in owners if all(one["uid"] == uid for one in listed)]


def amiss_at_the_end(now: Object, judged: Judged, failed: Object) -> Iterator[str]:
    stopped = (now["spec"].get("runPolicy") or {}).get("stop")
    if failed["reason"] == FailureReason.STOPPED and stopped:
        return
    if failed["reason"] == FailureReason.DEADLINE_EXCEEDED and is_short(now["spec"]):
        return
    if failed["reason"] != FailureReason.INVALID_SPEC:
        yield f"it ended for {failed['reason']}: {failed['message']}"
    if not judged.invalid and "the API server refuses" not in failed["message"]:
        yield f"it was to be taken: {failed['message']}"
    if not now["status"]["failure"].get("remedy"):
        yield f"it ended without a remedy: {failed['message']}"


def is_short(spec: Object) -> bool:
    """Whether it may end by its deadline while it is looked at, or a trial of it by the trials'."""
    policies = [each.get("runPolicy") or {} for each in (spec, spec.get("template") or {})]
    limits = [each.get("activeDeadlineSeconds") for each in policies]
    return any(limit is not None and limit < SOON for limit in limits)


def awaits(now: Object) -> bool:
    """Whether it is held, or something else has to be there or to end first."""
    spec = now["spec"]
    held = spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend")
    named = (spec.get("parent") or {}).get("name") or spec.get("warmStartFrom")
    return bool(held or named or spec.get("engine") == "Katib")


def first_of(judged: Judged) -> set[tuple[str, str]]:
    """What is made first, besides what a namespace shares."""
    kinds = ("Job", "DinoJob", AUTOML_KIND)
    named = [(each["kind"], each["metadata"]["name"]) for each in own(judged)]
    return set([each for each in named if each[0] in kinds][:1])


def lacking(wanted: Any, there: Any, at: str) -> Iterator[str]:
    """What of the one does not stand in the other; the API server adds defaults, and leaves out
    what is empty."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        for key, value in wanted.items():
            if value not in (None, {}, [], ""):
                yield from lacking(value, there.get(key), f"{at}.{key}")
    elif isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        for index, value in enumerate(wanted):
            yield from lacking(value, there[index], f"{at}[{index}]")
    elif wanted != there and not same_quantity(wanted, there):
        yield f"{at} is {there!r}, not {wanted!r}"


def same_quantity(wanted: Any, there: Any) -> bool:
    """The API server writes 0.5 as 500m, has nothing below 1m, and no number beyond 64 bits: what
    it makes of one is its own."""
    try:
        asked, made = (parse_quantity(each) for each in (wanted, there))
    except (TypeError, ValueError):
        return False
    return bool(asked > MOST or asked.quantize(LEAST, ROUND_UP) == made)


RESTARTS = 4


def rests(operator: Process, cluster: Cluster) -> Iterator[str]:
    """A new process writes nothing, by its own count and the API server's; nothing ever crashed.

    On a slow machine a word of the scheduler may come between two processes, and is written down by
    the second. A process that writes at each start does so at the last of them, too.
    """
    operator.settled()
    for _ in range(RESTARTS):
        assert operator.stop() == 0
        since = audit.size()
        operator.start()
        writes, written = operator.settled(), list(audit.writes(since, cluster.namespace))
        if not writes and not written:
            break
    else:
        yield f"a new process made {writes} writes at rest"
        yield from (f"written at rest: {each}" for each in written)
    log = operator.log.read_text()
    if "Traceback" in log:
        yield f"the log has a traceback: {log[log.index('Traceback') :][:3000]}"


# ---- walks ---------------------------------------------------------------------------------------


class Walker:
    """A job and the edits that it goes through, with what must become of each."""

    def __init__(self, living: Living, seed: int, edits: list[Operation]) -> None:
        self.living, self.chance, self.edits = living, Random(seed), edits
        self.thing = living.create(start())
        self.wrong: list[str] = []

    def step(self, _: int) -> None:
        """One edit: it is done where only runPolicy changes, and else refused."""
        operation = self.chance.choice(self.edits)
        now = self.living.get(self.thing)
        spec = stored_spec(operation.on({**now, "status": {}}))
        try:
            self.living.replace(self.thing, spec)
            refused: list[tuple[str, str]] = []
        except ApiException as error:
            refused = causes(error)
        keys = spec.keys() | now["spec"].keys()
        changed = {key for key in keys if spec.get(key) != now["spec"].get(key)}
        frozen = {f"spec.{key}" for key in changed if key not in FREE["DinoJob"]}
        told = {field for field, said in refused if "is immutable" in said}
        if told != frozen or (refused and not frozen):
            self.wrong.append(f"{operation}: refused {refused}, to be refused {frozen}")

    def resume(self) -> None:
        """The last edit: nothing is held."""
        spec = self.living.get(self.thing)["spec"]
        spec["runPolicy"] = {**spec.get("runPolicy", {}), "suspend": False}
        self.living.replace(self.thing, spec)

    def twin(self) -> Object:
        """A job that is created with the last spec."""
        spec = self.living.get(self.thing)["spec"]
        return self.living.create({**start(), "spec": spec})


def start() -> Object:
    """A job of which pods can be made."""
    made = copied(BASES[EVERYTHING])
    for node in (made["spec"], made["spec"]["podTemplate"]):
        for name in MISSING:
            node.pop(name, None)
    return dict(made)


def stored_spec(manifest: Object) -> Object:
    spec = manifest["spec"]
    return dict(crd_schema.without_nulls(spec, crd_schema.of_spec(manifest["kind"])))


def steps() -> list[Operation]:
    """Edits of every kind: half of them are of what can be edited."""
    tried = [each for each in operations() if each.base == EVERYTHING]
    good = [each for each in tried if Judged(each.after()).is_taken]
    free = [each for each in good if each.at[0] == "runPolicy" and not stops(each)]
    others = [each for each in good if each.at[0] != "runPolicy"]
    return [*free, *chosen(others, len(free))[: len(free)]]


def stops(operation: Operation) -> bool:
    """Whether the job would end, now or soon."""
    at, value = operation.changes[0]
    ends_soon = at[-1] == "activeDeadlineSeconds" and isinstance(value, int) and value < SOON
    return ends_soon or (at[-1] == "stop" and value is True)


def test_walks_of_edits_end_where_their_ends_would_have_begun(operating: Operating) -> None:
    with operating("--progress-old-seconds", "86400") as (cluster, operator):
        living, edits = Living(cluster), steps()
        walkers = [Walker(living, seed, edits) for seed in range(API_WALKS)]
        until_trained(cluster, [each.thing for each in walkers], operator)
        for number in range(STEPS):
            several(lambda walker, number=number: walker.step(number), walkers)
            operator.settled()
        several(Walker.resume, walkers)
        twins = several(Walker.twin, walkers)
        until_trained(cluster, [*twins, *(each.thing for each in walkers)], operator)
        made, wrong = living.made(), [each for walker in walkers for each in walker.wrong]
        for walker, twin in zip(walkers, twins, strict=True):
            name = walker.thing["metadata"]["name"]
            one, other = runs(made, name), runs(made, twin["metadata"]["name"])
            wrong += [f"{name}: {each}" for each in differences(other, one)]
        wrong += rests(operator, cluster)
    print(f"{len(walkers)} walks of {STEPS} edits and more")
    assert not wrong, "\n".join(wrong)


def until_trained(cluster: Cluster, things: Sequence[Object], operator: Process) -> None:
    """Their data is good, and the Job of their work is there."""
    names = {f"{each['metadata']['name']}-train-1" for each in things}

    def there() -> bool:
        cluster.pass_preflights()
        return names <= {each["metadata"]["name"] for each in cluster.watched_jobs()}

    eventually(there, "all trainings")
    operator.settled()


def runs(made: dict[tuple[str, str], Object], name: str) -> Object:
    """What runs for a job and what is said of it, without its name and uid, and its deadline."""
    job, thing = made["Job", f"{name}-train-1"], made["DinoJob", name]
    uid = thing["metadata"]["uid"]
    spec = {key: value for key, value in job["spec"].items() if key != "selector"}
    limit = thing["spec"].get("runPolicy", {}).get("activeDeadlineSeconds")
    told = {"spec": spec, "phase": thing["status"]["phase"], "limit": limit}
    text = json.dumps(told, sort_keys=True)
    text = text.replace(uid, "UID").replace(job["metadata"]["uid"], "JOB")
    return dict(json.loads(text.replace(f"{name}-", "NAME-").replace(f'"{name}"', '"NAME"')))


def differences(wanted: Object, found: Object) -> Iterator[str]:
    """Of a deadline, what ran before is gone, on either side. Names have hashes of uids."""
    for each in (wanted, found):
        limit, left = each["limit"], each["spec"].pop("activeDeadlineSeconds", None)
        if (limit is None) != (left is None) or (left or 0) > (limit or 0):
            yield f"activeDeadlineSeconds is {left}, of {limit}"
        unhash(each)
    if wanted != found:
        yield f"it is {json.dumps(found)}, not {json.dumps(wanted)}"


def unhash(thing: Object) -> None:
    """Takes out the names of ConfigMap and Service, which hold a hash of the uid."""
    pod = thing["spec"]["template"]["spec"]
    pod.pop("subdomain", None)
    for volume in pod["volumes"]:
        if volume["name"] == "spec":
            del volume["configMap"]["name"]
    for variable in pod["containers"][0]["env"]:
        if variable["name"] == "DINO_RDZV_ENDPOINT":
            del variable["value"]
