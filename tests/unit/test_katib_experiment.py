"""The Experiment: every pitfall of a running Katib, by name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dino_api.base import URI
from dino_api.names import LONGEST_SEARCHED_OUTPUT, Label
from dino_operator.plan.model import Settings
from dino_operator.plan.rendered import children, spec_file
from dino_operator.plan.rendered.pods import Attempt
from dino_operator.plan.search.engines.katib import experiment
from tests.unit.katib_cases import BACKBONE, LR, NAME, QUERIES, a_search, a_view

Object = dict[str, Any]


def rendered(**spec: Any) -> Object:
    """The Experiment of a search."""
    return experiment.to_create(a_view(a_search(**spec)))[-1]


def trial_job(**template: Any) -> Object:
    return rendered(template=template)["spec"]["trialTemplate"]["trialSpec"]


def trainer(**template: Any) -> Object:
    return trial_job(**template)["spec"]["template"]["spec"]["containers"][0]


def test_its_name_is_that_of_the_uid_and_has_at_most_40_characters() -> None:
    """Katib refuses longer ones, and mixes up equal names, also of two namespaces."""
    name = rendered()["metadata"]["name"]
    assert name == NAME
    assert len(name) <= 40
    other = a_search()
    other["metadata"]["uid"] = "1f3e5a52-7b1d-4c55-9e0a-5a3f2f9f4b11"
    assert experiment.to_create(a_view(other))[-1]["metadata"]["name"] != name


def test_the_longest_output_leaves_room_for_the_folder_of_a_trial() -> None:
    """Katib adds a hyphen and eight letters to the Experiment's name."""
    longest = "s3://results/".ljust(LONGEST_SEARCHED_OUTPUT, "x")
    view = a_view(a_search(template={"output": {"uri": longest}}))
    assert len(experiment.output(view, f"{NAME}-12345678")) <= URI


def test_it_is_ours_and_goes_with_the_dinoautoml() -> None:
    meta = rendered()["metadata"]
    assert meta["labels"][Label.AUTOML] == "tune"
    assert meta["ownerReferences"][0]["kind"] == "DinoAutoML"
    assert meta["ownerReferences"][0]["controller"]


def test_it_is_json_and_every_value_a_text() -> None:
    """YAML writers turn 5e-4 into something that Katib refuses."""
    made = rendered()
    assert json.loads(json.dumps(made)) == made
    parameters = {each["name"]: each for each in made["spec"]["parameters"]}
    lr = parameters["train.optim.lr"]
    assert lr["parameterType"] == "double"
    assert lr["feasibleSpace"] == {
        "min": "0.00001",
        "max": "0.0005",
        "distribution": "logUniform",
    }
    queries = parameters["model.num_queries"]
    assert queries["parameterType"] == "int"
    assert queries["feasibleSpace"] == {
        "min": "100",
        "max": "900",
        "step": "50",
        "distribution": "uniform",
    }
    assert parameters["model.backbone"] == {
        "name": "model.backbone",
        "parameterType": "categorical",
        "feasibleSpace": {"list": ["resnet_50", "timm/tf_efficientnet_lite0"]},
    }


def test_counts() -> None:
    """Katib fails at its number, the search above its; none may exceed maxTrialCount. The baseline
    is a trial that Katib does not run."""
    spec = rendered(maxTrials=10, parallelTrials=4, maxFailedTrials=3)["spec"]
    assert spec["maxTrialCount"] == 9
    assert spec["parallelTrialCount"] == 4
    assert spec["maxFailedTrialCount"] == 4
    spec = rendered(maxTrials=3, parallelTrials=3, maxFailedTrials=3)["spec"]
    counts = (spec["maxTrialCount"], spec["parallelTrialCount"], spec["maxFailedTrialCount"])
    assert counts == (2, 2, 2)


def test_it_never_restarts_and_keeps_its_jobs() -> None:
    spec = rendered()["spec"]
    assert spec["resumePolicy"] == "Never", "LongRunning keeps a Deployment for ever"
    assert spec["trialTemplate"]["retain"] is True, "else Job and log go with the Trial's end"


