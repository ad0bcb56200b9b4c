"""The status of a DinoJob and of a DinoAutoML, as the last plan and the pod wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from dino_api import rfc3339
from dino_api.formats import INT8
from dino_operator.plan.model import Condition, Object
from dino_operator.plan.observed.api_object import Part


@dataclass(frozen=True)
class StoredPoint:
    """A validation in status.progress.curve."""

    epoch: int
    mAP50: float


class StoredProgress(Part):
    """What the pod says of its work. It may write what it likes here."""

    @property
    def percent(self) -> object:
        """How much is done; None where it does not say."""
        return self.raw.get("percent")

    @property
    def epoch(self) -> int | None:
        """The epoch that it has finished."""
        epoch: int | None = self.raw.get("epoch")
        return epoch

    @property
    def curve(self) -> list[StoredPoint]:
        """Its validations."""
        rows = (each for each in self.raw.get("curve") or () if {"epoch", "mAP50"} <= each.keys())
        return [StoredPoint(each["epoch"], each["mAP50"]) for each in rows]

    @property
    def updated_at(self) -> str:
        """When it was written, as text; empty where that is no time."""
        text = str(self.raw.get("updatedAt") or "")
        return text if rfc3339.read(text) else ""


class StoredDataset(Part):
    """status.dataset."""

    @property
    def num_classes(self) -> int | None:
        """Classes; None where nobody has counted them."""
        classes: int | None = self.raw.get("numClasses")
        return classes


class StoredFailure(Part):
    """status.failure."""

    @property
    def reason(self) -> str:
        """A reason of the failure catalogue."""
        return str(self.raw.get("reason") or "")

    @property
    def message(self) -> str:
        """What was seen."""
        return str(self.raw.get("message", ""))


class StoredModel(Part):
    """A model that goes from job to job: status.model, or what a job inherited."""

    @property
    def uri(self) -> str:
        """Where its file lies."""
        return str(self.raw["uri"])

    @property
    def format(self) -> str:
        """A format of `dino_api.formats`."""
        return str(self.raw["format"])

    @property
    def precision(self) -> str:
        """Of its numbers; empty where nobody has looked."""
        return str(self.raw.get("precision") or "")

    @property
    def kind(self) -> str:
        """The format, or INT8 for a checkpoint whose weights are packed."""
        packed = self.format == "checkpoint" and self.precision == INT8
        return INT8 if packed else self.format


class StoredInheritance(Part):
    """status.inherited: what the job took over from its parent."""

    @property
    def model(self) -> StoredModel:
        """The model that it goes on from."""
        return StoredModel(self.raw["model"])

    @property
    def structure(self) -> Object | None:
        """Keys of `model` that the parent's model was made with; None where only its file knows."""
        experiment = self.raw.get("experiment")
        return None if experiment is None else dict(experiment.get("model") or {})

    @property
    def num_classes(self) -> int | None:
        """Classes of the parent's model; None where only its file knows."""
        classes: int | None = self.raw.get("numClasses")
        return classes


class Leaves(Part):
    """What work left: a job, or the best trial of a search."""

    @property
    def checkpoint(self) -> Object | None:
        """The checkpoint that it left."""
        checkpoint: Object | None = self.raw.get("checkpoint")
        return checkpoint

    @property
    def model(self) -> Object | None:
        """The model that it left."""
        model: Object | None = self.raw.get("model")
        return model


