"""What the plan of a search is made from, looked at once; what its children are called.

A search parameter is an axis of the space, which stands in `spec.search` and, resolved, in
`status.search`. An assignment is one value for each of them, as an engine draws it; a trial keeps
it as its `parameters`. The search (`view.search`) is the resolved spec, template and all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from dino_api import names as api
from dino_api.experiment.paths import EPOCHS, field_at, value_at
from dino_api.resources import dinoautoml
from dino_api.resources.dinoautoml import DinoAutoMLSpec, Pruning
from dino_api.search import Search
from dino_operator.plan.model import Condition, Object, Settings
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.observed.status import SearchStatus
from dino_operator.plan.rendered import carried_labels, names
from dino_operator.plan.reported import refusals, sentences

MEDIAN, NO_PRUNING = Pruning(), Pruning(name="none")


def trial_name(search: str, number: int) -> str:
    """The DinoJob of a trial of the search of that name."""
    return f"{search}-trial-{number}"


def number_of(search: str, job: DinoJob) -> int | None:
    """The number of the trial that a DinoJob of the search is; None of others.

    Its name tells it: labels can be edited, and whoever copies a trial's manifest copies them, and
    its owner.
    """
    number = objects.digits(job.name.rpartition("-")[2])
    return number if number is not None and job.name == trial_name(search, number) else None


@dataclass(frozen=True)
class SearchView:
    """A DinoAutoML, what it resolves to, its children, the time and the settings."""

    resource: DinoAutoML
    children: Children
    now: datetime
    settings: Settings
    search: Search

    @property
    def name(self) -> str:
        """The DinoAutoML's name."""
        return self.resource.name

    @property
    def namespace(self) -> str:
        """The namespace of it and all its children."""
        return self.resource.namespace

    @property
    def uid(self) -> str:
        """Its uid; a child is ours only if its controller has it."""
        return self.resource.uid

    @cached_property
    def spec(self) -> DinoAutoMLSpec:
        """The spec as a model, with the defaults of fields that the stored object lacks."""
        return DinoAutoMLSpec.model_validate(self.resource.spec)

    @cached_property
    def status(self) -> SearchStatus:
        """The status that the last plan wrote."""
        return self.resource.status

    @property
    def wants_suspend(self) -> bool:
        """Whether the user holds the search."""
        return self.spec.suspend

    @property
    def output(self) -> str:
        """The folder where everything goes, without a slash at its end."""
        return self.search.template.output.uri.rstrip("/")

    @property
    def deadline(self) -> int | None:
        """runPolicy.activeDeadlineSeconds of the template: it holds for each trial."""
        return self.search.template.run_policy.active_deadline_seconds

    @property
    def pruning(self) -> Pruning:
        """How trials are pruned; the embedded engine's default is the median."""
        epochs = value_at(self.search.template.experiment, EPOCHS) or field_at(EPOCHS).default
        return (self.spec.pruning or MEDIAN).starting(int(epochs))

    @property
    def engine(self) -> str:
        """The engine that was chosen; empty until then. It never changes."""
        return self.status.engine

    @cached_property
    def history(self) -> dict[int, dinoautoml.TrialRecord]:
        """The trials that the last plan wrote down, by number."""
        rows = map(dinoautoml.TrialRecord.model_validate, self.status.history)
        return {row.number: row for row in rows}

    @cached_property
    def known(self) -> tuple[dinoautoml.KnownTrial, ...]:
        """What `warmStartFrom` brought; read once, when the search began."""
        return tuple(map(dinoautoml.KnownTrial.model_validate, self.status.known))

    @cached_property
    def trial_jobs(self) -> dict[int, DinoJob]:
        """Our DinoJobs that are trials, by number."""
        numbered = ((number_of(self.name, each), each) for each in self.own_dinojobs)
        jobs = {number: each for number, each in numbered if number is not None}
        return dict(sorted(jobs.items()))

    @property
    def own_dinojobs(self) -> list[DinoJob]:
        """Trials and followers."""
        return self.children.dinojobs_of(self.uid)

    @property
    def is_over(self) -> bool:
        """Whether every trial has ended for good; then no more are made, whatever is edited."""
        return bool(self.status.completion_time)

    @cached_property
    def obstacle(self) -> str:
        """Why nothing may be made now: a name is taken; empty where nothing is in the way."""
        for each in self.children.strangers:
            return sentences.taken(each, api.AUTOML_KIND)
        mine = self.own_dinojobs
        for job in self.children.dinojobs:
            name = job.name
            named = name.startswith((f"{self.name}-trial-", f"{self.name}-then-"))
            if job not in mine and named:
                message = (
                    f"DinoJob {name} of an earlier DinoAutoML of this name still exists; it is "
                )
                return message + "waited for (kubectl delete dinojob removes one that was orphaned)"
        return ""

    @property
    def refused(self) -> Condition | None:
        """What is said while the API server refuses a child that may be taken later."""
        return refusals.denied(self.resource, self.children.refusal)

    @property
    def is_held_up(self) -> bool:
        """Whether nothing may, or can, be made now."""
        return bool(self.obstacle or self.refused)

    def trial_name(self, number: int) -> str:
        """The DinoJob of a trial."""
        return trial_name(self.name, number)

    def metadata(self, name: str, **labels: str) -> Object:
        """Name, labels and owner of a child. labels: more of them, by the names of `Label`."""
        ours = {**self.labels, **{api.Label[key].value: labels[key] for key in labels}}
        owner = names.owned_by(api.AUTOML_KIND, self.name, self.uid)
        meta = {"name": name, "namespace": self.namespace, "ownerReferences": [owner]}
        return meta | carried_labels.merged(self.resource, ours)

    @property
    def labels(self) -> dict[str, str]:
        """What every object carries that is made for this search."""
        return {
            api.MANAGED_BY_LABEL: api.MANAGED_BY,
            api.Label.AUTOML.value: names.job_label(self.name),
            api.Label.AUTOML_UID.value: self.uid,
        }
