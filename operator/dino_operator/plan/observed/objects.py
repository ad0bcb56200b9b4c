"""Questions about Jobs and pods, answered from what the API server says of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from dino_api.names import Label
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Condition, Object

CONTAINER = "trainer"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def parse_time(text: str) -> datetime:
    """An RFC 3339 time of the API server."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def format_time(when: datetime) -> str:
    """Whole seconds in UTC, as the API server writes them."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid_of(thing: Object) -> str:
    """The uid of an object."""
    return str(thing["metadata"]["uid"])


def name_of(thing: Object) -> str:
    """The name of an object."""
    return str(thing["metadata"]["name"])


def controller_uid(thing: Object) -> str | None:
    """The uid of the controlling owner, or None for an orphan."""
    for owner in thing["metadata"].get("ownerReferences", []):
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def annotation(thing: Object, key: Annotation) -> str:
    """The value of one of our annotations, or an empty string."""
    return str(thing["metadata"].get("annotations", {}).get(key.value, ""))


def attempt_of(thing: Object) -> int:
    """The attempt a child belongs to; 0 where someone removed the label."""
    text = str(thing["metadata"].get("labels", {}).get(Label.ATTEMPT.value, ""))
    return int(text) if text.isdigit() else 0


def is_true(thing: Object, kind: str) -> bool:
    """Whether the condition of that type is True."""
    found = Condition.of(thing, kind)
    return found is not None and found.is_true


def is_suspended(job: Object) -> bool:
    """Whether the Job is asked to have no pods."""
    return bool(job.get("spec", {}).get("suspend"))


def is_live(pod: Object) -> bool:
    """Whether the pod may still hold a GPU: it has not ended, even if it is being deleted."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def is_running(pod: Object) -> bool:
    """Whether the trainer's container runs and nobody asked the pod to go."""
    running = pod.get("status", {}).get("phase") == "Running"
    return running and "deletionTimestamp" not in pod["metadata"]


def born(thing: Object) -> tuple[str, str]:
    """Sorts by age; equal seconds by name, so that every reader chooses the same one."""
    return str(thing["metadata"].get("creationTimestamp", "")), name_of(thing)


def pods_of(job: Object, pods: Iterable[Object]) -> list[Object]:
    """The Job's pods, oldest first."""
    return sorted((pod for pod in pods if controller_uid(pod) == uid_of(job)), key=born)


def index_of(pod: Object) -> int:
    """Which of several pods of a Job it is; 0 where there is one."""
    text = str(pod["metadata"].get("labels", {}).get(INDEX_LABEL, ""))
    return int(text) if text.isdigit() else 0


def by_index(pods: Iterable[Object]) -> list[Object]:
    """The newest pod of each index, in their order. pods: oldest first."""
    newest = {index_of(pod): pod for pod in pods}
    return [newest[index] for index in sorted(newest)]


def finished_at(job: Object) -> str:
    """When the Job ended, as text; empty while it runs."""
    for kind in ("Complete", "Failed"):
        found = Condition.of(job, kind)
        if found is not None and found.is_true:
            return str(job["status"].get("completionTime") or found.since)
    return ""


def seconds_run(job: Object) -> int:
    """How long a finished Job was active, by its own clock."""
    started, ended = job.get("status", {}).get("startTime"), finished_at(job)
    if not started or not ended:
        return 0
    return max(0, round((parse_time(ended) - parse_time(started)).total_seconds()))


def container_state(pod: Object, kind: str) -> Object | None:
    """The trainer container's state of that kind (running, waiting, terminated), if it is in it."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        if status.get("name") == CONTAINER:
            found = status.get("state", {}).get(kind)
            return None if found is None else dict(found)
    return None


def started_at(pod: Object) -> str:
    """When the trainer's container started, as text; empty where the pod does not say."""
    running = container_state(pod, "running") or container_state(pod, "terminated") or {}
    return str(running.get("startedAt") or pod.get("status", {}).get("startTime") or "")


def unschedulable(pod: Object) -> str:
    """What the scheduler says of a pod that no node takes; empty where it says nothing."""
    placed = Condition.of(pod, "PodScheduled")
    if placed is None or placed.is_true or placed.reason != "Unschedulable":
        return ""
    return placed.message


def unplaced_since(pod: Object) -> datetime:
    """When the scheduler first found no node, or else when the pod was created."""
    placed = Condition.of(pod, "PodScheduled")
    return parse_time(str((placed and placed.since) or pod["metadata"]["creationTimestamp"]))


def waiting_since(pod: Object) -> datetime:
    """When the pod was placed on its node, or else created."""
    placed = Condition.of(pod, "PodScheduled")
    when = placed.since if placed and placed.is_true else None
    return parse_time(str(when or pod["metadata"]["creationTimestamp"]))