def test_objective_and_algorithm() -> None:
    spec = rendered(objective={"goal": 0.5}, algorithm={"name": "random", "seed": 7})["spec"]
    assert spec["objective"]["type"] == "maximize"
    assert spec["objective"]["goal"] == 0.5
    assert spec["algorithm"] == {
        "algorithmName": "random",
        "algorithmSettings": [{"name": "random_state", "value": "7"}],
    }
    assert "goal" not in rendered()["spec"]["objective"]


@pytest.mark.parametrize(
    "text, found",
    [
        ("Validation mAP50: 0.4123", ["0.4123"]),
        ("Validation mAP50 : 0.4", ["0.4"]),
        ("Validation mAP50: 1", ["1"]),
        ("Validation mAP50: 4e-05", ["4e-05"]),
        ("Validation mAP50: nan", []),
        ("Validation mAP50: inf", []),
        ("Validation mAP50: ", []),
        ("Validation mAP: 0.4", []),
        ("epoch 1/2  step 3/4  mAP50 0.4", []),
    ],
)
def test_only_numbers_are_metrics(text: str, found: list[str]) -> None:
    """With Katib's own filter a NaN is an empty metric, which becomes the best and then stops it.
    The first group must be the metric's name, or every trial ends without one."""
    spec = rendered()["spec"]
    (pattern,) = spec["metricsCollectorSpec"]["source"]["filter"]["metricsFormat"]
    assert spec["metricsCollectorSpec"]["collector"] == {"kind": "StdOut"}
    assert ";" not in pattern, "Katib joins and splits the filters by it"
    matches = re.findall(pattern, text)
    assert [value for _, value in matches] == found
    assert all(name == spec["objective"]["objectiveMetricName"] for name, _ in matches)


def test_every_parameter_is_referenced_and_every_reference_declared() -> None:
    template = rendered()["spec"]["trialTemplate"]
    declared = {each["name"]: each["reference"] for each in template["trialParameters"]}
    used = set(re.findall(r"\$\{trialParameters\.(.+?)\}", json.dumps(template["trialSpec"])))
    assert used == set(declared)
    searched = [LR["path"], QUERIES["path"], BACKBONE["path"]]
    assert [declared[path] for path in searched] == searched
    assert declared["trialName"] == "${trialSpec.Name}"


def test_the_job_is_retried_by_nobody_and_kept() -> None:
    """Katib makes a Job that vanished before its Trial ended again: it would train once more."""
    spec = trial_job(runPolicy={"ttlSecondsAfterFinished": 5, "activeDeadlineSeconds": 300})["spec"]
    assert spec["backoffLimit"] == 0
    assert "ttlSecondsAfterFinished" not in spec
    assert spec["activeDeadlineSeconds"] == 300, "Katib has no limit of its own"
    assert "activeDeadlineSeconds" not in trial_job()["spec"]


def test_the_failure_policy_puts_the_exit_code_into_the_trials_message() -> None:
    """Without it every failure is BackoffLimitExceeded."""
    rules = trial_job()["spec"]["podFailurePolicy"]["rules"]
    last = {"containerName": "trainer", "operator": "NotIn", "values": [143]}
    assert rules[-1] == {"action": "FailJob", "onExitCodes": last}
    assert any(rule["action"] == "Ignore" and "onPodConditions" in rule for rule in rules)


def test_the_trainer_is_the_primary_container_and_the_first() -> None:
    """Katib copies the security context of containers[0] to its own."""
    template = rendered()["spec"]["trialTemplate"]
    assert template["primaryContainerName"] == "trainer"
    assert trainer()["name"] == "trainer"
    assert trainer()["securityContext"]["readOnlyRootFilesystem"]
    assert "primaryPodLabels" not in template, "a Job of one pod needs none"


