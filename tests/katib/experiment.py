"""What Katib decides about Experiments and Trials, from what a running Katib was seen to do.

Pure functions on objects as the API server has them. The oddities are Katib's and on purpose:

- Failed and MetricsUnavailable count towards maxFailedTrialCount; 0 and 1 behave alike.
- MetricsUnavailable counts as completed, but not when new trials are scheduled: there may be more
  trials than maxTrialCount.
- A metric that is no number makes its trial the best one; after it no trial can be drawn.
- What runs when an Experiment ends goes on running. Lowering parallelTrialCount deletes the newest
  trials whatever their state.
- Substitution is textual, in the JSON of the template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]
UNAVAILABLE = "unavailable"
NAMING = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
ENDS = ("Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable")
LISTS = {
    "Killed": "killedTrialList",
    "Failed": "failedTrialList",
    "Succeeded": "succeededTrialList",
    "EarlyStopped": "earlyStoppedTrialList",
    "Running": "runningTrialList",
    "MetricsUnavailable": "metricsUnavailableTrialList",
}
COUNTS = {
    "killedTrialList": "trialsKilled",
    "failedTrialList": "trialsFailed",
    "succeededTrialList": "trialsSucceeded",
    "earlyStoppedTrialList": "trialsEarlyStopped",
    "runningTrialList": "trialsRunning",
    "metricsUnavailableTrialList": "trialMetricsUnavailable",
    "pendingTrialList": "trialsPending",
}


def refusals(thing: Object) -> list[str]:
    """What Katib's webhook says against an Experiment; empty where it takes it."""
    spec = thing["spec"]
    told = [*_of_counts(thing, spec), *_of_parameters(spec), *_of_template(spec)]
    if spec["algorithm"]["algorithmName"] not in ("random", "tpe", "grid", "cmaes"):
        told.append("unable to get Suggestion config data")
    if spec["objective"]["type"] not in ("minimize", "maximize"):
        told.append("spec.objective.type")
    return told


def _of_counts(thing: Object, spec: Object) -> Iterable[str]:
    name = thing["metadata"]["name"]
    if len(name) > 40 or not NAMING.match(name):
        yield "metadata.name"
    for count in ("parallelTrialCount", "maxTrialCount"):
        if not isinstance(spec[count], int) or spec[count] <= 0:
            yield f"spec.{count}: must be greater than 0"
    for count in ("parallelTrialCount", "maxFailedTrialCount"):
        if spec[count] > spec["maxTrialCount"]:
            yield f"spec.{count}: should be less than or equal to spec.maxTrialCount"


def _of_parameters(spec: Object) -> Iterable[str]:
    for one in spec["parameters"]:
        space = one["feasibleSpace"]
        texts = [*space.get("list", []), *(v for k, v in space.items() if k != "list")]
        if not all(isinstance(text, str) for text in texts):
            yield f"{one['name']}: cannot unmarshal number into Go struct field of type string"
        ranged = one["parameterType"] in ("int", "double")
        if ranged == ("list" in space) or ranged != ({"min", "max"} <= set(space)):
            yield f"{one['name']}: feasibleSpace"


def _of_template(spec: Object) -> Iterable[str]:
    template = spec["trialTemplate"]
    text = json.dumps(template["trialSpec"])
    for one in template["trialParameters"]:
        placeholder = _placeholder(one["name"])
        if placeholder not in text:
            yield f"{one['name']} in spec.trialParameters not found in spec.trialTemplate"
        text = text.replace(placeholder, "test-value")
    if re.search(r"\$\{trialParameters\..+?\}", text):
        yield "parameters in spec.trialTemplate not found in spec.trialParameters"
    meta = json.loads(text).get("metadata", {})
    if "name" in meta or "namespace" in meta:
        yield "metadata.name and metadata.namespace in spec.trialTemplate must be omitted"
    if not template["primaryContainerName"]:
        yield "primaryContainerName"


def _placeholder(name: str) -> str:
    return f"${{trialParameters.{name}}}"


def conditions(thing: Object) -> dict[str, Object]:
    """The conditions that are True, by type."""
    found = (thing.get("status") or {}).get("conditions") or []
    return {each["type"]: each for each in found if each["status"] == "True"}


def is_completed(thing: Object) -> bool:
    """Of an Experiment."""
    return bool({"Succeeded", "Failed"} & set(conditions(thing)))


def told(status: Object, kind: str, reason: str, message: str, now: str) -> Object:
    """The status with a condition set; an end takes Running back, as Katib does."""
    kept = [dict(each) for each in status.get("conditions", []) if each["type"] != kind]
    for each in kept:
        if each["type"] == "Running" and kind in ENDS:
            each["status"] = "False"
    new = {"type": kind, "status": "True", "reason": reason, "message": message}
    new |= {"lastTransitionTime": now, "lastUpdateTime": now}
    return {**status, "conditions": [*kept, new]}


def state_of(trial: Object) -> str:
    """The list that an Experiment counts a Trial in."""
    true = conditions(trial)
    return next((LISTS[kind] for kind in LISTS if kind in true), "pendingTrialList")


def summary(experiment: Object, trials: list[Object]) -> Object:
    """The counts, lists and best trial of an Experiment's status."""
    lists: dict[str, list[str]] = {}
    for each in trials:
        lists.setdefault(state_of(each), []).append(each["metadata"]["name"])
    counts = {COUNTS[name]: len(members) for name, members in lists.items()}
    best = _best(trials)
    return {
        "trials": len(trials),
        **lists,
        **counts,
        **({"currentOptimalTrial": best} if best else {}),
    }


