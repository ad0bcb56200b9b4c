"""Where the memory limit of a pod came from: what gives it more must name what can be changed."""

from __future__ import annotations

from dino_api.memory import MORE
from dino_api.names import FailureReason
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.observed.pod import Pod

LIMIT_RANGER = "kubernetes.io/limit-ranger"
"""Kubernetes' annotation of a pod in which a LimitRange set something: "LimitRanger plugin set:
cpu, memory request for container a; memory limit for container a"."""
_MORE = MORE[FailureReason.OUT_OF_MEMORY]
_OF_RANGE = (
    "the limit is a default of the namespace's LimitRange (kubectl get limitrange), since "
    "spec.resources.memory is absent: set it to more"
)
_OF_NODE = (
    "the pod has no memory limit, so the node had no memory left: set spec.resources.memory, "
    "which reserves it"
)


def killed(pod: Pod) -> str:
    """What happened to a container of which the kernel killed a process."""
    limit = pod.memory_limit
    if limit == "":
        return "the kernel killed a process: the pod has no memory limit, and its node none left"
    of = f" of {limit}" if limit else ""
    whose = ", the default of a LimitRange" if limit and _is_of_range(pod) else ""
    return f"{FailureReason.OUT_OF_MEMORY.when}{of}{whose}"


def more(pod: Pod, of_node: bool = False) -> str:
    """What gives the pod more memory, by where the limit came from.

    of_node: the node lacked memory, whatever the pod's limit is.
    """
    limit = pod.memory_limit
    if limit == "":
        return _OF_NODE
    if limit is None or of_node:
        return _MORE
    return _OF_RANGE if _is_of_range(pod) else f"the limit is spec.resources.memory: {_MORE}"


def _is_of_range(pod: Pod) -> bool:
    set_by_range = (
        str(pod.annotations.get(LIMIT_RANGER, "")).rpartition("plugin set: ")[2].split("; ")
    )
    ours = f" limit for container {CONTAINER}"
    return any(each.endswith(ours) and "memory" in each for each in set_by_range)
