"""Labels and annotations that children take over, so that policies which demand some can be met.

Whatever its owner says in its metadata and in podTemplate reaches every child, but for the marks by
which tools know what is theirs: Argo CD, for one, would delete a child that carries its label.
`docs/decisions/0019-children-take-over-labels.md` has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping

from dino_api.names import GROUP, MANAGED_BY_LABEL
from dino_operator.plan.model import Object
from dino_operator.plan.observed.resource import Resource

MARKS = frozenset({"app.kubernetes.io/instance", MANAGED_BY_LABEL, "controller-uid", "job-name"})
"""Labels by which Argo CD, Helm and the Job controller find what is theirs."""
DOMAINS = (
    GROUP,
    "kueue.x-k8s.io",
    "argocd.argoproj.io",
    "toolkit.fluxcd.io",
    "helm.sh",
    "kubectl.kubernetes.io",
    "batch.kubernetes.io",
    "katib.kubeflow.org",
    "kapp.k14s.io",
    "cattle.io",
    "config.k8s.io",
    "config.kubernetes.io",
    "applyset.kubernetes.io",
)
"""Whose keys, and those of their subdomains, mean one object and not its children."""
SELECTING = frozenset({"app", "k8s-app", "name", "run", "component", "tier", "role", "release"})
SELECTING_DOMAIN = "app.kubernetes.io"
"""Labels by which Services, PodDisruptionBudgets and network policies choose pods."""


def is_usual(key: str) -> bool:
    """Whether children take over the label or annotation of that key."""
    domain, slash, _ = key.partition("/")
    theirs = bool(slash) and any(domain == each or domain.endswith(f".{each}") for each in DOMAINS)
    return key not in MARKS and not theirs


def labels(resource: Resource) -> dict[str, str]:
    """Labels of the metadata, and over them those of podTemplate."""
    return _usual(resource.labels) | _usual(resource.pod_template.get("labels"))


def notes(resource: Resource) -> dict[str, str]:
    """Annotations of the metadata, and over them those of podTemplate."""
    return _usual(resource.annotations) | _usual(resource.pod_template.get("annotations"))


def to_pods(resource: Resource) -> dict[str, str]:
    """Labels of the metadata that pods get: not those by which a Service of the same application
    would send its users to a training. podTemplate may have them: there somebody wished it."""
    return {key: text for key, text in _usual(resource.labels).items() if not _selects(key)}


def merged(resource: Resource, ours: dict[str, str]) -> Object:
    """The part of a child's metadata that has labels and annotations. Ours win."""
    theirs = notes(resource)
    made: Object = {"labels": {**labels(resource), **ours}}
    return {**made, "annotations": theirs} if theirs else made


def _selects(key: str) -> bool:
    return key in SELECTING or key.startswith(f"{SELECTING_DOMAIN}/")


def _usual(texts: Mapping[str, str] | None) -> dict[str, str]:
    return {key: text for key, text in (texts or {}).items() if is_usual(key)}
