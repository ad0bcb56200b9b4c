"""What is to be seen of a resource at several moments of its life, the cheapest first.

The children that are made of it are compared before; these are the plans, and for a search its
followers, Katib's Experiment, and a whole life with failures and bad trials.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dino_api.names import AUTOML_KIND, Action, Label
from dino_api.resources.dinoautoml import DinoAutoMLSpec
from dino_api.search import resolve_search
from dino_operator import preview
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan as plan_job
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.search.after import followers
from dino_operator.plan.search.decide import plan as plan_search
from dino_operator.plan.search.search_view import SearchView
from tests.builders import NOON, JobBuilder, a_child, a_pod, around, later
from tests.unit.plan_store import copied
from tests.unit.search_world import SearchWorld

ATTEMPTS = (1, 3, 4)
"""The number of the attempt that fails: with 2 retries, and with 3, the last one is among them."""
UNAVAILABLE = 69
ROUNDS = 20
SCORES = (0.5, 0.3, 0.45, 0.6, 0.55, 0.7, 0.4, 0.25)
"""By the number of the trial."""
FAIL = (3, 5)
"""The numbers of those that fail."""


def moments(resource: Object, settings: Settings) -> Iterator[Any]:
    """One look after the other. resource: as it is stored."""
    if resource["kind"] == AUTOML_KIND:
        return _of_search(resource, settings)
    return _of_job(resource, settings)


# ---- a job ---------------------------------------------------------------------------------------


def _of_job(resource: Object, settings: Settings) -> Iterator[Any]:
    yield plan_job(copied(resource), Children(), NOON, settings)
    checked = JobBuilder(copied(resource)).condition("DataReady", reason="DataChecked", message="")
    action = str(resource["spec"].get("action", Action.TRAIN))
    child = a_child(checked, action).ran()
    running = around([child.obj()], [a_pod(child).running().obj()])
    yield plan_job(checked.obj(), running, later(60), settings)
    for number in ATTEMPTS:
        failed = a_child(checked, action).attempt(number).failed()
        pods = [a_pod(failed).exited(UNAVAILABLE).obj()]
        yield plan_job(checked.obj(), around([failed.obj()], pods), later(61), settings)
    done = a_child(checked, action).complete()
    over = JobBuilder(checked.obj()).condition("Complete", reason="Completed", message="")
    yield plan_job(over.obj(), around([done.obj()]), later(61), settings)


# ---- a search ------------------------------------------------------------------------------------


def _of_search(resource: Object, settings: Settings) -> Iterator[Any]:
    yield plan_search(copied(resource), Children(), NOON, settings)
    yield plan_search(copied(resource), Children(katib_served=True), NOON, settings)
    yield _on_katib(resource, settings)
    yield _followers(resource, settings)
    yield life(resource, settings)


def _on_katib(resource: Object, settings: Settings) -> Any:
    """The Experiment, or why there is none."""
    try:
        return preview.preview(resource, settings, "Katib").objects
    except preview.InvalidManifest as error:
        return str(error)


def _followers(resource: Object, settings: Settings) -> list[Object]:
    """The jobs on its winner, as of a search that has none yet."""
    spec = DinoAutoMLSpec.model_validate(resource["spec"])
    search = resolve_search(spec, settings.profile)
    view = SearchView(DinoAutoML(resource), Children(), NOON, settings, search)
    return [followers.render(view, number) for number in range(1, len(spec.then) + 1)]


class Watched(SearchWorld):
    """A search in memory that writes down what it makes and what becomes of it."""

    def __init__(self, resource: Object, settings: Settings) -> None:
        super().__init__()
        self.automl, self.settings = copied(resource), settings
        self.seen = self.look()
        self.told: list[Any] = []

    def _may_exist(self, made: Object) -> None:
        """What may be made is other tests' business."""
        notes = made["metadata"].get("annotations", {})
        drawn = json.loads(notes.get(Annotation.PARAMETERS.value, "null"))
        self.told.append((objects.name_of(made), drawn, copied(made["spec"])))

    def goes_on(self) -> None:
        """Each trial that runs pushes another point, and ends or stops after its third."""
        for job in self.live():
            name, policy = objects.name_of(job), job["spec"]["runPolicy"]
            points = job.get("status", {}).get("progress", {}).get("curve", [])
            number = int(job["metadata"]["labels"][Label.TRIAL.value])
            score = SCORES[number % len(SCORES)]
            if policy.get("stop") or policy.get("suspend"):
                self.obey(name)
                self.told.append(f"{name} is held or stopped after {len(points)} points")
            elif len(points) < 3:
                self.run(name, *(score * n / 3 for n in range(1, len(points) + 2)))
            elif number in FAIL:
                self.fail(name)
            else:
                self.complete(name, score)


def life(resource: Object, settings: Settings) -> list[Any]:
    """What is made for a search in so many rounds, and what is said of it then."""
    world = Watched(resource, settings)
    world.settle()
    if "x-trial-0" in world.dinojobs:
        world.check()
    for _ in range(ROUNDS):
        world.goes_on()
        world.settle()
        if ApiObject(world.automl).is_finished:
            break
    status = world.automl.get("status", {})
    rows = [(row["number"], row["state"], row.get("reason")) for row in status.get("history", [])]
    return [*world.told, rows, status.get("phase"), status.get("failure")]
