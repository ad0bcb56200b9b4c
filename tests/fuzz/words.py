"""Plans of a DinoJob around which the cluster says anything, in objects that are whole else."""

from __future__ import annotations

from collections.abc import Sequence

from dino_operator.plan.job.decide import plan
from tests.builders import Object, a_child, a_job, a_pod, around, at, later
from tests.fuzz.readers import SETTINGS, writable


def looked_at(words: Sequence[str]) -> None:
    """Plans of jobs that wait, run and have failed. words: reasons and messages, six of them."""
    reason, message, other, more, kind, note = words
    job = a_job()
    child = a_child(job)
    pods = (
        a_pod(child).unschedulable(message),
        a_pod(child).stuck(reason, message).beside("b", last={"exitCode": 1, "message": other}),
        a_pod(child).stuck("ImagePullBackOff", message).beside("b", init=True, running={}),
        a_pod(child).running().condition(kind, True, reason=reason, message=message),
        a_pod(child).evicted(message),
        a_pod(child).exited(137, reason, message).limited("1Gi", by_range=more),
        a_pod(child).scheduled(),
    )
    for pod in pods:
        _planned(job.obj(), child.obj(), [pod.obj()], words)
        failed = a_child(job).failed(reason, message=message).condition(kind, True, message=other)
        _planned(job.obj(), failed.obj(), [pod.obj()], words)
    _planned(job.obj(), a_child(job).waiting(note[:63]).obj(), [], words)


def _planned(job: Object, child: Object, pods: list[Object], words: Sequence[str]) -> None:
    reason, message, other, *_ = words
    uids = [child["metadata"]["uid"], *(each["metadata"]["uid"] for each in pods)]
    event = {"metadata": {"creationTimestamp": at(30)}, "reason": reason, "message": message}
    known = {**event, "reason": "FailedCreate", "message": other}
    started = {**event, "reason": "FailedMount"}
    workload = {
        "metadata": {"name": "w", "namespace": "team"},
        "spec": {"active": reason != "", "queueName": other},
        "status": {
            "conditions": [
                {"type": kind, "status": "False", "reason": reason, "message": message}
                for kind in ("QuotaReserved", "Evicted", reason)
            ],
            "admissionChecks": [{"name": other, "state": reason, "message": message}],
        },
    }
    found = around(
        [child],
        pods,
        events={uid: [event, known, started] for uid in uids},
        workload=workload,
        kueue="read",
    )
    for seconds in (90, 4000):
        writable(plan(job, found, later(seconds), SETTINGS))
