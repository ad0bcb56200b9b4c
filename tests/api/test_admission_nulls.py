"""Keys of the experiment that are null, by every way to a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.api.admission_cases import CHOICE, NULLS, TRAIN, changed
from tests.api.clients import DinoJobs, Kubectl
from tests.api.operator_cluster import Cluster, a_manifest, condition_of
from tests.api.operator_process import Process, eventually
from tests.api.test_admission_search import SEARCH

KEPT = {"create": ("create",), "server-side": ("apply", "--server-side")}
"""Ways that store a null."""
APPLY = ("apply", "--server-side=false")
"""The way on which kubectl drops it, and notes it."""
EXPERIMENT = "spec.experiment"


def stored(kubectl: Kubectl, words: tuple[str, ...], manifest: Any) -> Any:
    """The object as it would be stored."""
    text = yaml.safe_dump(manifest)
    taken = kubectl(*words, "--dry-run=server", "-o", "json", "-f", "-", stdin=text)
    assert taken.returncode == 0, taken.stderr
    return json.loads(taken.stdout)


def at(thing: Any, path: str) -> Any:
    for name in path.split("."):
        if name not in thing:
            return "absent"
        thing = thing[name]
    return thing


def every(path: str, inside: str = "spec.") -> Any:
    """The smallest job or search with a null at the path."""
    start = {} if inside == "spec." else {"start": SEARCH}
    return changed((path.replace("spec.", inside, 1), None), **start)


@pytest.mark.parametrize("way", KEPT)
def test_a_null_of_the_experiment_is_stored(kubectl: Kubectl, way: str) -> None:
    for path in NULLS:
        assert at(stored(kubectl, KEPT[way], every(path)), path) is None, path


def test_kubectl_apply_drops_it(kubectl: Kubectl) -> None:
    for path in NULLS:
        assert at(stored(kubectl, APPLY, every(path)), path) == "absent", path


def test_a_client_without_kubectl_stores_it(dinojobs: DinoJobs) -> None:
    whole = [(path, None) for path in NULLS if not any(f"{path}." in each for each in NULLS)]
    made = dinojobs.create(changed(*whole))
    assert [at(made, path) for path, _ in whole] == [None] * len(whole)


@pytest.mark.parametrize("way", KEPT)
def test_a_search_stores_it_too_also_of_a_key_that_is_searched(kubectl: Kubectl, way: str) -> None:
    assert f"{TRAIN}.optim.lr".endswith(SEARCH["spec"]["search"][0]["path"])
    for path in NULLS:
        manifest = every(path, "spec.template.")
        assert (
            at(stored(kubectl, KEPT[way], manifest), path.replace("spec.", "spec.template.", 1))
            is None
        )


def test_a_choice_is_dropped_but_by_the_server_which_names_the_choices(kubectl: Kubectl) -> None:
    """The API server takes null as none of an enum, nullable or not, even where null is in it."""
    for words in (APPLY, KEPT["create"]):
        assert at(stored(kubectl, words, every(CHOICE)), CHOICE) == "absent"
    refused = kubectl(*KEPT["server-side"], "-f", "-", stdin=yaml.safe_dump(every(CHOICE)))
    assert refused.returncode
    assert f"{CHOICE}: Unsupported value: null: supported values: " in refused.stderr
    assert '"fp32", "fp16", "bf16"' in refused.stderr


def test_a_list_has_no_entry_without_a_value(kubectl: Kubectl) -> None:
    manifest = changed((f"{TRAIN}.optim.lr_steps", [1, None]))
    for words in (APPLY, *KEPT.values()):
        refused = kubectl(*words, "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(manifest))
        assert refused.returncode
        assert "lr_steps[1]" in refused.stderr


def test_a_rule_counts_a_null_as_left_out(kubectl: Kubectl) -> None:
    """Three levels of features are given, and the number of levels is 4 where it is left out."""
    levels = ("spec.experiment.model.return_interm_indices", [1, 2, 3])
    left_out = changed(levels)
    null = changed(levels, ("spec.experiment.model.num_feature_levels", None))
    for words in KEPT.values():
        said = [
            kubectl(*words, "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(each)).stderr
            for each in (left_out, null)
        ]
        assert said[0] == said[1]
        assert "num_feature_levels" in said[0]


def test_an_unknown_key_beside_a_null_is_refused(kubectl: Kubectl) -> None:
    manifest = changed((f"{TRAIN}.num_epochs", None), (f"{TRAIN}.num_epoch", 3))
    for words in (APPLY, *KEPT.values()):
        refused = kubectl(*words, "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(manifest))
        assert refused.returncode
        assert "num_epoch" in refused.stderr


def test_a_job_with_nulls_stays_with_the_way_that_made_it(kubectl: Kubectl) -> None:
    """kubectl apply would remove the null that is stored, and the experiment is immutable."""
    text = yaml.safe_dump(every(f"{TRAIN}.num_epochs"))
    assert kubectl("create", "-f", "-", stdin=text).returncode == 0
    again = kubectl(*APPLY, "-f", "-", stdin=text)
    assert again.returncode
    assert "experiment is immutable" in again.stderr
    other = kubectl(*KEPT["server-side"], "-f", "-", stdin=text)
    assert other.returncode == 0, other.stderr


@pytest.mark.parametrize("words", [APPLY, *KEPT.values()], ids=["apply", *KEPT])
def test_the_operator_takes_it_as_left_out_and_says_so(
    cluster: Cluster, operator: Process, words: tuple[str, ...]
) -> None:
    name = f"nulls-{words[0]}{len(words)}{words[-1].count('side=')}"
    cluster.by_hand.add(name)
    manifest = a_manifest(name, experiment={"train": {"num_epochs": None}, "model": None})
    made = cluster.kubectl(*words, "-f", "-", stdin=yaml.safe_dump(manifest))
    assert made.returncode == 0, made.stderr
    eventually(lambda: cluster.jobs_of(name), "a Job")
    (job,) = cluster.jobs_of(name)
    said = json.dumps(job["metadata"]["annotations"])
    assert (
        "spec.experiment.train.num_epochs: has no value (null), and is taken as left out." in said
    )
    told = cluster.phase(name, "Preparing")
    assert condition_of(told, "Failed").get("status") != "True"
