"""A cluster in memory: the API server's controllers, one step at a time.

Nothing happens by itself: a test, or Hypothesis, calls the steps, so that it decides what comes
late, twice, in the middle of something, or never.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from dino_api.names import Label
from dino_operator.plan.model import Object, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.failure import DISRUPTED
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.objects import INDEX_LABEL
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.keys import Kind
from tests.builders import at
from tests.unit.plan_store import Crash, Store, copied, is_preflight, queued, reads_result

__all__ = ["Countdown", "Crash", "World"]
RESULT = '{"schema":1,"action":"train","metrics":{"mAP50":0.75}}'
CHECKED = '{"schema":1,"action":"preflight","dataset":{"images":10,"warnings":["w"]}}'
STOPPED = (143, None)


class World(Store):
    """The Job controller, the garbage collector, Kueue, a kubelet."""

    def jobs(self) -> Iterator[Object]:
        """The Jobs as they are now; whoever changes one copies it."""
        yield from list(self.things[Kind.JOBS].values())

    def pods(self) -> Iterator[Object]:
        """The pods as they are now; whoever changes one copies it."""
        yield from list(self.things[Kind.PODS].values())

    def live_pod(self, pick: int = 0) -> Object | None:
        """A pod that may hold a GPU, if there is one; pick: which of several, modulo their
        number."""
        live = [pod for pod in self.pods() if Pod(pod).is_live]
        return live[pick % len(live)] if live else None

    def by_name(self, kind: Kind) -> dict[str, list[Object]]:
        """Jobs or pods by the name of the DinoJob that their label has."""
        found: dict[str, list[Object]] = {}
        for each in self.things[kind].values():
            name = each["metadata"]["labels"].get(Label.JOB.value, "")
            found.setdefault(name, []).append(each)
        return found

    def collect_garbage(self) -> None:
        """Deletes what lost its owner; a live pod is asked to go and goes when it ends."""
        owners = {each["metadata"]["uid"] for kind in Kind for each in self.things[kind].values()}
        for kind in (Kind.DINOAUTOMLS, Kind.DINOJOBS, Kind.JOBS):
            for each in list(self.things[kind].values()):
                if objects.controller_uid(each) not in (None, *owners):
                    self.remove(kind, each)
        for pod in self.pods():
            if objects.controller_uid(pod) not in owners:
                self.ask_to_go(pod)

    def ask_to_go(self, pod: Object) -> None:
        """Deletes a pod: at once if it ended, else it first gets its grace period."""
        if not Pod(pod).is_live:
            self.remove(Kind.PODS, pod)
        elif "deletionTimestamp" not in pod["metadata"]:
            pod = copied(pod)
            pod["metadata"]["deletionTimestamp"] = self._stamp()
            self._store(Kind.PODS, pod)

    def evict(self, pod: Object) -> None:
        """A drain: the pod is marked as disrupted, then asked to go."""
        pod = copied(pod)
        told = {"type": DISRUPTED, "status": "True", "reason": "EvictionByEvictionAPI"}
        pod["status"].setdefault("conditions", []).append(told)
        self.ask_to_go(pod)

    def admit(self, admitted: bool) -> None:
        """Kueue starts or stops what waits in its queue."""
        for job in self.jobs():
            if queued(job) and not ApiObject(job).is_finished:
                job = copied(job)
                if admitted and job["spec"].get("suspend"):
                    job["status"]["startTime"] = self._stamp()
                if not admitted:
                    job["status"].pop("startTime", None)
                job["spec"]["suspend"] = not admitted
                self._store(Kind.JOBS, job)

    def control_jobs(self) -> None:
        """One round of the Job controller."""
        for job in self.jobs():
            if ApiObject(job).is_finished:
                continue
            job = copied(job)
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
        wanted = set(range(job["spec"].get("completions", 1)))
        if done == wanted:
            job["status"]["completionTime"] = self._stamp()
            self._end(job, "Complete", "CompletionsReached")
        for index in sorted(wanted - done - busy):
            self._make_pod(job, index)

    def _end(self, job: Object, kind: str, reason: str, said: str = "") -> None:
        ended = {"type": kind, "status": "True", "reason": reason, "message": said}
        job["status"]["conditions"] = [{**ended, "lastTransitionTime": self._stamp()}]
        owner = objects.controller_uid(job)
        if kind == "Failed" and reads_result(job):
            self.unread.add(owner)
        elif kind == "Failed":
            self.failed.add(owner)
        elif is_preflight(job):
            self.checked.add(owner)
        elif not reads_result(job):
            self.done.add(owner)
        self._store(Kind.JOBS, job)

    def _make_pod(self, job: Object, index: int) -> None:
        owner = {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
        template = job["spec"]["template"]["spec"]
        if not self._exists("ServiceAccount", template.get("serviceAccountName")):
            return  # the Job controller tries it again
        needs = {"volumes": template.get("volumes", [])}
        pod = self._newborn({"metadata": {}, "spec": needs, "status": {"phase": "Pending"}})
        pod["metadata"].update(
            name=f"{job['metadata']['name']}-{self.born}",
            namespace=job["metadata"]["namespace"],
            labels={**job["metadata"]["labels"], INDEX_LABEL: str(index)},
            ownerReferences=[owner],
        )
        self._store(Kind.PODS, pod)
        job["status"]["made"] = job["status"].get("made", 0) + 1
        self._store(Kind.JOBS, job)

    def _exists(self, kind: str, name: str | None) -> bool:
        """Whether a pod gets it. What is not named is not needed; so is what others make."""
        return name in (None, "default") or (kind, name) in self.others or not self.others

    def _mounts(self, pod: Object) -> bool:
        """Whether the ConfigMaps of the pod are there."""
        wanted = (each.get("configMap", {}).get("name") for each in pod["spec"]["volumes"])
        return all(self._exists("ConfigMap", name) for name in wanted)

    def start_pod(self) -> None:
        """Pending pods run, once what they mount is there."""
        for pod in (copied(pod) for pod in self.pods() if Pod(pod).is_live):
            told = pod["status"].get("conditions", [])
            if pod["status"]["phase"] == "Pending" and not self._mounts(pod):
                placed = {"type": "PodScheduled", "status": "True"}
                if not is_true(pod, "PodScheduled"):
                    pod["status"]["conditions"] = [
                        *told,
                        {**placed, "lastTransitionTime": self._stamp()},
                    ]
                    self._store(Kind.PODS, pod)
            elif pod["status"]["phase"] == "Pending":
                pod["status"] = {"phase": "Running", "conditions": told}
                pod["status"]["containerStatuses"] = [_container("running")]
                self._store(Kind.PODS, pod)

    def end_pod(self, code: int, pick: int = 0) -> None:
        """A live pod ends; one that was asked to go ends with 143 and disappears."""
        pod = self.live_pod(pick)
        if pod is None:
            return
        pod = copied(pod)
        going = "deletionTimestamp" in pod["metadata"]
        code = 143 if going else code
        ended = {"exitCode": code, "reason": "Error", "finishedAt": self._stamp()}
        if code == 0:
            ended["message"] = self.last_words(pod)
        phase = "Failed" if code else "Succeeded"
        told = pod["status"].get("conditions", [])
        pod["status"] = {"phase": phase, "conditions": told}
        pod["status"]["containerStatuses"] = [_container("terminated", **ended)]
        self._store(Kind.PODS, pod)

    def last_words(self, pod: Object) -> str:
        """The message of a pod that has succeeded."""
        return CHECKED if is_preflight(pod) else RESULT

    def lose_pod(self, pick: int = 0) -> None:
        """A pod disappears without a word."""
        pod = self.live_pod(pick)
        if pod is not None:
            self.remove(Kind.PODS, pod)

    def take_away(self, kind: str, name: str) -> None:
        """Somebody deletes a child that is not watched."""
        self.others.discard((kind, name))

    def suspend_job(self, job: Object, on: bool) -> None:
        """Somebody suspends or resumes a Job by hand."""
        job = copied(job)
        job["spec"]["suspend"] = on
        if on:
            job["status"].pop("startTime", None)
        else:
            job["status"]["startTime"] = self._stamp()
        self._store(Kind.JOBS, job)

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
    if disrupted and job["spec"].get("completions", 1) > 1:
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
