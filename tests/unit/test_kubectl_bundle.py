"""`kubectl dino bundle`: secrets are planted wherever they may stand, and none is in the file."""

from __future__ import annotations

import base64
import copy
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from kubernetes.client import ApiException

from dino_api.names import Label
from dino_operator.kubectl import bundle, main
from dino_operator.kubectl.cluster import Cluster as Asked
from dino_operator.kubectl.ending import NO_PERMISSION, CommandExit
from dino_operator.kubectl.secret_text import REMOVED
from tests import statuses
from tests.builders import Object, at
from tests.unit.kubectl_resources import a_job, a_search

PEM = "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Planted:
    """Secrets that are told from each other, each called after its place."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {}

    def __call__(self, place: str, form: str = "{}") -> str:
        """A new one, in the form in which it stands there."""
        self.all[place] = f"s3cr3t{len(self.all):03}x{'abcdef' * 3}"
        return form.format(self.all[place])


class LeakingCluster:
    """A job with a child, a pod, a ConfigMap, events and an operator, all of them leaking."""

    namespace = "team"

    def __init__(self, plant: Planted) -> None:
        self.asked: list[str] = []
        env = [
            {"name": "WANDB_API_KEY", "value": plant("variable of podTemplate")},
            {"name": "PLAIN_NAME", "value": plant("variable with a plain name")},
            {"name": "HTTPS_PROXY", "value": plant("proxy", "http://me:{}@proxy:3128")},
            {"name": "NOTHING", "value": ""},
        ]
        own = [
            {"name": "DINO_JOB_NAME", "value": "cells"},
            {"name": "AWS_REGION", "value": "eu-central-1"},
            {"name": "AWS_ENDPOINT_URL_S3", "value": plant("endpoint", "http://u:{}@minio:9000")},
            {"name": "AWS_SECRET_ACCESS_KEY", "value": plant("S3 key written into a variable")},
            {
                "name": "AWS_ACCESS_KEY_ID",
                "valueFrom": {"secretKeyRef": {"name": "dino-s3", "key": "AWS_ACCESS_KEY_ID"}},
            },
        ]
        applied = {"spec": {"podTemplate": {"env": [{"name": "X", "value": plant("applied")}]}}}
        notes = {
            "kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied),
            "vault.example.com/token": plant("annotation"),
            "note": plant("annotation that is a command", "curl -u me:{} https://x"),
        }
        experiment = {
            "wandb": {"api_key": plant("key of the experiment")},
            "mlflow": {"tracking_uri": plant("URL of the experiment", "https://:{}@mlflow/x")},
        }
        self.job = a_job(
            {
                **statuses.RUNNING,
                "image": "registry/dino-trainer:0.1.0",
                "failure": {
                    "reason": "AccessDenied",
                    "message": plant("status", "GET https://s3/x?X-Amz-Signature={}&a=b: 403"),
                },
            },
            podTemplate={"env": env},
            experiment=experiment,
        )
        self.job["metadata"]["annotations"] = notes
        container = {
            "name": "trainer",
            "image": "registry/dino-trainer:0.1.0",
            "env": own + env,
            "args": ["--password", plant("argument"), plant("argument with =", "--token={}")],
        }
        sidecar = {
            "name": "agent",
            "command": ["sh", "-c", plant("shell", "export DB_PASSWORD='{}'; run")],
            "env": [{"name": "AWS_ROLE", "value": plant("variable of a sidecar")}],
        }
        meta = {
            "namespace": "team",
            "uid": "child",
            "creationTimestamp": at(1),
            "labels": {Label.JOB_UID.value: "u"},
        }
        pod_spec = {
            "containers": [container, sidecar],
            "imagePullSecrets": [{"name": "regcred"}],
            "volumes": [
                {"name": "v", "csi": {"volumeAttributes": {"clientSecret": plant("volume")}}},
                {"name": "w", "secret": {"secretName": "dino-tls"}},
            ],
        }
        ended = {"terminated": {"exitCode": 1, "message": plant("last words", "password: {}")}}
        self.pod = {
            "metadata": {**meta, "name": "cells-train-1-a", "annotations": dict(notes)},
            "spec": pod_spec,
            "status": {
                "containerStatuses": [
                    {"name": "trainer", "restartCount": 1, "state": ended},
                    {"name": "agent", "restartCount": 0, "state": {}},
                ]
            },
        }
        self.child = {
            "metadata": {**meta, "name": "cells-train-1"},
            "spec": {"template": {"spec": copy.deepcopy(pod_spec)}},
        }
        spec = {**experiment, "other": {"passphrase": plant("ConfigMap")}}
        self.config = {
            "metadata": {**meta, "name": "cells-train-0123"},
            "data": {
                "spec.yaml": yaml.safe_dump(spec),
                "search.json": json.dumps({"token": plant("JSON of a ConfigMap")}),
            },
        }
        self.said = [
            {
                "metadata": {"name": "e"},
                "involvedObject": {"uid": "u"},
                "message": plant("event", "pull https://robot:{}@registry/v2 failed"),
            },
            {"metadata": {"name": "other"}, "involvedObject": {"uid": "x"}, "message": "elsewhere"},
        ]
        self.operator = {
            "metadata": {"name": "dino-operator-0", "namespace": "dino-system"},
            "spec": {
                "containers": [
                    {
                        "name": "operator",
                        "env": [
                            {
                                "name": "DINO_TRAINER_ENV",
                                "value": json.dumps({"HF_TOKEN": plant("trainer.extraEnv")}),
                            },
                            {"name": "DINO_S3_REGION", "value": "eu-central-1"},
                        ],
                    }
                ]
            },
            "status": {
                "containerStatuses": [
                    {"name": "operator", "image": "registry/dino-operator:0.1.0", "imageID": "id"}
                ]
            },
        }
        self.log = self._log(plant)
        self.job["metadata"]["managedFields"] = [{"f": plant("fields of managers")}]

    @staticmethod
    def _log(plant: Planted) -> str:
        """Forms that a program prints, and every secret from elsewhere in four spellings."""
        known = [
            spelt
            for each in list(plant.all.values())
            for spelt in (
                each,
                quote(each),
                json.dumps(each),
                base64.b64encode(each.encode()).decode(),
            )
        ]
        forms = (
            plant("header in a log", "> Authorization: Bearer {}"),
            plant("AWS header", "authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature={}"),
            plant("cookie in a log", "< Set-Cookie: session={}; HttpOnly"),
            plant("bearer in a sentence", "asked with bearer {} and was refused"),
            plant("JSON in a log", '{{"level": "info", "api_key": "{}"}}'),
            plant("words in quotes in a log", 'db_password="two words {}"'),
            plant("variable in a log", "AWS_SECRET_ACCESS_KEY={} dino train"),
            plant("option in a log", "running tool --client-secret {}"),
            plant("query in a log", "GET /x?api_key={}&page=1"),
            plant("SAS in a log", "https://a.blob/x?sv=1&sig={}"),
            plant("user alone in a URL", "git clone https://{}@github.example/x"),
            plant("netrc", "machine x login me password {}"),
            plant("docker config", '{{"auths": {{"r": {{"auth": "{}"}}}}}}'),
            plant("GitHub token", "using ghp_{}"),
            plant("Hugging Face token", "using hf_{}"),
            plant("JWT", "got eyJhbGciOiJSUzI1NiJ9.eyJ{}.c2ln"),
            plant("private key", PEM),
            plant("end of a private key", "{}abcdef\n-----END OPENSSH PRIVATE KEY-----"),
        )
        return "\n".join(
            ["epoch 3 of 12, 400 tokens, loss: 0.31", *forms, "key id AKIAIOSFODNN7EXAMPLE", *known]
        )

    def get(self, name: str) -> Object:
        return self.job

    def jobs(self, selector: str) -> list[Object]:
        return [self.child]

    def config_maps(self, selector: str) -> list[Object]:
        return [self.config]

    def pods(self, selector: str) -> list[Object]:
        return [self.pod]

    def events(self) -> list[Object]:
        return self.said

    def pods_elsewhere(self, namespace: str, selector: str) -> list[Object]:
        return [self.operator]

    def log_text(self, pod: Object, container: str, tail: int, previous: bool) -> str:
        self.asked.append(f"{pod['metadata']['name']} {container} {previous}")
        return self.log

    def server_version(self) -> str:
        return "v1.34.0"


class Packed:
    """A cluster with secrets, and the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.plant = Planted()
        self.cluster = LeakingCluster(self.plant)
        self.folder, self.capsys = folder, capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        status = main(["bundle", "cells", "--to", str(self.folder), *words])
        said = self.capsys.readouterr()
        return status, said.out, said.err

    def files(self) -> dict[str, str]:
        """What the one file holds."""
        (path,) = self.folder.iterdir()
        with tarfile.open(path) as packed:
            found = {e.name: file.read() for e in packed if (file := packed.extractfile(e))}
        assert {name.split("/")[0] for name in found} == {path.name.removesuffix(bundle.ENDING)}
        return {name.partition("/")[2]: text.decode() for name, text in found.items()}