def _best(trials: list[Object]) -> Object | None:
    """Katib's own: a value that is no number wins on the spot."""
    best, highest = None, 0.0
    for each in trials:
        value = objective(each)
        if value == UNAVAILABLE:
            continue
        try:
            number = float(value)
        except ValueError:
            best = each
            continue
        if best is None or number > highest:
            best, highest = each, number
    if best is None:
        return None
    return {
        "bestTrialName": best["metadata"]["name"],
        "parameterAssignments": best["spec"]["parameterAssignments"],
        "observation": best["status"]["observation"],
    }


def objective(trial: Object) -> str:
    """The text of the trial's best metric."""
    observation = (trial.get("status") or {}).get("observation") or {}
    for metric in observation.get("metrics", []):
        if metric["name"] == trial["spec"]["objective"]["objectiveMetricName"]:
            unknown = metric["max"] == UNAVAILABLE
            return str(metric["latest"] if unknown else metric["max"])
    return UNAVAILABLE


def verdict(experiment: Object, counted: Object) -> tuple[str, str, str]:
    """(type, reason, message) of the condition that follows from the counts."""
    spec = experiment["spec"]
    goal = spec["objective"].get("goal")
    best = (counted.get("currentOptimalTrial") or {}).get("observation", {}).get("metrics", [])
    if goal is not None and best and _number(best[0]["max"]) >= goal:
        said = "Experiment has succeeded because Objective goal has reached"
        return "Succeeded", "ExperimentGoalReached", said
    failed = counted.get("trialsFailed", 0) + counted.get("trialMetricsUnavailable", 0)
    if failed and failed >= spec["maxFailedTrialCount"]:
        said = "Experiment has failed because max failed count has reached"
        return "Failed", "ExperimentFailed", said
    if failed + _completed(counted) - counted.get("trialsFailed", 0) >= spec["maxTrialCount"]:
        said = "Experiment has succeeded because max trial count has reached"
        return "Succeeded", "ExperimentMaxTrialsReached", said
    return "Running", "ExperimentRunning", "Experiment is running"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _completed(counted: Object) -> int:
    """As the scheduling counts it: without MetricsUnavailable."""
    ended = ("trialsSucceeded", "trialsFailed", "trialsKilled", "trialsEarlyStopped")
    return sum(counted.get(name, 0) for name in ended)


def wanted(experiment: Object, counted: Object) -> int:
    """How many more trials to make; below zero: how many to delete."""
    spec = experiment["spec"]
    active = counted.get("trialsPending", 0) + counted.get("trialsRunning", 0)
    if active > spec["parallelTrialCount"]:
        return int(spec["parallelTrialCount"] - active)
    required = min(spec["maxTrialCount"] - _completed(counted), spec["parallelTrialCount"])
    return int(max(0, required - active))


def trial(experiment: Object, name: str, assignments: list[Object]) -> Object:
    """The Trial of an assignment."""
    meta, spec = experiment["metadata"], experiment["spec"]
    template = spec["trialTemplate"]
    values = {one["name"]: one["value"] for one in assignments}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Trial",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**meta.get("labels", {}), "katib.kubeflow.org/experiment": meta["name"]},
            "ownerReferences": [owner(experiment)],
            "finalizers": ["clean-metrics-in-db"],
        },
        "spec": {
            "objective": spec["objective"],
            "parameterAssignments": assignments,
            "metricsCollector": spec["metricsCollectorSpec"],
            "primaryContainerName": template["primaryContainerName"],
            "retainRun": template.get("retain", False),
            "runSpec": _run_spec(experiment, name, values),
        },
    }


def _run_spec(experiment: Object, name: str, values: Mapping[str, str]) -> Object:
    template = experiment["spec"]["trialTemplate"]
    text = json.dumps(template["trialSpec"])
    for one in template["trialParameters"]:
        meta = {"${trialSpec.Name}": name}
        value = meta.get(one["reference"]) or values[one["reference"]]
        text = text.replace(_placeholder(one["name"]), value)
    made: Object = json.loads(text)
    made.setdefault("metadata", {}).update(name=name, namespace=experiment["metadata"]["namespace"])
    return made


def owner(thing: Object) -> Object:
    """The controller reference to one of Katib's objects."""
    named = {"name": thing["metadata"]["name"], "uid": thing["metadata"]["uid"]}
    own = {"apiVersion": thing["apiVersion"], "kind": thing["kind"], **named}
    return {**own, "controller": True, "blockOwnerDeletion": True}


def observation(trial: Object, log: str) -> Object:
    """What the collector reports of a log, as the Trial has it afterwards."""
    name = trial["spec"]["objective"]["objectiveMetricName"]
    (pattern,) = trial["spec"]["metricsCollector"]["source"]["filter"]["metricsFormat"]
    found = [
        match[1]
        for line in log.splitlines()
        if name in line
        for match in re.findall(pattern, line)
        if match[0].strip() == name
    ]
    numbers = [text for text in found if re.fullmatch(r"[-+.\deE]+", text)]
    metric = {"name": name, "min": UNAVAILABLE, "max": UNAVAILABLE, "latest": UNAVAILABLE}
    if numbers:
        metric |= {"min": min(numbers, key=float), "max": max(numbers, key=float)}
    if found:
        metric["latest"] = found[-1]
    return {"metrics": [metric]}
