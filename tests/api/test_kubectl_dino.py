"""Each command of `kubectl dino` that asks a cluster, on a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

from dino_api.names import MANAGED_BY, MANAGED_BY_LABEL
from dino_operator.kubectl import main
from dino_operator.kubectl.logs import selector_of
from tests import statuses
from tests.api.admission_cases import changed
from tests.api.clients import DinoJobs, Kubectl
from tests.api.operator_process import eventually
from tests.patience import LONG

Said = tuple[int, str, str]
RUNNING = {
    **statuses.RUNNING,
    "progress": {"percent": 40, "curve": [{"epoch": 1, "mAP50": 0.25}]},
}


@pytest.fixture
def command(
    kubeconfig: Path, namespace: str, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Called with the command's words: exit code, standard output and error."""

    def run(*words: str) -> Said:
        status = main([*words, "--kubeconfig", str(kubeconfig), "-n", namespace])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def jobs(dinojobs: DinoJobs) -> DinoJobs:
    """`cells` runs, `old` is complete."""
    dinojobs.create(changed())
    dinojobs.create(changed(("metadata.name", "old")))
    dinojobs.patch_status("cells", RUNNING)
    dinojobs.patch_status("old", statuses.COMPLETE)
    return dinojobs


def test_status(command: Callable[..., Said], jobs: DinoJobs) -> None:
    status, out, _ = command("status")
    head, one, other = out.splitlines()
    assert status == 0
    assert head.split()[:3] == ["NAME", "KIND", "PHASE"]
    assert "cells" in one
    assert "40%" in one
    assert "old" in other
    assert "0.7500" in other
    assert f"Complete (Completed): {statuses.DONE}" in command("status", "old")[1]
    assert json.loads(command("status", "dinojob/old", "-o", "json")[1])["status"]["phase"]
    assert command("status", "nothing")[0] == 66
    assert command("status", "pod/old")[0] == 64


def test_curve(command: Callable[..., Said], jobs: DinoJobs) -> None:
    assert "epoch 1  0.2500" in command("curve", "cells")[1]
    assert yaml.safe_load(command("curve", "cells", "-o", "yaml")[1]) == [
        {"epoch": 1, "mAP50": 0.25}
    ]


def test_suspend_resume_stop(command: Callable[..., Said], jobs: DinoJobs) -> None:
    def policy() -> Any:
        return jobs.get("cells")["spec"]["runPolicy"]

    assert command("suspend", "cells")[:2] == (0, "DinoJob cells: suspended\n")
    assert policy() == {"suspend": True}
    assert "it is so already" in command("suspend", "cells")[1]
    assert command("resume", "cells")[0] == 0
    assert policy() == {"suspend": False}
    assert command("stop", "cells")[:2] == (0, "DinoJob cells: stopping\n")
    assert policy() == {"suspend": False, "stop": True}
    assert command("stop", "old")[0] == 64


def test_diff(command: Callable[..., Said], jobs: DinoJobs) -> None:
    jobs.create(changed(("metadata.name", "other"), ("spec.numClasses", 4)))
    status, out, _ = command("diff", "old", "other")
    assert status == 0
    assert out.splitlines()[0].split() == ["FIELD", "old", "other"]
    assert "spec.numClasses" in out
    found = json.loads(command("diff", "old", "other", "-o", "json")[1])
    assert {"field": "spec.numClasses", "a": None, "b": 4} in found


def test_again(command: Callable[..., Said], jobs: DinoJobs) -> None:
    status, out, _ = command("again", "old", "train.optim.lr=5e-5", "--dry-run")
    assert status == 0
    assert yaml.safe_load(out)["metadata"]["name"] == "old-2"
    status, out, _ = command("again", "old", "train.optim.lr=5e-5")
    assert (status, out.splitlines()[0]) == (0, "DinoJob old-2: created; it starts from old")
    made = jobs.get("old-2")["spec"]
    assert made["parent"] == {"name": "old"}
    assert made["experiment"] == {"train": {"optim": {"lr": 5e-5}}}
    assert "old-3" in command("again", "old")[1]
    assert command("again", "cells")[0] == 64


@pytest.fixture
def core(api_client: kubernetes.client.ApiClient, namespace: str) -> kubernetes.client.CoreV1Api:
    """The core API, once pods are taken: their namespace gets its account a moment after it was
    made.
    """
    made = kubernetes.client.CoreV1Api(api_client)

    def has_account() -> bool:
        found = made.list_namespaced_service_account(namespace).items
        return any(each.metadata.name == "default" for each in found)

    eventually(has_account, "the namespace's account")
    return made


