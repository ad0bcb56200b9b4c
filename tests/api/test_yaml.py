"""The real kubectl and API server read YAML as our reader does, and judge types as render does."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dino_api.kubectl_yaml.reader import read_all
from dino_api.kubectl_yaml.scalars import as_json
from dino_operator.kubectl import main
from tests.api.admission_cases import changed
from tests.api.clients import Kubectl
from tests.yaml_scalars import EMPTY, READ, REFUSED, TWICE

GROUP = "test.dino-operator.io"
HEAD = f"apiVersion: {GROUP}/v1\nkind: Scalar\nmetadata: {{name: s%d}}\n"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"scalars.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Scalar", "plural": "scalars", "singular": "scalar"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def scalars(kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl where a kind without a schema exists: it keeps whatever it is sent."""
    made = kubectl("apply", "-f", "-", stdin=json.dumps(CRD))
    assert made.returncode == 0, made.stderr
    name = CRD["metadata"]["name"]  # type: ignore[index]
    kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    yield kubectl
    kubectl("delete", "crd", name)


def test_what_reaches_the_api_server_is_what_our_reader_reads(scalars: Kubectl) -> None:
    texts = [*READ, *EMPTY]
    file = "---\n".join(HEAD % n + f"value: {text}\n" for n, text in enumerate(texts))
    made = scalars("create", "-f", "-", stdin=file)
    assert made.returncode == 0, made.stderr
    listed = scalars("get", "scalars", "-o", "json").stdout
    items = json.loads(listed, parse_int=lambda digits: as_json(int(digits)))["items"]
    stored = {each["metadata"]["name"]: each["value"] for each in items}
    read = {each["metadata"]["name"]: each["value"] for each in read_all(file)}
    told = {text: stored[f"s{n}"] for n, text in enumerate(texts)}
    assert told == {**READ, **dict.fromkeys(EMPTY)}
    assert json.dumps(stored, sort_keys=True) == json.dumps(read, sort_keys=True), "10 is not 10.0"
    for text in REFUSED:
        refused = scalars("create", "-f", "-", stdin=HEAD % 999 + f"value: {text}\n")
        assert refused.returncode, text
    for n, text in enumerate(TWICE):
        taken = scalars("create", "-f", "-", stdin=HEAD % (2000 + n) + f"value: {text}\n")
        assert taken.returncode == 0, "kubectl refuses them now: say so in the reader"


EPOCHS, POLICY = "spec.experiment.train.num_epochs", "spec.runPolicy.activeDeadlineSeconds"
JUDGED: dict[str, tuple[str, str, bool]] = {
    "a whole number with an exponent": (EPOCHS, "1e1", True),
    "a whole number with a point": (EPOCHS, "10.0", True),
    "a deadline with an exponent": (POLICY, "1e3", True),
    "half an epoch": (EPOCHS, "1.5", False),
    "more than 64 bits": (EPOCHS, "1e19", False),
    "a number in quotes": (EPOCHS, '"10"', False),
    "a limit in quotes": ("spec.runPolicy.maxRetries", "'3'", False),
    "a rate with an exponent": ("spec.experiment.train.optim.lr", "1e-4", True),
    "a rate in quotes": ("spec.experiment.train.optim.lr", '"1e-4"', False),
    "a flag as a word": ("spec.experiment.train.ema.enabled", "yes", True),
    "a flag in quotes": ("spec.experiment.train.ema.enabled", '"true"', False),
    "a flag as a number": ("spec.experiment.train.ema.enabled", "1", False),
    "a policy that is a flag": ("spec.automlPolicy", "off", False),
    "a text that is a number": ("spec.output.uri", "5", False),
    "half a CPU": ("spec.resources.cpu", "0.5", True),
    "half a CPU in quotes": ("spec.resources.cpu", '"0.5"', True),
    "whole CPUs": ("spec.resources.cpu", "2", True),
    "memory as a number": ("spec.resources.memory", "16e9", True),
    "no CPU": ("spec.resources.cpu", "0", False),
    "less than none": ("spec.resources.cpu", "-0.5", False),
    "a CPU that is a flag": ("spec.resources.cpu", "yes", False),
    "a list of CPUs": ("spec.resources.cpu", "[1]", False),
    "a strange quantity": ("spec.resources.cpu", "2x", False),
    "an empty list entry": ("spec.experiment.train.optim.lr_steps", "[1, null]", False),
    "a label that is a number": ("spec.podTemplate.labels", "{a: 1}", False),
    "a section without a value": ("spec.podTemplate", "", True),
    "a key whose absence is nothing": (POLICY, "", True),
}


@pytest.mark.parametrize(("path", "text", "taken"), JUDGED.values(), ids=JUDGED.keys())
def test_render_takes_what_the_api_server_takes(
    kubectl: Kubectl,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    text: str,
    taken: bool,
) -> None:
    manifest = yaml.safe_dump(changed((path, "HERE"))).replace("HERE", text)
    made = kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)
    assert (made.returncode == 0) == taken, made.stderr
    monkeypatch.setattr(sys, "stdin", io.StringIO(manifest))
    status = main(["render", "-f", "-"])
    said = capsys.readouterr().err
    assert (status == 0) == taken, said
    assert taken or path in said


def test_a_choice_without_a_value_is_refused_by_name(kubectl: Kubectl) -> None:
    manifest: Any = changed(("spec.automlPolicy", None))
    for words in (("create",), ("apply", "--server-side")):
        refused = kubectl(*words, "-f", "-", stdin=yaml.safe_dump(manifest))
        assert refused.returncode
        assert "spec.automlPolicy: Unsupported value: null" in refused.stderr
