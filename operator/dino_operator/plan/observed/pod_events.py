"""Why no pod comes or starts: words of the API server and the kubelet, and what to do.

Nothing but events holds them. They are read only for a Job or a pod that waits for longer than
most do, see `Plan.asks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from dino_api.names import ConditionReason
from dino_operator.plan.observed.event import SeenEvent
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod

NOT_CREATED, CREATED = "FailedCreate", "SuccessfulCreate"
NOT_STARTED = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})
STARTED = frozenset({"Pulling", "Pulled", "Created", "Started"})
OTHERS = "ask whoever keeps what the message names"
_WITHIN = (
    "keep spec.resources of a new job within the namespace's LimitRange (kubectl describe "
    "limitrange)"
)
_REFUSALS = (
    (
        r"exceeded quota",
        "free some of the quota (kubectl describe resourcequota), have it raised, or ask for less "
        "by spec.resources in a new job",
    ),
    (
        r"failed quota",
        "the quota demands what is named to be given: set spec.resources.cpu and "
        "spec.resources.memory in a new job",
    ),
    (
        r"must be less than or equal to \w+ limit",
        "the default limit of a LimitRange is less than is requested: set spec.resources.cpu and "
        "spec.resources.memory in a new job",
    ),
    (r"(maximum|minimum) \S+ usage per|limit to request ratio per", _WITHIN),
    (
        r"no PriorityClass with name",
        "create the PriorityClass, or name another one in spec.priorityClassName of a new job",
    ),
    (
        r"RuntimeClass",
        "create the RuntimeClass, or name another one in spec.podTemplate.runtimeClassName of a "
        "new job",
    ),
    (
        r"violates PodSecurity",
        "what is named comes from spec.podTemplate, or from what changes pods in this cluster: "
        "take it away, or have the namespace's Pod Security level lowered",
    ),
    (
        r"ValidatingAdmissionPolicy|denied (the )?request",
        "meet the policy by labels and annotations of spec.podTemplate in a new job, or ask "
        "whoever keeps it",
    ),
    (r"failed calling webhook", "bring the webhook's service up, or ask whoever keeps it"),
    (r"service ?account", "nothing: the operator makes the service account again"),
)
"""What an API server's sentence tells, in the order in which it is asked."""
_PROBLEMS = (
    (
        r'configmap "\S+" not found',
        "nothing where the operator made it: it is made again; else create it",
    ),
    (
        r"secret .*not found|couldn't find key \S+ in Secret",
        "create the Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the job's is "
        "named in spec.storage.secretName, or else by the Helm value s3.secretName",
    ),
    (
        r"no runtime for|RuntimeHandler",
        "install the runtime on the node, or name another RuntimeClass in "
        "spec.podTemplate.runtimeClassName of a new job",
    ),
    (
        r"persistentvolumeclaim|PersistentVolume|[Vv]olume",
        "look at the volume that is named, kubectl describe pvc; that of the cache is named in "
        "spec.cache.claimName, or else by the Helm value cache.claimName",
    ),
)
_REASONS = (
    (r"(exceeded|failed) quota", ConditionReason.QUOTA_EXCEEDED),
    (r"violates PodSecurity|denied (the )?request", ConditionReason.POLICY_DENIED),
    (r"failed calling webhook", ConditionReason.WEBHOOK_UNAVAILABLE),
)
_PREFIX = re.compile(r"^(\(combined from similar events\): )?(Error creating: )?")
_NUMBER = re.compile(r" ?\"?\b[0-9a-f]{64}\b\"?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")
_USED = re.compile(r", used: .*?(?=, limited: )")


def refusal(job: Job, events: Iterable[SeenEvent], since: datetime) -> tuple[str, str] | None:
    """(reason, sentence) where the newest that the Job controller says is that no pod is created.

    since: when the Job began to lack its pod; what was said before is about another one.
    """
    relevant = [each for each in events if each.reason in (NOT_CREATED, CREATED)]
    newest = max(relevant, key=_of_age, default=None)
    if newest is None or newest.reason == CREATED or newest.seen_at < since:
        return None
    words = without_counters(newest.message, job.name)
    known = (reason for pattern, reason in _REASONS if re.search(pattern, words))
    what = f"no pod is created: {words}"
    sentence = f"{_with_remedy(what, _REFUSALS, OTHERS)} The Job is tried again by itself."
    return next(known, ConditionReason.PODS_REFUSED), sentence


def without_counters(message: str, job: str) -> str:
    """The sentence without what changes at each try: the random name, the time, and what others
    use."""
    words = _MOMENT.sub("…", _USED.sub("", _PREFIX.sub("", message)))
    return re.sub(rf'"{re.escape(job)}(-\d+)?-[a-z0-9]{{5}}"', f'"{job}"', words)


def hindrance(pod: Pod, events: Iterable[SeenEvent]) -> str:
    """What the kubelet lacks for the pod, and what to do; empty where it does not say, or has
    come further since."""
    relevant = [each for each in events if each.reason in NOT_STARTED | STARTED]
    newest = max(relevant, key=lambda each: each.seen_at, default=None)
    if newest is None or newest.reason in STARTED:
        return ""
    return about(pod, _PREFIX.sub("", newest.message))


def about(pod: Pod, words: str) -> str:
    """A sentence on a pod that does not start, with what to do where that is known.

    Each try has another time, and another sandbox or container, whose number says nothing.
    """
    words = " ".join(_MOMENT.sub("…", _NUMBER.sub("", words)).split())
    return _with_remedy(f"pod {pod.name}: {words}", _PROBLEMS, "")


def _with_remedy(message: str, table: Sequence[tuple[str, str]], otherwise: str) -> str:
    remedy = next((what for pattern, what in table if re.search(pattern, message)), otherwise)
    return f"{message.rstrip('.')}. Remedy: {remedy}." if remedy else message


def _of_age(event: SeenEvent) -> tuple[datetime, bool]:
    """Sorts by age. Of two in one second a failure is the later: a pod that was made is seen."""
    return event.seen_at, event.reason == NOT_CREATED
