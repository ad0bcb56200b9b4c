"""Which engine runs a search. It is chosen once; a search that has begun cannot change it."""

from __future__ import annotations

from collections.abc import Mapping

from dino_api.names import ConditionReason, ConditionType
from dino_operator.plan.model import Condition
from dino_operator.plan.search.engines import embedded
from dino_operator.plan.search.engines.contract import SearchEngine, Step
from dino_operator.plan.search.engines.katib import engine as katib
from dino_operator.plan.search.search_view import SearchView

KATIB, EMBEDDED = ConditionReason.KATIB.value, ConditionReason.EMBEDDED.value
ENGINES: Mapping[str, SearchEngine] = {KATIB: katib, EMBEDDED: embedded}
NO_CRD = (
    "Katib's experiments.kubeflow.org are not served here; the search waits for them. Install "
    "Katib, or create the search again with spec.engine: Embedded"
)


def choose(view: SearchView) -> tuple[str, Condition]:
    """The engine and why. Empty where it cannot be chosen yet, with what is waited for."""
    chosen = view.resource.condition(ConditionType.ENGINE_READY)
    if view.engine and chosen is not None:
        return view.engine, chosen
    if view.spec.engine == EMBEDDED:
        return EMBEDDED, Condition(True, EMBEDDED, "spec.engine is Embedded")
    if view.spec.engine == KATIB and not view.children.katib_served:
        return "", Condition(False, ConditionReason.KATIB_MISSING, NO_CRD)
    if view.spec.engine == KATIB:
        return KATIB, Condition(True, KATIB, "spec.engine is Katib, and Katib is installed")
    if not view.children.katib_served:
        return EMBEDDED, Condition(True, EMBEDDED, "Katib is not installed")
    unable = katib.refusal(view)
    if unable:
        return EMBEDDED, Condition(
            True, EMBEDDED, f"Katib is installed and cannot run it: {unable}"
        )
    return KATIB, Condition(True, KATIB, "Katib is installed and can run it")


def refusal(view: SearchView, chosen: str) -> str:
    """Why that engine cannot run a search that has not begun, as a sentence; empty where it can."""
    unable = "" if view.engine else ENGINES[chosen].refusal(view)
    return unable and f"spec.engine: {chosen} cannot run this search: {unable}. Use Embedded."


def step(view: SearchView) -> Step:
    """What the chosen engine wants done now."""
    return ENGINES[view.engine].step(view)