def test_metadata_of_the_job_is_labels_alone() -> None:
    """Katib refuses a name; and only labels of the template reach the Job, Kueue's among them."""
    meta = trial_job(queueName="gpus")["metadata"]
    assert set(meta) == {"labels"}
    assert meta["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert meta["labels"][Label.AUTOML] == "tune"
    assert meta["labels"][Label.ACTION] == "train"
    assert Label.JOB not in meta["labels"]
    pod = trial_job()["spec"]["template"]["metadata"]["labels"]
    assert pod[Label.AUTOML] == "tune"
    assert Label.JOB not in pod


def test_the_job_is_that_of_a_dinojob_but_for_what_katib_needs() -> None:
    template = {
        "resources": {"gpus": 2, "memory": "8Gi"},
        "storage": {"secretName": "keys"},
        "podTemplate": {"nodeSelector": {"gpu": "h200"}, "env": [{"name": "A", "value": "b"}]},
        "priorityClassName": "low",
    }
    view = a_view(a_search(template=template))
    job = experiment.as_job(view)
    theirs = children.job(job, spec_file.read_spec(job), Attempt(1), view.settings)
    ours = trial_job(**template)
    assert {**ours["spec"], "template": None} == {**theirs["spec"], "template": None}
    mine, other = ours["spec"]["template"]["spec"], theirs["spec"]["template"]["spec"]
    changed = ("containers", "volumes")
    assert {k: v for k, v in mine.items() if k not in changed} == {
        k: v for k, v in other.items() if k not in changed
    }
    (one,), (two,) = mine["containers"], other["containers"]
    same = {key for key in two if one.get(key) == two[key]}
    assert set(two) - same == {"command", "env", "volumeMounts"}
    assert {"A", "AWS_ACCESS_KEY_ID", "DINO_CACHE_DIR", "DINO_POD_NAME"} <= {
        each["name"] for each in one["env"]
    }


def test_a_trial_speaks_to_no_dinojob() -> None:
    names = {each["name"] for each in trainer()["env"]}
    assert not names & {"DINO_JOB_NAME", "DINO_JOB_UID", "DINO_TOKEN_DIR"}
    pod = trial_job()["spec"]["template"]["spec"]
    assert "token" not in json.dumps(pod["volumes"])
    assert "token" not in json.dumps(pod["containers"][0]["volumeMounts"])


def test_the_config_map_holds_the_template_and_the_space() -> None:
    made = experiment.to_create(a_view())
    (config,) = [each for each in made if each["kind"] == "ConfigMap"]
    volumes = trial_job()["spec"]["template"]["spec"]["volumes"]
    assert {"name": "spec", "configMap": {"name": config["metadata"]["name"]}} in volumes
    searched = json.loads(config["data"]["search.json"])["space"]
    assert [one["path"] for one in searched] == [LR["path"], QUERIES["path"], BACKBONE["path"]]
    assert "monitor: val_mAP50" in config["data"]["spec.yaml"]
    assert config["immutable"]
    assert [each["kind"] for each in made] == [
        "ServiceAccount",
        "RoleBinding",
        "ConfigMap",
        "Experiment",
    ]


def test_several_nodes_meet_within_their_trial_and_one_reports() -> None:
    """Without the label both pods would report."""
    made = experiment.to_create(a_view(a_search(template={"resources": {"nodes": 2}})))
    (service,) = [each for each in made if each["kind"] == "Service"]
    template = made[-1]["spec"]["trialTemplate"]
    assert template["primaryPodLabels"] == {"batch.kubernetes.io/job-completion-index": "0"}
    spec = template["trialSpec"]["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 2)
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    where = f"${{trialParameters.trialName}}-0.{pod['subdomain']}:29400"
    assert env["DINO_RDZV_ENDPOINT"] == where
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_shared_objects_that_are_known_are_not_made_again() -> None:
    known = frozenset(
        {("ServiceAccount", "dino-trainer"), ("RoleBinding", "dino-trainer-progress")}
    )
    made = experiment.to_create(a_view(known=known))
    assert [each["kind"] for each in made] == ["ConfigMap", "Experiment"]


def test_settings_reach_the_trials() -> None:
    view = a_view(settings=Settings(trainer_image="other:2", image_pull_policy="Always"))
    job = experiment.to_create(view)[-1]["spec"]["trialTemplate"]["trialSpec"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("other:2", "Always")
