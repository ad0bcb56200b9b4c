"""`kubectl dino validate` and a real API server, of the same manifests: they refuse the same."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from kubernetes.client import ApiException

from dino_api.rules.experiment import RULES
from dino_operator.admission import refusals
from dino_operator.admission.refusals import UNCHECKED
from tests.api.admission_cases import BAD, BAD_OF, causes, changed, of
from tests.api.clients import DinoJobs
from tests.api.test_admission import GOOD
from tests.api.test_admission_search import BAD as BAD_SEARCHES
from tests.api.test_admission_search import SEARCH
from tests.unit.api_rule_cases import CASES

Object = dict[str, Any]


def experiments() -> list[Object]:
    """Of every rule of the experiment what keeps it and what breaks it."""
    found = []
    for rule in RULES:
        case = CASES.get(rule.id)
        for given in (case.broken, case.fine) if case and rule.cel else ():
            classes = [("spec.numClasses", case.classes)] if case.classes else []
            found.append(of(case.action, ("spec.experiment", given), *classes))
    return found


TABLES: dict[str, list[Object]] = {
    "bad jobs": [changed((path, value)) for path, value, *_ in BAD.values()],
    "bad jobs of each action": [of(action, *told) for action, told, *_ in BAD_OF.values()],
    "good jobs": [of(action, *told) for action, told in GOOD.values()],
    "bad searches": [changed(*told, start=SEARCH) for told, *_ in BAD_SEARCHES.values()],
    "experiments": experiments(),
    "what render accepted": [
        changed(("spec.podTemplate.env", [{"name": "AWS_CA_BUNDLE", "value": "/ca.pem"}])),
        changed(("metadata.name", "Cells")),
        changed(("metadata.labels", {"team": "the red one"})),
        changed(("metadata.label", {})),
        changed(("specs", {})),
        changed(("spec.action", "trian"), ("spec.output.uri", "/x")),
        changed(("spec.runPolicy", {"ttlSecondsAfterFinished": 1e20})),
        SEARCH,
    ],
}


def told(api: Any, namespace: str, manifest: Object) -> list[tuple[str, str]]:
    """Field and message of each cause of the API server; nothing where it takes the object."""
    plural = "dinoautomls" if manifest["kind"] == "DinoAutoML" else "dinojobs"
    jobs = DinoJobs(api, namespace, plural)
    sent = copy.deepcopy(manifest)
    try:
        jobs.api.create_namespaced_custom_object(
            **jobs._where, body=sent, field_validation="Strict", dry_run="All"
        )
    except ApiException as error:
        return causes(error)
    return []


@pytest.mark.parametrize("table", TABLES)
def test_the_api_server_refuses_what_validate_refuses(dinojobs: DinoJobs, table: str) -> None:
    wrong = []
    for manifest in TABLES[table]:
        ours, theirs = refusals(manifest), told(dinojobs.api, dinojobs.namespace, manifest)
        if bool(ours) != bool(theirs) or not agree(ours, theirs):
            wrong.append((manifest["metadata"], [str(each) for each in ours], theirs))
    assert not wrong, json.dumps(wrong, indent=1)


def agree(ours: list[Any], theirs: list[tuple[str, str]]) -> bool:
    """Whether each field that the API server names is named here, and no other; and each sentence
    of a rule is the same. Of unknown keys and metadata it names no field, and asks no more."""
    if any(not field and "strict decoding" in message for field, message in theirs):
        return all(name in theirs[0][1] for name in unknown(ours)) and bool(unknown(ours))
    said = "\n".join(message for _, message in theirs)
    listed = {field for field, _ in theirs if field} - {"<nil>", "metadata.name"}
    unlisted = {each.field for each in ours if f'"{each.field}" must' in said} - listed
    named = {each.field for each in ours if each.field} - unlisted - {"metadata.name"}
    rules = [each.message for each in ours if not each.blocking and each.message != UNCHECKED]
    return named == listed and all(words(each) in said for each in rules)


def unknown(ours: list[Any]) -> list[str]:
    return [each.field for each in ours if each.message.startswith("is unknown")]


def words(message: str) -> str:
    """Without what was given, which the API server quotes in another way."""
    return message.rpartition(": ")[2] if message.startswith("Invalid value") else message
