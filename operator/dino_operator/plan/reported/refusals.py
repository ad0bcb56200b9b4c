"""What the API server refused: what ends a job, what is waited for, what is said, whom to ask.

Only the API's own validation speaks of the spec. Quotas, policies, rights and webhooks are the
cluster's, and may change: the job waits, and goes on by itself.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from dino_api.names import (
    AUTOML_KIND,
    KIND,
    ConditionReason,
    ConditionType,
    EventReason,
    FailureReason,
    Phase,
)
from dino_operator.plan.model import Condition, Event, Plan
from dino_operator.plan.observed import failure
from dino_operator.plan.observed.children import Refusal
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.resource import Resource
from dino_operator.plan.reported import conditions
from dino_operator.plan.reported.conditions import State

REASONS = frozenset(
    {
        ConditionReason.QUOTA_EXCEEDED,
        ConditionReason.POLICY_DENIED,
        ConditionReason.PODS_REFUSED,
        ConditionReason.NOT_PERMITTED,
        ConditionReason.WEBHOOK_UNAVAILABLE,
        ConditionReason.API_UNAVAILABLE,
        ConditionReason.CHANGE_REFUSED,
    }
)
FROM_THE_SPEC = frozenset({"Job", "ConfigMap", "Service", KIND, AUTOML_KIND, "Experiment"})
"""Kinds that hold what users wrote; in the others nothing of the spec can be invalid."""
NAMESPACE_TERMINATING = "NamespaceTerminating"
LASTS_AFTER = 3
"""Times that one passing answer must come before there is an event of it."""

_POLICY = re.compile(r"(\w*[Pp]olicy) '([^']+)' with binding '([^']+)' denied request")
_DENIED = re.compile(r'admission webhook "([^"]+)" denied the request')
_NAMED = (
    (
        re.compile(r'failed calling webhook "([^"]+)"'),
        ConditionReason.WEBHOOK_UNAVAILABLE,
        "Ask the cluster's administrator to look at the pods behind the webhook {} (kubectl get "
        "mutatingwebhookconfigurations,validatingwebhookconfigurations); it goes on by itself once "
        "the webhook answers.",
    ),
    (
        re.compile(r"(?:exceeded quota: |failed quota: |status unknown for quota: )([^,:\s]+)"),
        ConditionReason.QUOTA_EXCEEDED,
        "Delete what is not needed (kubectl describe resourcequota {} says what counts), or ask "
        "the cluster's administrator to raise it; it goes on by itself once there is room.",
    ),
)
"""By the answer's words: the name of what refuses or is away, the reason, what to do about it."""
_RIGHT = re.compile(r"cannot [a-z]+ resource|attempting to grant RBAC|blockOwnerDeletion")
_FROM_PORT = re.compile(r"\S+:\d+->")
"""A connection's own end, which is another one each time."""
_NUMBERED = re.compile(r"[\w:.+-]*\d[\w:.+-]*")
_OF_KATIB = ".katib.kubeflow.org"


@dataclass(frozen=True)
class Judgement:
    """What a refusal means. ends: waiting would be in vain, since the spec itself is invalid."""

    reason: str
    sentence: str
    remedy: str = ""
    ends: bool = False

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to say, nor to try again: the namespace goes."""
        return self.reason == NAMESPACE_TERMINATING

    @property
    def lasts(self) -> bool:
        """Whether somebody has to do something before it can be taken."""
        return self.reason != ConditionReason.API_UNAVAILABLE

    @property
    def message(self) -> str:
        """The sentence and the remedy, as conditions and events have them."""
        return f"{self.sentence}. {self.remedy}".strip()


def judge(refusal: Refusal) -> Judgement:
    """The judgement, by the answer's causes and words: statuses alone do not tell them apart."""
    known = (_terminating, _policy, _named, _invalid, _right, _forbidden)
    judgements = (look(refusal) for look in known)
    return next((each for each in judgements if each is not None), _passing(refusal))


def without_numbers(words: str) -> str:
    """What the same answer has in common with itself from try to try: not the time, the id of a
    request, a port, or how much of a quota is used."""
    return _NUMBERED.sub("#", words)


def denied(resource: Resource, refusal: Refusal | None) -> Condition | None:
    """What condition Running says while something cannot be made; None where nothing is refused,
    or waiting would be in vain.

    Of two quotas one may answer now and the other next: words that were heard before change
    nothing.
    """
    if refusal is None or refusal.verb != "create" or judge(refusal).ends:
        return None
    return _condition(resource, refusal)


def _condition(resource: Resource, refusal: Refusal) -> Condition:
    judged = judge(refusal)
    before = resource.condition(ConditionType.RUNNING)
    same = before is not None and refusal.heard and before.reason == judged.reason
    return Condition(False, judged.reason, before.message if before and same else judged.message)


def end(refusal: Refusal | None) -> Cause | None:
    """Why the job or the search ends, if it does: what is in its spec can never be made."""
    if refusal is None or refusal.verb != "create":
        return None
    judged = judge(refusal)
    return failure.cause(FailureReason.INVALID_SPEC, judged.sentence) if judged.ends else None


def obstacle(resource: Resource, refusal: Refusal | None) -> State | None:
    """The state of a job of which a child cannot be made; None where nothing is refused."""
    condition = denied(resource, refusal)
    return (
        conditions.waiting(condition.reason, condition.message, Phase.PENDING)
        if condition
        else None
    )


def is_of_a_change(refusal: Refusal | None) -> bool:
    """Whether something that exists was not changed, deleted or read."""
    return refusal is not None and refusal.verb != "create"