@pytest.fixture
def packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Packed:
    made = Packed(tmp_path / "to", capsys)
    monkeypatch.setattr(bundle, "Cluster", lambda options: made.cluster)
    return made


def spellings(secret: str) -> set[str]:
    return {secret, quote(secret), in_base64(secret).rstrip("=")}


def test_no_secret_is_in_the_file_nor_in_what_is_printed(packed: Packed) -> None:
    status, out, err = packed()
    assert (status, err) == (0, "")
    assert len(packed.plant.all) > 35
    whole = "\n".join(packed.files().values()) + out
    left = {
        place
        for place, secret in packed.plant.all.items()
        if any(each in whole for each in spellings(secret))
    }
    assert left == set()
    assert "AKIAIOSFODNN7EXAMPLE" not in whole
    assert REMOVED in whole


def test_what_helps_stays(packed: Packed) -> None:
    packed()
    files = packed.files()
    assert set(files) == {
        "contents.txt",
        "resources/dinojob-cells.yaml",
        "jobs/cells-train-1.yaml",
        "configmaps/cells-train-0123.yaml",
        "pods/cells-train-1-a.yaml",
        "logs/cells-train-1-a/trainer.log",
        "logs/cells-train-1-a/trainer.previous.log",
        "logs/cells-train-1-a/agent.log",
        "operator/dino-operator-0.yaml",
        "logs/dino-operator-0/operator.log",
        "events.yaml",
        "versions.yaml",
    }
    pod = yaml.safe_load(files["pods/cells-train-1-a.yaml"])
    trainer = pod["spec"]["containers"][0]
    env = {each["name"]: each.get("value") for each in trainer["env"]}
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    assert env["DINO_JOB_NAME"] == "cells"
    assert env["AWS_REGION"] == "eu-central-1"
    assert env["AWS_ENDPOINT_URL_S3"] == f"http://{REMOVED}@minio:9000"
    assert env["NOTHING"] == ""
    assert trainer["env"][4]["valueFrom"]["secretKeyRef"]["name"] == "dino-s3"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
    assert pod["spec"]["volumes"][1]["secret"] == {"secretName": "dino-tls"}
    job = yaml.safe_load(files["resources/dinojob-cells.yaml"])
    assert job["spec"]["datasets"]["train"] == [{"uri": "s3://data/train"}]
    assert job["status"]["failure"]["message"] == (
        f"GET https://s3/x?X-Amz-Signature={REMOVED}&a=b: 403"
    )
    assert "managedFields" not in job["metadata"]
    spec = yaml.safe_load(
        yaml.safe_load(files["configmaps/cells-train-0123.yaml"])["data"]["spec.yaml"]
    )
    assert spec["other"] == {"passphrase": REMOVED}
    log = files["logs/cells-train-1-a/trainer.log"]
    assert log.startswith("epoch 3 of 12, 400 tokens, loss: 0.31\n")
    assert "elsewhere" not in files["events.yaml"]
    versions = yaml.safe_load(files["versions.yaml"])
    assert versions["kubernetes"] == "v1.34.0"
    assert versions["operator"] == [{"image": "registry/dino-operator:0.1.0", "id": "id"}]
    assert versions["trainer"] == ["registry/dino-trainer:0.1.0"]