class Status(Part):
    """What the status of both kinds has."""

    def __contains__(self, field: str) -> bool:
        return field in self.raw

    @property
    def phase(self) -> str:
        """The phase; empty before the first plan."""
        return str(self.raw.get("phase") or "")

    @property
    def observed_generation(self) -> int | None:
        """The generation that the last plan saw."""
        generation: int | None = self.raw.get("observedGeneration")
        return generation

    @property
    def active_since(self) -> str:
        """When the present run of a job began, as text; empty where none does."""
        return str(self.raw.get("activeSince") or "")

    @property
    def active_seconds(self) -> int:
        """Seconds that a job ran before it."""
        return int(self.raw.get("activeSeconds") or 0)

    @property
    def progress(self) -> StoredProgress:
        """What a job's pod says of the work; empty where it has said nothing."""
        return StoredProgress(self.raw.get("progress") or {})

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, whatever its status."""
        return Condition.of({"status": self.raw}, kind)

    @property
    def conditions(self) -> list[Object]:
        """All conditions."""
        return list(self.raw.get("conditions") or ())

    @property
    def start_time(self) -> str:
        """When its work began, as text; empty before."""
        return str(self.raw.get("startTime") or "")

    @property
    def completion_time(self) -> str:
        """When it ended, as text; empty before."""
        return str(self.raw.get("completionTime") or "")

    @property
    def failure(self) -> StoredFailure | None:
        """Why it failed, or why its last attempt did."""
        failure = self.raw.get("failure")
        return StoredFailure(failure) if failure else None

    @property
    def dataset(self) -> StoredDataset:
        """What the preflight found in the data."""
        return StoredDataset(dict(self.raw.get("dataset") or {}))

    @property
    def artifacts(self) -> list[Object]:
        """Files that it has published."""
        return list(self.raw.get("artifacts") or ())


class JobStatus(Status, Leaves):
    """The status of a DinoJob."""

    @property
    def attempts(self) -> int:
        """The newest attempt at the work."""
        return int(self.raw.get("attempts", 0))

    @property
    def gpus(self) -> int:
        """GPUs that each attempt asks for, in all."""
        return int(self.raw.get("gpus") or 0)

    @property
    def gpu_seconds(self) -> int:
        """What the runs that have ended have cost."""
        return int(self.raw.get("gpuSeconds") or 0)

    @property
    def search(self) -> str:
        """The name of the DinoAutoML in its place; empty where none is."""
        return str(self.raw.get("automl") or "")

    @property
    def without_run(self) -> JobStatus:
        """The status as if no run had begun."""
        return JobStatus({key: each for key, each in self.raw.items() if key != "activeSince"})

    @property
    def micro_batch(self) -> int | None:
        """Images per forward pass of the newest attempt; None for the whole batch."""
        images = self.raw.get("microBatch")
        return None if images is None else int(images)

    @property
    def accumulation(self) -> int | None:
        """Forward passes per optimiser step at that size."""
        passes: int | None = self.raw.get("accumulation")
        return passes

    @property
    def inherited(self) -> StoredInheritance | None:
        """What it took over from its parent."""
        inherited = self.raw.get("inherited")
        return StoredInheritance(inherited) if inherited else None

    @property
    def best_mAP50(self) -> float | None:
        """The best validation of the checkpoint that it left."""
        score = (self.raw.get("metrics") or {}).get("mAP50")
        return None if score is None else float(score)


class StoredBest(Leaves):
    """status.best: the best trial of a search."""

    @property
    def trial(self) -> str:
        """Its name."""
        return str(self.raw.get("trial", ""))

    @property
    def number(self) -> int:
        """Its number."""
        return int(self.raw["number"])

    @property
    def mAP50(self) -> float:
        """Its best validation."""
        return float(self.raw["mAP50"])

    @property
    def specification(self) -> Object:
        """The experiment that it trained."""
        return dict(self.raw.get("specification") or {})


@dataclass(frozen=True)
class StoredFollower:
    """A row of status.then: a job on the winner."""

    name: str
    phase: str


class SearchStatus(Status):
    """The status of a DinoAutoML."""

    @property
    def engine(self) -> str:
        """The engine that was chosen; empty until then. It never changes."""
        return str(self.raw.get("engine") or "")

    @property
    def experiment(self) -> str:
        """The name of Katib's Experiment; empty where there was none."""
        return str(self.raw.get("experiment") or "")

    @property
    def space(self) -> list[Object]:
        """The search space of the first plan, resolved."""
        return list(self.raw.get("search") or ())

    @property
    def history(self) -> list[Object]:
        """The trials that the last plan wrote down."""
        return list(self.raw.get("history") or ())

    @property
    def known(self) -> list[Object]:
        """What `warmStartFrom` brought."""
        return list(self.raw.get("known") or ())

    @property
    def best(self) -> StoredBest | None:
        """The best trial so far."""
        best = self.raw.get("best")
        return StoredBest(best) if best else None

    @property
    def trials_display(self) -> str:
        """How many trials have ended, of how many."""
        return str((self.raw.get("trials") or {}).get("display") or "")

    @property
    def followers(self) -> list[StoredFollower]:
        """The jobs on the winner, as far as they were written down."""
        rows = self.raw.get("then") or ()
        return [StoredFollower(str(each["name"]), str(each["phase"])) for each in rows]
