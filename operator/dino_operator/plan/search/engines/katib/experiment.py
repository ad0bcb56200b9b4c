"""Rendering of the Experiment, and of what its trials need besides.

The trial's Job is that of a DinoJob (`rendered.children`), with what Katib needs changed: so cache,
resources, security context, data staging and failure policy are the same on both engines.
`docs/katib.md` has the reason of each choice.
"""

from __future__ import annotations

import json
from types import ModuleType

from dino_api import names as api
from dino_api.names import METRIC, TERMINATION_LOG, Action, Env, Label, Option
from dino_api.resources.dinoautoml import SearchParameter
from dino_operator.plan.model import Object
from dino_operator.plan.observed import queue_labels
from dino_operator.plan.observed.objects import CONTAINER, INDEX_LABEL
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import carried_labels, children, limit_ranges, names, spec_file
from dino_operator.plan.rendered.pods import TOKEN_DIR, Attempt
from dino_operator.plan.search.engines.katib import space
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs

API_VERSION = "kubeflow.org/v1beta1"
KIND = "Experiment"
# Digits, nothing else: with Katib's own filter a NaN becomes the best trial and stops the search.
FILTER = rf"({METRIC})\s*:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
NAME_PARAMETER = "trialName"
SIDECAR_PATIENCE = 60
"""Seconds that a trainer that is done waits for a metrics collector that has not started."""

BEST = rf's/.*"metrics":{{{{[^}}}}]*"mAP50":\([0-9.e-]*\).*/{METRIC}: \1/p'
"""Reads the best metric out of the trainer's last words."""

# The shell that Katib puts around a trainer: one compound command, as Katib appends a redirection
# and `&& echo completed` to it. It hands SIGTERM on and waits for the checkpoint. Katib reads the
# log of the last pod only, so the best metric is said again for a trial that was held or preempted.
# A trainer that was quick waits until the collector's process is there (the third without a parent,
# after that of the pod and this shell), which otherwise finds nobody to watch and fails the pod. No
# newline, no exec, no exit: each of them loses the metric or the exit code. No `$$`: the kubelet
# reads it.
SCRIPT = (
    "{{ trap 't=1; kill -TERM $c 2>/dev/null' TERM; {command} & c=$!; "
    'if [ -n "$t" ]; then kill -TERM $c; fi; wait $c; r=$?; '
    "while kill -0 $c 2>/dev/null; do wait $c; r=$?; done; "
    f"if [ $r -eq 0 ]; then sed -n '{BEST}' {{words}}; "
    "n=0; until [ $n -ge {patience} ] || "
    "[ \"$(cat /proc/[0-9]*/status 2>/dev/null | grep -c '^PPid:[^0-9]*0$')\" -ge 3 ]; "
    "do sleep 1; n=$((n + 1)); done; sleep 2; fi; (exit $r); }}"
)
# What speaks to the DinoJob of a pod: a trial of Katib has none.
DINOJOB_VARIABLES = {
    each.value for each in (Env.JOB_NAME, Env.JOB_NAMESPACE, Env.JOB_UID, Env.ATTEMPT)
}
TOKEN = "token"


def to_create(view: SearchView) -> tuple[Object, ...]:
    """What the search needs in the cluster, the Experiment last. Raises InvalidSpec."""
    job = as_job(view)
    resolved = spec_file.read_spec(job)
    needed = [*children.shared(job), config_map(view, resolved)]
    if view.search.template.resources.nodes > 1:
        needed.append(_service(view, job, resolved))
    return (*view.children.lacking(needed), experiment(view, resolved))


def as_job(view: SearchView) -> DinoJob:
    """The DinoJob that a trial would be on the other engine: the template, trained once."""
    made = dinojobs.dinojob(view, view.name, view.output)
    kueues = queue_labels.carried(DinoJob(made))
    meta = {"name": view.name, "namespace": view.namespace, "uid": view.uid}
    made["metadata"] = meta | carried_labels.merged(view.resource, kueues)
    return DinoJob(made)


def config_map(view: SearchView, resolved: spec_file.ResolvedSpec) -> Object:
    """The template's resolved spec and the search space; `dino train` makes the trial of both."""
    searched = {"space": [one.to_dict() for one in view.search.space]}
    data = {
        api.SPEC_KEY: resolved.content,
        api.SEARCH_KEY: json.dumps(searched, indent=1, sort_keys=True),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": view.metadata(_config_name(view, data)),
        "immutable": True,
        "data": data,
    }


def _config_name(view: SearchView, data: dict[str, str]) -> str:
    return names.fit(f"{view.name}-search-{names.short_hash(view.uid, *data.values())}")


def _service(view: SearchView, job: DinoJob, resolved: spec_file.ResolvedSpec) -> Object:
    """The Service by which pods of a trial meet, under the name of its first one."""
    made = children.service(job, resolved)
    made["metadata"] = view.metadata(made["metadata"]["name"])
    made["spec"]["selector"] = _pod_labels(view)
    return made


