"""A cluster in memory: the API server's controllers, one step at a time.

Nothing happens by itself: a test, or Hypothesis, calls the steps, so that it decides what comes
late, twice, in the middle of something, or never.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import timedelta

from dino_operator.plan.model import Object, is_finished, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.failure import DISRUPTED
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.objects import INDEX_LABEL
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.keys import Kind
from tests.builders import at
from tests.unit.plan_store import Crash, Store, is_preflight, queued

__all__ = ["Countdown", "Crash", "World"]
RESULT = '{"schema":1,"action":"train","metrics":{"mAP50":0.75}}'
CHECKED = '{"schema":1,"action":"preflight","dataset":{"images":10,"warnings":["w"]}}'
STOPPED = (143, None)


class World(Store):
    """The Job controller, the garbage collector, Kueue, a kubelet."""

    def jobs(self) -> Iterator[Object]:
        """Copies of the Jobs."""
        yield from copy.deepcopy(list(self.things[Kind.JOBS].values()))

    def pods(self) -> Iterator[Object]:
        """Copies of the pods."""
        yield from copy.deepcopy(list(self.things[Kind.PODS].values()))

    def live_pod(self) -> Object | None:
        """A pod that may hold a GPU, if there is one."""
        return next((pod for pod in self.pods() if Pod(pod).is_live), None)

    def collect_garbage(self) -> None:
        """Deletes what lost its owner; a live pod is asked to go and goes when it ends."""
        owners = {each["metadata"]["uid"] for kind in Kind for each in self.things[kind].values()}
        for job in self.jobs():
            if objects.controller_uid(job) not in owners:
                self.remove(Kind.JOBS, job)
        for pod in self.pods():
            if objects.controller_uid(pod) not in owners:
                self.ask_to_go(pod)

    def ask_to_go(self, pod: Object) -> None:
        """Deletes a pod: at once if it ended, else it first gets its grace period."""
        if not Pod(pod).is_live:
            self.remove(Kind.PODS, pod)
        elif "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = self._stamp()
            self._store(Kind.PODS, pod)

    def evict(self, pod: Object) -> None:
        """A drain: the pod is marked as disrupted, then asked to go."""
        told = {"type": DISRUPTED, "status": "True", "reason": "EvictionByEvictionAPI"}
        pod["status"].setdefault("conditions", []).append(told)
        self.ask_to_go(pod)

    def admit(self, admitted: bool) -> None:
        """Kueue starts or stops what waits in its queue."""
        for job in self.jobs():
            if queued(job) and not is_finished(job):
                if admitted and job["spec"].get("suspend"):
                    job["status"]["startTime"] = self._stamp()
                if not admitted:
                    job["status"].pop("startTime", None)
                job["spec"]["suspend"] = not admitted
                self._store(Kind.JOBS, job)

    def control_jobs(self) -> None:
        """One round of the Job controller."""
        for job in self.jobs():
            if is_finished(job):
                continue
            pods = [pod.raw for pod in Job(job).own(map(Pod, self.pods()))]
            live = [pod for pod in pods if Pod(pod).is_live]
            failure = _failure(job, pods)
            if failure or job["spec"].get("suspend"):
                for pod in live:
                    self.ask_to_go(pod)
            if failure and not live:
                self._end(job, "Failed", *failure)
            elif not failure and not job["spec"].get("suspend"):
                self._complete(job, pods)

    def _complete(self, job: Object, pods: list[Object]) -> None:
        """Ends the Job once every index has succeeded; makes the pods that are missing."""
        done = {Pod(pod).index for pod in pods if _code(pod) == 0}
        busy = {Pod(pod).index for pod in pods if Pod(pod).is_live}
        wanted = set(range(job["spec"]["completions"]))
        if done == wanted:
            job["status"]["completionTime"] = self._stamp()
            self._end(job, "Complete", "CompletionsReached")
        for index in sorted(wanted - done - busy):
            self._make_pod(job, index)

    def _end(self, job: Object, kind: str, reason: str, said: str = "") -> None:
        ended = {"type": kind, "status": "True", "reason": reason, "message": said}
        job["status"]["conditions"] = [{**ended, "lastTransitionTime": self._stamp()}]
        if kind == "Complete" and is_preflight(job):
            self.checked.add(objects.controller_uid(job))
        self._store(Kind.JOBS, job)

    def _make_pod(self, job: Object, index: int) -> None:
        owner = {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
        pod = self._newborn({"metadata": {}, "spec": {}, "status": {"phase": "Pending"}})
        pod["metadata"].update(
            name=f"{job['metadata']['name']}-{self.born}",
            namespace=job["metadata"]["namespace"],
            labels={**job["metadata"]["labels"], INDEX_LABEL: str(index)},
            ownerReferences=[owner],
        )
        self._store(Kind.PODS, pod)
        job["status"]["made"] = job["status"].get("made", 0) + 1
        self._store(Kind.JOBS, job)

    def start_pod(self) -> None:
        """Pending pods run."""
        for pod in (pod for pod in self.pods() if Pod(pod).is_live):
            if pod["status"]["phase"] == "Pending":
                told = pod["status"].get("conditions", [])
                pod["status"] = {"phase": "Running", "conditions": told}
                pod["status"]["containerStatuses"] = [_container("running")]
                self._store(Kind.PODS, pod)

    def end_pod(self, code: int) -> None:
        """A live pod ends; one that was asked to go ends with 143 and disappears."""
        pod = self.live_pod()
        if pod is None:
            return
        going = "deletionTimestamp" in pod["metadata"]
        code = 143 if going else code
        ended = {"exitCode": code, "reason": "Error", "finishedAt": self._stamp()}
        if code == 0:
            ended["message"] = CHECKED if is_preflight(pod) else RESULT
        phase = "Failed" if code else "Succeeded"
        told = pod["status"].get("conditions", [])
        pod["status"] = {"phase": phase, "conditions": told}
        pod["status"]["containerStatuses"] = [_container("terminated", **ended)]
        self._store(Kind.PODS, pod)

    def lose_pod(self) -> None:
        """A pod disappears without a word."""
        pod = self.live_pod()
        if pod is not None:
            self.remove(Kind.PODS, pod)

    def forget_pod(self) -> None:
        """A pod that has ended is deleted, and its last words with it."""
        gone = (pod for pod in self.pods() if not Pod(pod).is_live)
        pod = next(gone, None)
        if pod is not None:
            self.remove(Kind.PODS, pod)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)


def _code(pod: Object) -> int | None:
    ended = Pod(pod).ended
    return ended.exit_code if ended else None


def _failure(job: Object, pods: list[Object]) -> tuple[str, str] | None:
    """Reason and message where a pod's end ends the Job; 143 is ignored and replaced."""
    ended = [pod for pod in pods if not Pod(pod).is_live]
    disrupted = [pod for pod in ended if is_true(pod, DISRUPTED)]
    if disrupted and job["spec"]["completions"] > 1:
        return "PodFailurePolicy", f"Pod p has condition {DISRUPTED} matching FailJob rule"
    codes = [_code(pod) for pod in ended if pod not in disrupted]
    real = [code for code in codes if code not in (0, *STOPPED)]
    if real:
        return "PodFailurePolicy", f"Container trainer failed with exit code {real[0]} matching"
    if job["status"].get("made", 0) > len(pods):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _container(state: str, **more: object) -> Object:
    return {"name": objects.CONTAINER, "state": {state: {"startedAt": at(0), **more}}}


class Countdown:
    """Raises the error at the so manyth write, before or after it is done."""

    def __init__(self, after: int, moment: str, error: Exception) -> None:
        self.left, self.moment, self.error = after, moment, error

    def __call__(self, now: str) -> None:
        if now == self.moment:
            self.left -= 1
            if self.left == 0:
                raise self.error