def test_it_says_what_it_holds(packed: Packed) -> None:
    out = packed()[1]
    (path,) = packed.folder.iterdir()
    lines = out.splitlines()
    assert lines[0] == str(path)
    assert [each.split()[0] for each in lines[1:13]] == list(packed.files())
    assert "values were removed, which read REMOVED." in out
    assert lines[-1] == (
        "Resources: values hidden unless listed. Logs: what looks like a secret is removed. "
        f"Read it before you hand it on: tar xzOf {path} | less"
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_as_data(packed: Packed) -> None:
    said = json.loads(packed("-o", "json")[1])
    assert set(said) == {"file", "contents", "missing", "removed"}
    assert said["missing"] == []
    assert said["removed"] > 100
    assert {each["name"] for each in said["contents"]} == set(packed.files())


def test_what_may_not_be_read_is_left_out_and_said(packed: Packed) -> None:
    def refused(*_: Any) -> Any:
        raise CommandExit(NO_PERMISSION, "events is forbidden")

    packed.cluster.events = packed.cluster.log_text = refused  # type: ignore[method-assign]
    packed.cluster.pods_elsewhere = lambda *_: []  # type: ignore[method-assign]
    status, out, _ = packed()
    assert status == 0
    assert "  not there: events: events is forbidden" in out
    assert "  not there: logs/cells-train-1-a/trainer.log: events is forbidden" in out
    assert "give --operator-namespace" in out
    assert "not there: events: events is forbidden" in packed.files()["contents.txt"]


def test_of_a_search_its_trials_are_there_and_of_a_job_its_parent(packed: Packed) -> None:
    search, held = a_search(), packed.cluster.job
    search["metadata"] = {**search["metadata"], "name": "tune", "uid": "s"}
    trial = {**a_job(name="tune-trial-0"), "kind": "DinoJob"}
    trial["metadata"]["labels"] = {Label.AUTOML_UID.value: "s"}
    parent = a_job(name="base")
    held["spec"]["parent"], held["status"]["automl"] = {"name": "base"}, "tune"
    named = {"cells": held, "dinojob/base": parent, "dinoautoml/tune": search}
    packed.cluster.get = named.__getitem__  # type: ignore[method-assign]
    packed.cluster.all_of = lambda kind: [held, trial]  # type: ignore[attr-defined]
    assert packed()[0] == 0
    resources = {each for each in packed.files() if each.startswith("resources/")}
    names = ("dinojob-cells", "dinojob-base", "dinoautoml-tune", "dinojob-tune-trial-0")
    assert resources == {f"resources/{each}.yaml" for each in names}


def test_a_folder_whose_name_is_no_utf8(packed: Packed) -> None:
    packed.folder /= "caf\udce9"
    status, out, err = packed()
    assert (status, err) == (0, "")
    assert "caf\\udce9/cells-bundle-" in out


def test_a_folder_that_cannot_be_written(packed: Packed) -> None:
    packed.folder.write_text("a file")
    status, _, err = packed()
    assert status == 73
    assert "cannot be written" in err


@pytest.mark.parametrize(
    "named, everywhere, found",
    [(["a"], ["a", "b"], ["a"]), ([], ["b"], ["b"]), (["a"], None, ["a"]), ([], None, [])],
)
def test_the_operator_is_looked_for_where_it_is_said_to_be(
    named: list[str], everywhere: list[str] | None, found: list[str]
) -> None:
    """Of several only the one that is meant; elsewhere where all pods may be listed."""

    def all_of(**_: Any) -> Any:
        if everywhere is None:
            raise ApiException(status=403)
        return SimpleNamespace(items=[{"name": each} for each in everywhere])

    cluster = Asked.__new__(Asked)
    cluster._api = SimpleNamespace(sanitize_for_serialization=dict)
    here = SimpleNamespace(items=[{"name": each} for each in named])
    cluster._core = SimpleNamespace(
        list_pod_for_all_namespaces=all_of, list_namespaced_pod=lambda *_, **__: here
    )
    assert [each["name"] for each in cluster.pods_elsewhere("dino-system", "x")] == found