def experiment(view: SearchView, resolved: spec_file.ResolvedSpec) -> Object:
    """The Experiment, by Katib's own models, as JSON types."""
    # The models cost a second and 40 MB; most operators never need them.
    from kubeflow_katib_api import models  # type: ignore[import-untyped]

    search = view.search
    trials = trial_counts(view)
    spec = models.V1beta1ExperimentSpec(
        objective=models.V1beta1ObjectiveSpec(
            type="maximize", objective_metric_name=METRIC, goal=view.spec.objective.goal
        ),
        algorithm=models.V1beta1AlgorithmSpec(
            algorithm_name=view.spec.algorithm.name,
            algorithm_settings=[
                models.V1beta1AlgorithmSetting(
                    name="random_state", value=str(view.spec.algorithm.seed)
                )
            ],
        ),
        parallel_trial_count=trials["parallelTrialCount"],
        max_trial_count=trials["maxTrialCount"],
        max_failed_trial_count=trials["maxFailedTrialCount"],
        resume_policy="Never",
        parameters=[_parameter(models, one) for one in search.space],
        metrics_collector_spec=models.V1beta1MetricsCollectorSpec(
            collector=models.V1beta1CollectorSpec(kind="StdOut"),
            source=models.V1beta1SourceSpec(
                filter=models.V1beta1FilterSpec(metrics_format=[FILTER])
            ),
        ),
        trial_template=_trial_template(models, view, resolved),
    )
    made = models.V1beta1Experiment(spec=spec).to_dict()["spec"]
    meta = view.metadata(names.experiment_name(view.uid))
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": made}


def trial_counts(view: SearchView) -> dict[str, int]:
    """The three numbers that may change later. Katib fails at its maxFailedTrialCount, the search
    after its maxFailedTrials; none of Katib's may exceed maxTrialCount. The baseline is not its."""
    search = view.search
    most = search.max_trials - 1
    return {
        "maxTrialCount": most,
        "parallelTrialCount": min(search.parallel_trials, most),
        "maxFailedTrialCount": min(search.max_failed_trials + 1, most),
    }


def _parameter(models: ModuleType, one: SearchParameter) -> object:
    kind, feasible = space.feasible(one)
    return models.V1beta1ParameterSpec(
        name=one.path,
        parameter_type=kind,
        feasible_space=models.V1beta1FeasibleSpace(**feasible),
    )


def _trial_template(
    models: ModuleType, view: SearchView, resolved: spec_file.ResolvedSpec
) -> object:
    """Every parameter is referenced, and the trial's own name, which its output is under."""
    named = [(one.path, one.path) for one in view.search.space]
    named.append((NAME_PARAMETER, "${trialSpec.Name}"))
    parameters = [
        models.V1beta1TrialParameterSpec(name=name, description=name, reference=reference)
        for name, reference in named
    ]
    several = view.search.template.resources.nodes > 1
    return models.V1beta1TrialTemplate(
        retain=True,
        primary_container_name=CONTAINER,
        # The first pod alone reports; Katib would put a collector into each.
        primary_pod_labels={INDEX_LABEL: "0"} if several else None,
        trial_parameters=parameters,
        trial_spec=trial_job(view, resolved),
    )


def trial_job(view: SearchView, resolved: spec_file.ResolvedSpec) -> Object:
    """The Job of a trial, without a name: Katib gives it that of the Trial."""
    left = view.search.template.run_policy.active_deadline_seconds
    made = children.job(as_job(view), resolved, Attempt(1, seconds_left=left), view.settings)
    made = limit_ranges.fitted(made, view.children.limit_ranges)
    labels = {**_pod_labels(view), **queue_labels.carried(DinoJob(made))}
    made["metadata"] = carried_labels.merged(view.resource, labels)
    _adapt(view, made["spec"]["template"], resolved)
    return made


def _pod_labels(view: SearchView) -> dict[str, str]:
    return {**view.labels, Label.ACTION.value: Action.TRAIN.value}


def _adapt(view: SearchView, template: Object, resolved: spec_file.ResolvedSpec) -> None:
    """Changes the pod of a DinoJob to that of a trial."""
    gone = (Label.JOB.value, Label.JOB_UID.value, Label.ATTEMPT.value)
    kept = {key: text for key, text in template["metadata"]["labels"].items() if key not in gone}
    template["metadata"]["labels"] = {**kept, **_pod_labels(view)}
    pod = template["spec"]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] != TOKEN]
    for volume in pod["volumes"]:
        if volume["name"] == "spec":
            name = config_map(view, resolved)["metadata"]["name"]
            volume["configMap"] = {"name": name}
    (container,) = pod["containers"]
    mounts = container["volumeMounts"]
    changed = {
        "command": ["sh", "-c"],
        "args": [script(view)],
        "env": [_variable(each) for each in container["env"] if _is_kept(each)],
        "volumeMounts": [each for each in mounts if each["name"] != TOKEN],
    }
    pod["containers"] = [{**container, **changed}]


def _is_kept(variable: Object) -> bool:
    return variable["name"] not in DINOJOB_VARIABLES and variable.get("value") != TOKEN_DIR


def _variable(variable: Object) -> Object:
    """Pods of a trial meet at the first pod of its own Job."""
    if variable["name"] != Env.RDZV_ENDPOINT:
        return variable
    _, _, service = variable["value"].partition(".")
    return {**variable, "value": f"{reference(NAME_PARAMETER)}-0.{service}"}


def script(view: SearchView) -> str:
    """The one argument of the trial's shell."""
    return SCRIPT.format(command=command(view), words=TERMINATION_LOG, patience=SIDECAR_PATIENCE)


def command(view: SearchView) -> str:
    """`dino train` with what was drawn, every part of it a single word for the shell."""
    where = f"results_dir={output(view, reference(NAME_PARAMETER))}"
    drawn = (f"{one.path}={reference(one.path)}" for one in view.search.space)
    words = (where, *drawn)
    quoted = " ".join(f"'{word}'" for word in words)
    spec = f"{Option.EXPERIMENT} {api.SPEC_PATH}"
    return f"dino {Action.TRAIN} {spec} {Option.SEARCH} {api.SEARCH_PATH} {quoted}"


def output(view: SearchView, trial: str) -> str:
    """The folder of a trial's results."""
    return f"{view.output}/trials/{trial}"


def reference(parameter: str) -> str:
    """What Katib replaces by the value of a trialParameter."""
    return f"${{trialParameters.{parameter}}}"