def test_logs(
    command: Callable[..., Said],
    jobs: DinoJobs,
    core: kubernetes.client.CoreV1Api,
    namespace: str,
) -> None:
    """Without a kubelet a log is empty; that of an end-to-end test is not."""
    status, _, err = command("logs", "cells")
    assert status == 66
    assert "DinoJob cells (Running) has no pod with a log" in err
    labels = dict(each.split("=") for each in selector_of(jobs.get("cells"), "train").split(","))
    pod = {
        "metadata": {"name": "cells-train-1-a", "labels": {**labels, MANAGED_BY_LABEL: MANAGED_BY}},
        "spec": {"containers": [{"name": "trainer", "image": "x"}]},
    }
    core.create_namespaced_pod(namespace, pod)
    core.patch_namespaced_pod_status("cells-train-1-a", namespace, {"status": {"phase": "Running"}})
    status, out, err = command("logs", "cells")
    assert "==> cells-train-1-a (train, attempt ?, no node) <==" in out
    assert (status, err) == (0, "")


LEAK = "leaked-0123456789abcdef"


@pytest.fixture
def viewer(kubectl: Kubectl, tmp_path: Path) -> Path:
    """A kubeconfig of somebody who may look at everything but Secrets, as Kubernetes' `view`."""
    roles = (
        ("rolebinding", "see", "--clusterrole=view"),
        ("rolebinding", "see-jobs", "--role=jobs"),
    )
    assert kubectl("create", "serviceaccount", "viewer").returncode == 0
    resources = "--resource=dinojobs.dino-operator.io,dinoautomls.dino-operator.io"
    assert kubectl("create", "role", "jobs", "--verb=get,list", resources).returncode == 0
    for words in roles:
        bound = kubectl("create", *words, f"--serviceaccount={kubectl.namespace}:viewer")
        assert bound.returncode == 0, bound.stderr
    held = yaml.safe_load(kubectl.kubeconfig.read_text())
    token = kubectl("create", "token", "viewer").stdout.strip()
    for each in held["users"]:
        each["user"] = {"token": token}
    file = tmp_path / "viewer"
    file.write_text(yaml.safe_dump(held))
    return file


def test_a_bundle_needs_no_right_to_read_secrets(
    viewer: Path,
    jobs: DinoJobs,
    core: kubernetes.client.CoreV1Api,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Children are found by their labels; what is beyond the namespace is said to be missing."""
    labels = dict(each.split("=") for each in selector_of(jobs.get("cells"), "train").split(","))
    core.create_namespaced_secret(
        namespace, {"metadata": {"name": "dino-s3", "labels": labels}, "stringData": {"k": LEAK}}
    )
    env = [{"name": "WANDB_API_KEY", "value": LEAK}]
    meta = {"name": "cells-train-1-a", "labels": labels}
    pod = {"containers": [{"name": "trainer", "image": "x", "env": env}]}
    core.create_namespaced_pod(namespace, {"metadata": meta, "spec": pod})
    data = {"spec.yaml": f"token: {LEAK}\n"}
    core.create_namespaced_config_map(namespace, {"metadata": meta, "data": data})
    words = ("bundle", "cells", "--to", str(tmp_path), "-o", "json", "-n", namespace)
    assert main([*words, "--kubeconfig", str(viewer)]) == 0
    said = json.loads(capsys.readouterr().out)
    with tarfile.open(said["file"]) as packed:
        files = {e.name: f.read().decode() for e in packed if (f := packed.extractfile(e))}
    held = {name.partition("/")[2]: text for name, text in files.items()}
    assert {
        "resources/dinojob-cells.yaml",
        "configmaps/cells-train-1-a.yaml",
        "pods/cells-train-1-a.yaml",
    } <= set(held)
    assert LEAK not in "".join(held.values())
    assert yaml.safe_load(held["versions.yaml"])["kubernetes"].startswith("v1.")
    missing = {each["what"]: each["why"] for each in said["missing"]}
    assert "forbidden" in missing["the operator's pods"]
    assert set(missing) == {"the operator's pods"}


def test_kubectl_completes_commands_and_jobs(jobs: DinoJobs, kubectl: Kubectl) -> None:
    """kubectl's own completion finds the program beside `kubectl-dino`."""
    beside = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"}

    def completed(*words: str) -> list[str]:
        scope = ("--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace)
        command = [kubectl.program, "__complete", "dino", words[0], *scope, *words[1:]]
        if len(words) == 1:
            command = [kubectl.program, "__complete", "dino", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=LONG)
        assert done.returncode == 0, done.stderr
        *found, directive = done.stdout.splitlines()
        assert directive == ":4"
        return found

    assert [each.split("\t")[0] for each in completed("sta")] == ["status"]
    assert completed("status", "") == ["cells\tDinoJob Running", "old\tDinoJob Complete"]
    assert completed("stop", "old", "c") == ["cells\tDinoJob Running"]


def test_without_rights(
    command: Callable[..., Said], kubeconfig: Path, tmp_path: Path, namespace: str
) -> None:
    held = yaml.safe_load(kubeconfig.read_text())
    for each in held["users"]:
        each["user"] = {"token": "nobody"}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(held))
    assert main(["status", "--kubeconfig", str(file), "-n", namespace]) == 77
