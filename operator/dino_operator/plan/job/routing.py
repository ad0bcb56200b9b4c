"""Whether a search runs in a job's place, and the DinoAutoML that is made for it."""

from __future__ import annotations

import copy

from dino_api import names as api
from dino_api.names import Action, ConditionReason, ConditionType
from dino_api.resources.dinojob import DinoJobSpec, TrainingSpec
from dino_operator.plan.model import Condition, Object
from dino_operator.plan.observed import queue_labels
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.rendered import children, inheritance, names

OWN = frozenset(
    field.alias or name
    for name, field in DinoJobSpec.model_fields.items()
    if name not in TrainingSpec.model_fields
)
"""Parts of the spec that a search's template does not have."""
HELD = ("suspend", "stop")
"""Parts of runPolicy that hold the search, not each of its trials."""
_WHY_NOT = {
    ConditionReason.AUTOML_DISABLED: "searches are turned off in this installation (Helm value "
    "automl.enabled); the job trains with its experiment as it is",
    ConditionReason.AUTOML_CRD_MISSING: "the DinoAutoML CRD is not installed; the job trains with "
    "its experiment as it is",
}


def condition(view: JobView) -> Condition | None:
    """The condition AutoMLRouted; None for a job that does not ask for a search."""
    if not view.asks_for_search:
        return None
    if view.is_searched:
        message = f"DinoAutoML {names.search_name(view.name)} searches; the job shows what it says"
        return Condition(True, ConditionReason.ROUTED, message)
    known = view.resource.condition(ConditionType.AUTOML_ROUTED)
    if known is not None and not known.is_true:
        return known
    missing = view.settings.automl and not view.children.automl_served
    why = ConditionReason.AUTOML_CRD_MISSING if missing else ConditionReason.AUTOML_DISABLED
    return Condition(False, why, _WHY_NOT[why])


def search_for(view: JobView) -> Object:
    """The DinoAutoML: the job's training as its template, the installation's numbers of trials.

    The smoke profile has numbers of its own.
    """
    template = _template(view)
    whole = "datasets" in template or "numClasses" in template
    trials = view.settings.routed_trials if whole else view.settings.profile.max_trials
    spec: Object = {
        "template": template,
        "parallelTrials": min(view.settings.routed_parallel, trials),
        "suspend": view.wants_suspend,
    }
    if whole:
        spec["maxTrials"] = trials
    labels = {
        api.MANAGED_BY_LABEL: api.MANAGED_BY,
        api.Label.JOB.value: names.job_label(view.name),
        api.Label.JOB_UID.value: view.uid,
        **queue_labels.carried(view.resource),
    }
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.AUTOML_KIND,
        "metadata": children.metadata(view.resource, names.search_name(view.name), labels),
        "spec": spec,
    }


def _template(view: JobView) -> Object:
    template = copy.deepcopy({k: v for k, v in view.resource.spec.items() if k not in OWN})
    policy = {k: v for k, v in view.policy.raw.items() if k not in HELD}
    data = template.get("datasets")
    if data and "train" in data and not data.get("validation"):  # taken by an earlier release
        data["validation"] = copy.deepcopy(data["train"])
    template.pop("runPolicy", None)
    if policy:
        template["runPolicy"] = policy
    inherited = inheritance.inherited_by(view.resource)
    if inherited:
        template["experiment"] = inheritance.merged(
            template.get("experiment") or {}, inherited, Action.TRAIN
        )
        if "datasets" in template and inherited.num_classes is not None:
            template.setdefault("numClasses", inherited.num_classes)
    return template
