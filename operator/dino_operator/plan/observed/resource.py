"""A DinoJob and a DinoAutoML as they are stored."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from dino_api import names
from dino_api.actions import ACTIONS, ActionFacts, facts_of
from dino_api.names import AUTOML_KIND, KIND, Action
from dino_api.resources.dinojob import Resources, RunPolicy
from dino_operator.plan.model import Object
from dino_operator.plan.observed.api_object import ApiObject, Part
from dino_operator.plan.observed.status import JobStatus, SearchStatus, Status

NOT_SEARCHED = "Disabled"
"""The automlPolicy of jobs that only train."""

GPUS: int = Resources.model_fields["gpus"].default
NODES: int = Resources.model_fields["nodes"].default
MAX_RETRIES: int = RunPolicy.model_fields["max_retries"].default
"""Where the stored object lacks them; the CRD's defaults are the same."""


class StoredParent(NamedTuple):
    """spec.parent: a job or a search by name, or a file; empty where there is none of either."""

    kind: str = KIND
    name: str = ""
    uri: str = ""


NO_PARENT = StoredParent()


class StoredPolicy(Part):
    """spec.runPolicy."""

    @property
    def suspend(self) -> bool:
        """Whether the user holds the job."""
        return bool(self.raw.get("suspend"))

    @property
    def stop(self) -> bool:
        """Whether the job is to end for good."""
        return bool(self.raw.get("stop"))

    @property
    def max_retries(self) -> int:
        """How many counted failures may be followed by another attempt."""
        return int(self.raw.get("maxRetries", MAX_RETRIES))

    @property
    def active_deadline_seconds(self) -> int | None:
        """For how long it may run, in all."""
        seconds = self.raw.get("activeDeadlineSeconds")
        return None if seconds is None else int(seconds)

    @property
    def ttl_seconds_after_finished(self) -> int | None:
        """For how long its Jobs stay after the end."""
        seconds = self.raw.get("ttlSecondsAfterFinished")
        return None if seconds is None else int(seconds)


class Resource(ApiObject):
    """What both kinds have."""

    @property
    def spec(self) -> Object:
        """The spec as it is stored."""
        spec: Object = self.raw["spec"]
        return spec

    @cached_property
    def status(self) -> Status:
        """The status that the last plan and the pod wrote."""
        return Status(self._status)

    @property
    def generation(self) -> int:
        """Counts the changes of the spec."""
        generation: int = self.raw["metadata"].get("generation", 0)
        return generation

    @property
    def is_search(self) -> bool:
        """Whether it is a DinoAutoML."""
        return self.kind == AUTOML_KIND

    @property
    def action(self) -> Action:
        """What it does; a search trains."""
        return Action(self.spec.get("action", Action.TRAIN))

    @property
    def facts(self) -> ActionFacts:
        """The record of what it does."""
        return facts_of(self.action, self.quantizes_weights)

    @property
    def trains(self) -> bool:
        """Whether the work is saved now and then, and goes on from there."""
        return ACTIONS[self.action].trains

    @property
    def quantizes_weights(self) -> bool:
        """Whether it stores the weights of a checkpoint as INT8; else it quantizes ONNX files."""
        if self.action is not Action.QUANTIZE:
            return False
        section = self.experiment.get("quantize") or {}
        return bool(section.get("mode") == names.WEIGHTS_ALONE)

    @property
    def experiment(self) -> Object:
        """spec.experiment; empty where it is left out."""
        experiment: Object = self.spec.get("experiment") or {}
        return experiment

    @property
    def parent(self) -> StoredParent:
        """What it goes on from."""
        parent = self.raw["spec"].get("parent")
        if not parent:
            return NO_PARENT
        kind = str(parent.get("kind") or KIND)
        return StoredParent(kind, str(parent.get("name") or ""), str(parent.get("uri") or ""))

    @property
    def run_policy(self) -> StoredPolicy:
        """spec.runPolicy; empty where it is left out."""
        return StoredPolicy(self.raw["spec"].get("runPolicy") or {})

    @property
    def pod_template(self) -> Object:
        """The podTemplate of a DinoJob, or of the trials of a search."""
        template = self.spec.get("podTemplate")
        of_trials = (self.spec.get("template") or {}).get("podTemplate")
        return dict(template or of_trials or {})

    @property
    def queue_name(self) -> str:
        """spec.queueName; empty where it is left out."""
        return str(self.spec.get("queueName") or "")


class DinoJob(Resource):
    """A DinoJob: what users apply, a trial of a search, or a job on its winner."""

    @cached_property
    def status(self) -> JobStatus:
        """The status that the last plan and the pod wrote."""
        return JobStatus(self._status)

    @property
    def asks_for_search(self) -> bool:
        """Whether good hyperparameters are to be found first."""
        return asks_for_search(self.spec)

    @property
    def wants_suspend(self) -> bool:
        """Whether its work is to be held."""
        return self.run_policy.suspend

    @property
    def wants_stop(self) -> bool:
        """Whether it is to end for good."""
        return self.run_policy.stop

    @property
    def output(self) -> str:
        """The folder of its results, without a slash at its end."""
        return str(self.spec["output"]["uri"]).rstrip("/")

    @property
    def nodes(self) -> int:
        """How many pods one attempt at the work has."""
        return int(self._resources.get("nodes", NODES))

    @property
    def gpus(self) -> int:
        """GPUs of each of them."""
        return int(self._resources.get("gpus", GPUS))

    @property
    def _resources(self) -> Object:
        resources: Object = self.spec.get("resources") or {}
        return resources


class DinoAutoML(Resource):
    """A DinoAutoML: what users apply, or the search of a DinoJob."""

    @cached_property
    def status(self) -> SearchStatus:
        """The status that the last plan wrote."""
        return SearchStatus(self._status)

    @property
    def wants_suspend(self) -> bool:
        """Whether it is to be held, with all its trials."""
        return bool(self.spec.get("suspend"))


def asks_for_search(spec: Object) -> bool:
    """Whether good hyperparameters are to be found first: of trainings, unless they say no.

    spec: of a DinoJob. An automlPolicy that is absent is Auto.
    """
    return spec.get("action") == Action.TRAIN and spec.get("automlPolicy") != NOT_SEARCHED
