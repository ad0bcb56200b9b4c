"""What is said of a job's work: trainings save checkpoints and go on from them, others do not."""

from __future__ import annotations

from dino_api import names as api
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.resource import DinoJob


def checking(resource: DinoJob) -> str:
    """One sentence for the whole check of the data: each change of words would cost a write."""
    work = resource.facts.work
    return f"a Job without a GPU checks the data; the {work} starts after it"


def saves(resource: DinoJob, pod: str) -> str:
    """What a pod does first that was asked to go."""
    return f"pod {pod} saves a checkpoint" if resource.trains else f"pod {pod} stops"


def stops(resource: DinoJob, pod: str, for_good: bool = False) -> str:
    """What becomes of a pod that was asked to go."""
    message = f"{saves(resource, pod)} and stops" if resource.trains else saves(resource, pod)
    return f"{message} for good" if for_good else message


def leaves(resource: DinoJob, pod: str, several: bool = False) -> str:
    """The sentence on a pod that was asked to go and that another one follows. several: it is one
    of them, and none works without the others."""
    if several:
        return f"pod {pod} was asked to go; all stop with it, and others follow"
    saves = "it saves a checkpoint and another follows" if resource.trains else "another follows"
    return f"pod {pod} was asked to go; {saves}"


def resumes(resource: DinoJob) -> str:
    """The sentence on a job that was held and may go on."""
    if resource.trains:
        return "the attempt goes on from its checkpoint"
    return f"the {resource.facts.work} starts again"


def held(resource: DinoJob) -> str:
    """The sentence on a job that is held, without a pod."""
    goes_on = "go on from the last checkpoint" if resource.trains else "start it again"
    return f"spec.runPolicy.suspend is true; set it to false to {goes_on}"


def taken(stranger: ApiObject, kind: str) -> str:
    """The sentence on an object that has the name of a child. kind: of the child's owner."""
    return (
        f"{stranger.kind} {stranger.name} belongs to someone else; delete or rename it, or create "
        f"the {kind} under another name"
    )


def silent(since: str, pod: str) -> str:
    """The sentence on a pod that writes no progress. Its token is renewed in minutes."""
    return (
        f"no progress was written since {since}; ServiceAccount {api.TRAINER_SERVICE_ACCOUNT} and "
        f"RoleBinding {api.PROGRESS_CLUSTER_ROLE} were made sure of (kubectl logs {pod} says what "
        "it does)"
    )


def resume_by_hand(job: str) -> str:
    """What to do about a Job of that name that someone else suspended."""
    patch = '\'{"spec":{"suspend":false}}\''
    return f"Remedy: kubectl patch job {job} --type=merge -p {patch}, unless a queue holds it."
