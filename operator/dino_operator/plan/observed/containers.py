"""The containers beside the trainer's: what others put into the pod, and what became of it."""

from __future__ import annotations

from datetime import datetime

from dino_api import rfc3339
from dino_operator.plan.observed.pod import INIT, SIDECAR, Container, Pod, Termination

PULL_PROBLEMS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
START_PROBLEMS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
CRASHES = "CrashLoopBackOff"
LONGEST = 1000
"""Characters of what a container left, which may be the end of its log."""


def failed(pod: Pod) -> str:
    """The end of the container that made the pod fail, where that was not the trainer's.

    A sidecar that is an init container ends when the trainer has, whatever its code: it matters
    only where the trainer never ran.
    """
    trainer = pod.ended
    if trainer is not None and trainer.exit_code != 0:
        return ""
    kinds = (INIT, SIDECAR) if trainer is None else (SIDECAR,)
    for each in pod.containers:
        if each.kind in kinds and not each.is_trainer and each.ended and each.ended.exit_code:
            return f"{each.called} {_end(each.ended)}"
    return ""


def _end(ended: Termination) -> str:
    """How it ended, in the words of the kubelet and of the container itself."""
    message = f"ended with exit code {ended.exit_code or 0}"
    message += "" if ended.reason in ("", "Error") else f" ({ended.reason})"
    left = ended.message.strip()[-LONGEST:]
    return f"{message}: {left}" if left else message


def cannot_start(pod: Pod) -> tuple[str, str] | None:
    """(reason, message) of the first container that waits for more than time, or None."""
    for each in pod.containers:
        reason, message = each.waits_for
        if reason == CRASHES:
            return reason, f"{each.called} is started again and again; {_last_end(each)}"
        if reason in PULL_PROBLEMS | START_PROBLEMS:
            # The kubelet alternates between the error and the back-off that quotes it.
            words = message.split("ErrImagePull: ")[-1] or reason
            return reason, words if each.is_trainer else f"{each.called}: {words}"
    return None


def _last_end(container: Container) -> str:
    """Its last end, without the count of its starts, which grows."""
    ended = container.last_end
    return f"it {_end(ended)}" if ended else "it does not say why"


def awaited(pod: Pod) -> str:
    """The init container that runs, while the trainer waits for its end; empty where none does."""
    if pod.trainer and (pod.trainer.runs or pod.ended):
        return ""
    return next((each.called for each in pod.containers if each.kind == INIT and each.runs), "")


def outlives(pod: Pod) -> tuple[str, datetime] | None:
    """What keeps a pod whose trainer has ended, and since when; None where nothing does.

    Sidecars that are init containers are ended by the kubelet once the trainer has ended.
    """
    ended = pod.ended
    if ended is None or not ended.finished_at or not pod.is_live:
        return None
    others = [each.called for each in pod.containers if each.kind == SIDECAR and each.runs]
    names = " and ".join(others)
    return (names, rfc3339.parse(ended.finished_at)) if names else None


def keeps(pod: Pod, names: str) -> str:
    """The sentence on such a pod, and what to do. names: of the containers that keep it."""
    code = pod.ended.exit_code if pod.ended else None
    name = pod.name
    return (
        f"the trainer of pod {name} ended with exit code {code}, and {names} keeps the pod, and "
        "all that it holds, from ending. Remedy: end that container (Istio: kubectl exec "
        f"{name} -c istio-proxy -- pilot-agent request POST quitquitquit); for new jobs make it a "
        "native sidecar (an init container with restartPolicy: Always), or keep it out by "
        'spec.podTemplate.labels (Istio: sidecar.istio.io/inject: "false").'
    )
