"""Answers of a real API server (Kubernetes 1.34), as captured; `{kind}` and `{name}` are the
child's. tests/api/test_operator_refused.py has the same from the API server itself."""

from __future__ import annotations

from dataclasses import dataclass

from dino_operator.plan.observed.children import Refusal, StatusCause
from dino_operator.runtime.client import ApiError


@dataclass(frozen=True)
class RefusingAnswer:
    """What came, and what the condition Running then has as its reason."""

    status: int
    reason: str
    message: str
    causes: tuple[StatusCause, ...] = ()
    judged: str = "PolicyDenied"

    def error(self, kind: str = "Job", name: str = "x") -> ApiError:
        """As the client raises it."""
        message = self.message.replace("{kind}", kind).replace("{name}", name)
        return ApiError(self.status, self.reason, message, self.causes)

    def refusal(self, kind: str = "Job", name: str = "x", heard: int = 0) -> Refusal:
        """As a plan gets it, of a create."""
        error = self.error(kind, name)
        answer = (error.status, error.reason, error.message, error.causes)
        return Refusal("create", kind, name, *answer, heard)


_POLICY = "ValidatingAdmissionPolicy 'labels' with binding 'all' denied request: no label team"
_CALLING = 'failed calling webhook "mjob.kb.io": failed to call webhook: '
_CLOSED = (
    'Post "https://127.0.0.1:9/?timeout=2s": dial tcp 127.0.0.1:9: connect: connection refused'
)
_DENIED = 'admission webhook "validate.kyverno.svc" denied the request: no label team'
_FIELD = StatusCause("FieldValueInvalid", "metadata.labels", "bad")

WAITED_FOR = {
    "quota": RefusingAnswer(
        403,
        "Forbidden",
        '{kind} "{name}" is forbidden: exceeded quota: few, requested: count/{kind}=1, '
        "used: count/{kind}=0, limited: count/{kind}=0",
        judged="QuotaExceeded",
    ),
    "policy, Invalid": RefusingAnswer(
        422,
        "Invalid",
        f'{{kind}} "{{name}}" is forbidden: {_POLICY}',
        (StatusCause(message=_POLICY),),
    ),
    "policy, Forbidden": RefusingAnswer(
        403,
        "Forbidden",
        f'{{kind}} "{{name}}" is forbidden: {_POLICY}',
        (StatusCause(message=_POLICY),),
    ),
    "webhook denies, no code": RefusingAnswer(400, "", _DENIED),
    "webhook denies, 403": RefusingAnswer(403, "", _DENIED),
    "webhook denies, 422 with fields": RefusingAnswer(422, "Invalid", _DENIED, (_FIELD,)),
    "webhook denies, 429": RefusingAnswer(429, "", _DENIED),
    "webhook denies, 503": RefusingAnswer(503, "", _DENIED),
    "webhook closed": RefusingAnswer(
        500,
        "InternalError",
        f"Internal error occurred: {_CALLING}{_CLOSED}",
        (StatusCause(message=f"{_CALLING}{_CLOSED}"),),
        "WebhookUnavailable",
    ),
    "webhook answers 503": RefusingAnswer(
        500,
        "InternalError",
        f"Internal error occurred: {_CALLING}the server is currently unable to handle the request",
        judged="WebhookUnavailable",
    ),
    "no right": RefusingAnswer(
        403,
        "Forbidden",
        '{kind} is forbidden: User "system:serviceaccount:dino-system:dino-operator" cannot create '
        'resource "{kind}" in API group "" in the namespace "team"',
        judged="NotPermitted",
    ),
    "another plugin": RefusingAnswer(403, "Forbidden", '{kind} "{name}" is forbidden: not today'),
    "too many requests": RefusingAnswer(
        429,
        "TooManyRequests",
        "The server has received too many requests and has asked us to try again later",
        judged="APIServerUnavailable",
    ),
    "unavailable": RefusingAnswer(
        503,
        "ServiceUnavailable",
        "the server is currently unable to handle the request",
        judged="APIServerUnavailable",
    ),
    "etcd": RefusingAnswer(500, "", "etcdserver: request timed out", judged="APIServerUnavailable"),
    "no answer": RefusingAnswer(0, "Unreachable", "TimeoutError()", judged="APIServerUnavailable"),
    "gone": RefusingAnswer(
        404,
        "NotFound",
        "the server could not find the requested resource",
        judged="APIServerUnavailable",
    ),
}
"""The cluster's, which may change."""

TERMINATING = RefusingAnswer(
    403,
    "Forbidden",
    '{kind} "{name}" is forbidden: unable to create new content in namespace team because it is '
    "being terminated",
    (
        StatusCause(
            "NamespaceTerminating", "metadata.namespace", "namespace team is being terminated"
        ),
    ),
)
INVALID = RefusingAnswer(
    422,
    "Invalid",
    '{kind} "{name}" is invalid: spec.template.spec.tolerations[0].key: Invalid value: "a b": name '
    "part must consist of alphanumeric characters, '-', '_' or '.'",
    (
        StatusCause(
            "FieldValueInvalid", "spec.template.spec.tolerations[0].key", 'Invalid value: "a b"'
        ),
    ),
    "InvalidSpec",
)
