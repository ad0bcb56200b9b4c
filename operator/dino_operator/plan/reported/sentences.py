"""What is said of a job's work: trainings save checkpoints and go on from them, others do not."""

from __future__ import annotations

from dino_api import names as api
from dino_api.actions import ACTIONS
from dino_operator.plan.model import Object
from dino_operator.plan.observed.job_action import action_of, trains


def checking(resource: Object) -> str:
    """One sentence for the whole check of the data: each change of words would cost a write."""
    work = ACTIONS[action_of(resource)].work
    return f"a Job without a GPU checks the data; the {work} starts after it"


def saves(resource: Object, pod: str) -> str:
    """What a pod does first that was asked to go."""
    return f"pod {pod} saves a checkpoint" if trains(resource) else f"pod {pod} stops"


def stops(resource: Object, pod: str, for_good: bool = False) -> str:
    """What becomes of a pod that was asked to go."""
    message = f"{saves(resource, pod)} and stops" if trains(resource) else saves(resource, pod)
    return f"{message} for good" if for_good else message


def leaves(resource: Object, pod: str) -> str:
    """The sentence on a pod that was asked to go and that another one follows."""
    saves = "it saves a checkpoint and another follows" if trains(resource) else "another follows"
    return f"pod {pod} was asked to go; {saves}"


def resumes(resource: Object) -> str:
    """The sentence on a job that was held and may go on."""
    if trains(resource):
        return "the attempt goes on from its checkpoint"
    return f"the {ACTIONS[action_of(resource)].work} starts again"


def held(resource: Object) -> str:
    """The sentence on a job that is held, without a pod."""
    goes_on = "go on from the last checkpoint" if trains(resource) else "start it again"
    return f"spec.runPolicy.suspend is true; set it to false to {goes_on}"


def silent(since: str, pod: str) -> str:
    """The sentence on a pod that writes no progress. Its token is renewed in minutes."""
    return (
        f"no progress was written since {since}; ServiceAccount {api.TRAINER_SERVICE_ACCOUNT} and "
        f"RoleBinding {api.PROGRESS_CLUSTER_ROLE} were made sure of (kubectl logs {pod} says what "
        "it does)"
    )
