"""Why no node takes a pod: the scheduler's own words, what they mean, and what to do."""

from __future__ import annotations

import re

from dino_api import names as api
from dino_operator.plan.model import Condition
from dino_operator.plan.observed.pod import Pod

_REMEDIES = (
    (
        f"Insufficient {api.GPU_RESOURCE}",
        "wait for GPUs to come free, add a node that has as many, "
        "or ask for fewer by spec.resources.gpus in a new job",
    ),
    ("Insufficient cpu", "wait for CPUs to come free, or ask for less by spec.resources.cpu"),
    (
        "Insufficient memory",
        "wait for memory to come free, or ask for less by spec.resources.memory",
    ),
    ("untolerated taint", "add the taint to spec.podTemplate.tolerations"),
    (
        "affinity/selector",
        "compare spec.podTemplate.nodeSelector and affinity with the labels of the nodes",
    ),
    ("were unschedulable", "let pods onto the node again by kubectl uncordon, or add another node"),
    ("persistentvolumeclaim", "create the claim that spec.cache.claimName names, or leave it out"),
)

_ASIDES = re.compile(r"\.? (?:no new claims to deallocate|preemption:)")
"""What the scheduler adds about making room."""


def missing(pod: Pod) -> str:
    """The scheduler's reasons, without counts of nodes, which change by themselves."""
    reasons = _ASIDES.split(pod.unschedulable)[0]
    wants = reasons.split("nodes are available:")[-1].strip().rstrip(".")
    parts = sorted({re.sub(r"^\d+ ", "", part.strip()) for part in wants.split(", ")})
    return ", ".join(part for part in parts if part)


def sentence(pod: Pod, gpus: int) -> str:
    """A sentence for the status: what no node has, and what to do about it.

    gpus: those that the pod asks for.
    """
    words = missing(pod)
    nodes = re.match(r"\d+/\d+ nodes", pod.unschedulable)
    short = f"Insufficient {api.GPU_RESOURCE}" in words and gpus
    has = f"have {gpus} free {api.GPU_RESOURCE}" if short else "have what the pod needs"
    who = nodes[0] if nodes else "no nodes"
    remedies = "; ".join(remedy for part, remedy in _REMEDIES if part in words)
    message = f"{who} {has}: {words}"
    return f"{message}. Remedy: {remedies}." if remedies else message


def overlooked(pod: Pod) -> str:
    """A sentence for the status: why the scheduler has said nothing of a node for long, as far
    as the pod tells."""
    placed = pod.condition("PodScheduled") or Condition(False)
    name = pod.name
    if placed.reason:
        message = f": {placed.message}" if placed.message else ""
        return (
            f"pod {name} is not scheduled ({placed.reason}){message}. Remedy: ask whoever runs "
            "what holds it back; a scheduling gate is taken away by whoever set it."
        )
    return (
        f"no scheduler has looked at pod {name}. Remedy: ask the cluster's administrator whether "
        "kube-scheduler runs."
    )