def unchanged(resource: Resource, plan: Plan, refusal: Refusal) -> Plan | None:
    """A plan that says that the change was refused: all else is as the plan, or the status, has it.

    None where there is no status so far.
    """
    desired = copy.deepcopy(plan.status or conditions.ours(resource))
    for each in desired.get("conditions", []):
        if each["type"] == ConditionType.RUNNING.value:
            condition = _condition(resource, refusal)
            each.update(
                reason=str(condition.reason),
                message=condition.message[: conditions.LONGEST_MESSAGE],
            )
            desired["observedGeneration"] = resource.generation
            return Plan(
                status=conditions.changed(resource, desired),
                events=(*plan.events, *events(resource, condition)),
            )
    return None


def events(resource: Resource, running: Condition) -> tuple[Event, ...]:
    """One event when something is refused at first; of what may pass at once, once it lasts."""
    before = resource.condition(ConditionType.RUNNING)
    same = before is not None and before.reason == running.reason
    new = running.reason in REASONS and not same
    if not new or running.reason == ConditionReason.API_UNAVAILABLE:
        return ()
    return (Event(EventReason.REFUSED, running.message, running.message, warning=True),)


def lasting(resource: Resource, refusal: Refusal) -> tuple[Event, ...]:
    """The event of an answer that was expected to pass and did not."""
    judged = judge(refusal)
    lasts = refusal.heard == LASTS_AFTER and judged.reason == ConditionReason.API_UNAVAILABLE
    if not lasts or resource.is_finished:
        return ()
    return (Event(EventReason.REFUSED, judged.message, judged.message, warning=True),)


def of_status(message: str) -> Event:
    """The event of a status that the API server does not take: nothing else can say it."""
    text = (
        f"The API server refuses what is to be said of it: {message}. Update the CRDs to those of "
        "the operator's version, or create it again without what is named here"
    )
    return Event(EventReason.REFUSED, text, "status", warning=True)


# ---- one answer after the other ----------------------------------------------------------------


def _what(refusal: Refusal) -> str:
    named = f"{refusal.kind} {refusal.name}"
    return {
        "create": f"the API server refuses {named}",
        "patch": f"the API server refuses a change of {named}",
        "delete": f"the API server does not delete {named}",
        "read": f"the API server does not show {named}",
    }[refusal.verb]


def _sentence(refusal: Refusal) -> str:
    """Whose words they are, and the words."""
    message = _FROM_PORT.sub("", refusal.message).strip().rstrip(".")
    return f"{_what(refusal)}: {message or refusal.reason or refusal.status}"


def _terminating(refusal: Refusal) -> Judgement | None:
    if not any(each.reason == NAMESPACE_TERMINATING for each in refusal.causes):
        return None
    return Judgement(NAMESPACE_TERMINATING, _sentence(refusal))


def _policy(refusal: Refusal) -> Judgement | None:
    """A denial, which is asked for before all that goes by the status: each chooses its own."""
    policy, webhook = _POLICY.search(refusal.message), _DENIED.search(refusal.message)
    if policy is not None:
        return _denied(refusal, f"{policy[1]} {policy[2]} (binding {policy[3]})")
    if webhook is None:
        return None
    own = refusal.kind == "Experiment" and webhook[1].endswith(_OF_KATIB)
    if own and refusal.status < 500:
        return Judgement(FailureReason.KATIB_FAILED, _sentence(refusal), ends=True)
    return _denied(refusal, f"the webhook {webhook[1]}")


def _denied(refusal: Refusal, who: str) -> Judgement:
    remedy = (
        f"Ask the cluster's administrator, whose rule it is: {who}. Labels and annotations that it "
        "demands can be set in metadata (kubectl label), or in spec.podTemplate of a new job; it "
        "goes on by itself once this is allowed."
    )
    return Judgement(ConditionReason.POLICY_DENIED, _sentence(refusal), remedy)


def _named(refusal: Refusal) -> Judgement | None:
    """An answer whose words name what has to change."""
    for pattern, reason, remedy in _NAMED:
        if name := pattern.search(refusal.message):
            return Judgement(reason, _sentence(refusal), remedy.format(name[1]))
    return None


def _invalid(refusal: Refusal) -> Judgement | None:
    """The API's own validation, whose causes name fields, and what cannot even be read."""
    if refusal.status not in (400, 413, 422) or not refusal.reason:
        return None  # without a reason it is not the API server that speaks, but a proxy before it
    if refusal.causes and not any(each.field for each in refusal.causes):
        return _denied(refusal, "the answer does not name it")
    if refusal.verb == "create" and refusal.kind in FROM_THE_SPEC:
        return Judgement(FailureReason.INVALID_SPEC, _sentence(refusal), ends=True)
    remedy = "Take the change back, or make one that the message allows."
    return Judgement(ConditionReason.CHANGE_REFUSED, _sentence(refusal), remedy)


def _right(refusal: Refusal) -> Judgement | None:
    if refusal.status != 403 or not _RIGHT.search(refusal.message):
        return None
    remedy = (
        "Ask the cluster's administrator to give the operator's account this right: helm upgrade "
        "applies the roles of the chart; it goes on by itself afterwards."
    )
    return Judgement(ConditionReason.NOT_PERMITTED, _sentence(refusal), remedy)


def _forbidden(refusal: Refusal) -> Judgement | None:
    """A denial by an admission plugin that says it in its own words."""
    return _denied(refusal, "the message says which") if refusal.status == 403 else None


def _passing(refusal: Refusal) -> Judgement:
    """Overload, a restart, a timeout: it is tried again soon."""
    remedy = "It is tried again; if it lasts, ask the cluster's administrator."
    message = _sentence(refusal)
    if refusal.status == 0:  # the connection's own words differ from time to time
        message = f"{_what(refusal)}: no answer came"
    return Judgement(ConditionReason.API_UNAVAILABLE, message, remedy)
