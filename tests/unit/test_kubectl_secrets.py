"""What goes of resources and texts in a bundle: by place, by form, by what is known elsewhere."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from dino_api.names import Env
from dino_operator.kubectl import main
from dino_operator.kubectl.kept import LABELS, VARIABLES, Place, shape_of
from dino_operator.kubectl.secret_text import REMOVED, is_secret, without_secrets
from dino_operator.kubectl.secrets import Cleaner, is_random

ROOT = Path(__file__).resolve().parents[2]
R = REMOVED
GOES = {
    "bytes as Python prints them": (
        "'X-Amz-Security-Token': b'IQoJb3'",
        f"'X-Amz-Security-Token': b'{R}'",
    ),
    "JSON in JSON": (
        r'{"msg":"body {\"api_key\":\"abcdef123456\"}"}',
        rf'{{"msg":"body {{\"api_key\":\"{R}\"}}"}}',
    ),
    "a cookie in quotes": ('Cookie: sid="secretvalue123"', f"Cookie: {R}"),
    "digest": ('Authorization: Digest username="a", response="b"', f"Authorization: {R}"),
    "a header in a command": (
        'curl -H "Authorization: Bearer abc" https://x',
        f'curl -H "Authorization: {R}" https://x',
    ),
    "signs in a value": ("password=Tr0ub&dor3xyz! x", f"password={R} x"),
    "signs in an option": ("--db-password=Tr0ub,dor3xyz&q x", f"--db-password={R} x"),
    "an option": ("run --client-secret a,b;c x", f"run --client-secret {R} x"),
    "a query": ("GET /x?api_key=abc&page=1", f"GET /x?api_key={R}&page=1"),
    "a text in quotes": ('"password=two words" is wrong', f'"password={R}" is wrong'),
    "Azure": ("AccountKey=abc==;EndpointSuffix=x", f"AccountKey={R}"),
    "a kubeconfig": ("client-key-data: LS0tLS1CRUdJTiBSU0E=", f"client-key-data: {R}"),
    "a key in base64": ("got LS0tLS1CRUdJTiBSU0E= there", f"got {R} there"),
    "docker": ('{".dockerconfigjson": "eyJhdXRo"}', f'{{".dockerconfigjson": "{R}"}}'),
    "SSE-C": (
        "x-amz-server-side-encryption-customer-key: abc",
        f"x-amz-server-side-encryption-customer-key: {R}",
    ),
    "Slack": ("https://hooks.slack.com/services/T0/B0/x", f"https://hooks.slack.com/services/{R}"),
    "a connection string": ("connection_string=Server=x;Pwd=y", f"connection_string={R}"),
    "a user and password": ("curl -u me:a,b x", f"curl -u {R} x"),
    "a command as a list": ('["-u","me:pw"]', f'["-u","{R}"]'),
    "a variable in JSON": (
        '[{"name":"DB_PASSWORD","value":"a b\\"c"},{"name":"A","value":"b"}]',
        f'[{{"name":"DB_PASSWORD","value":"{R}"}},{{"name":"A","value":"b"}}]',
    ),
    "a DSN": ("SENTRY_DSN=https://a@b/1", f"SENTRY_DSN={R}"),
    "a slash in a URL": ("postgres://user:pa/ss1234@host/db", f"postgres://{R}@host/db"),
}


@pytest.mark.parametrize(("text", "left"), GOES.values(), ids=GOES.keys())
def test_what_looks_like_a_secret_goes(text: str, left: str) -> None:
    assert without_secrets(text, lambda key, value: R) == left


def test_a_private_key_takes_nothing_else_with_it() -> None:
    body = "\n".join(["MIIEowIBAAKCAQEA" * 4] * 3)
    whole = f"a\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nb"
    for text in (whole, whole.replace("-----END RSA PRIVATE KEY-----", "cut"), whole[30:]):
        left = without_secrets(text, lambda key, value: R)
        assert "MIIE" not in left
        assert left.endswith("\nb")


HARMLESS = ("a1", '"', "\\", "a.", "eyJaaaaaaaa-", "login ", 'k="', " ", "a://", "_", "%3D", "name")
LEAKING = ("password=", "--token x ", "-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.parametrize("unit", [*HARMLESS, *LEAKING])
def test_a_long_text_is_looked_at_a_bounded_number_of_times(unit: str) -> None:
    """200 KB, most of them in one line: a pattern that began anew at every character and read to
    the end would take hours."""
    text = unit * (200_000 // len(unit))
    left = without_secrets(text, lambda key, value: R)
    assert (left == text) == (unit in HARMLESS)


def kept(kind: str, **parts: Any) -> Any:
    cleaner = Cleaner()
    return cleaner.take({"kind": kind, **parts}, shape_of(kind))


def test_of_a_pod_what_is_not_listed_is_hidden() -> None:
    headers = [{"name": "Authorization", "value": "Basic abc"}, {"name": "X-Api-Key", "value": "k"}]
    container = {
        "name": "trainer",
        "image": "x:1",
        "command": ["dino", "train", "-u", "me:hunter2pass"],
        "args": ["plain"],
        "env": [{"name": "PLAIN", "value": "yes"}, {"name": "AWS_REGION", "value": "eu"}],
        "livenessProbe": {"httpGet": {"httpHeaders": headers, "port": 80}},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    csi = {"driver": "d", "volumeAttributes": {"share": "x"}}
    notes = {
        "kapp.k14s.io/original": "{}a",
        "objectset.rio.cattle.io/applied": "H4sI",
        "dino-operator.io/retries": "1",
    }
    labels = {"dino-operator.io/job": "cells", "topology.kubernetes.io/zone": "a", "owner": "me"}
    pod = kept(
        "Pod",
        metadata={"name": "p", "annotations": notes, "labels": labels},
        spec={"containers": [container], "volumes": [{"name": "v", "csi": csi}], "new": "field"},
        status={"phase": "Running", "message": "asked with bearer abcdefghij"},
    )
    assert pod["metadata"] == {
        "name": "p",
        "annotations": {**dict.fromkeys(notes, R), "dino-operator.io/retries": "1"},
        "labels": {**labels, "owner": R},
    }
    held = pod["spec"]["containers"][0]
    assert (held["command"], held["args"]) == (["dino", "train", R, R], [R])
    assert [each["value"] for each in held["env"]] == [R, "eu"]
    probe = held["livenessProbe"]["httpGet"]
    assert [each["value"] for each in probe["httpHeaders"]] == [R, R]
    assert probe["port"] == 80
    assert held["resources"] == container["resources"]
    assert pod["spec"]["volumes"][0]["csi"] == {"driver": "d", "volumeAttributes": {"share": R}}
    assert pod["spec"]["new"] == R
    assert pod["status"] == {"phase": "Running", "message": f"asked with bearer {R}"}


def test_of_a_job_the_fields_of_the_api_stay() -> None:
    spec = {
        "datasets": {"train": [{"uri": "s3://a/b", "annotations": "a.json"}]},
        "experiment": {
            "train": {"num_epochs": 3, "optim": {"lr": 0.1}},
            "dataset": {"train_data_sources": [{"image_dir": "s3://a/b", "more": "x"}]},
            "encryption_key": "nvidia_tlt",
            "unknown": {"key": "x"},
        },
        "podTemplate": {
            "env": [{"name": "A", "value": "b"}],
            "annotations": {"a": "b"},
            "nodeSelector": {"team": "b", "kubernetes.io/hostname": "n"},
            "tolerations": [{"key": "gpu", "value": "yes", "tolerationSeconds": 3}],
        },
    }
    left = kept("DinoJob", spec=spec, status={"phase": "Running", "new": "x"})
    assert left["spec"]["datasets"] == spec["datasets"]
    assert left["spec"]["experiment"] == {
        "train": spec["experiment"]["train"],
        "dataset": {"train_data_sources": [{"image_dir": "s3://a/b", "more": R}]},
        "encryption_key": R,
        "unknown": {"key": R},
    }
    assert left["spec"]["podTemplate"] == {
        "env": [{"name": "A", "value": R}],
        "annotations": {"a": R},
        "nodeSelector": {"team": R, "kubernetes.io/hostname": "n"},
        "tolerations": spec["podTemplate"]["tolerations"],
    }
    assert left["status"] == {"phase": "Running", "new": R}


def test_of_a_config_map_the_files_that_we_know_stay() -> None:
    spec = "train:\n  num_epochs: 3\npin: 4711\nsecret:\n  key: hunter2pass\n"
    data = {"spec.yaml": spec, "other.txt": "num_epochs: 3", "search.json": "&a [*a]"}
    left = kept("ConfigMap", data=data, binaryData={"x": "aGk="})
    assert "binaryData" not in left
    assert left["data"]["other.txt"] == left["data"]["search.json"] == R
    assert yaml.safe_load(left["data"]["spec.yaml"]) == {
        "train": {"num_epochs": 3},
        "pin": R,
        "secret": {"key": R},
    }


def test_nothing_is_hidden_of_what_the_operator_itself_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = {"uri": "s3://photos/cells"}
    spec = {
        "action": "train",
        "datasets": {"train": [uri], "validation": [uri]},
        "output": {"uri": "s3://photos/results"},
        "experiment": {"train": {"num_epochs": 24}},
    }
    made = {"apiVersion": "dino-operator.io/v1alpha1", "kind": "DinoJob", "spec": spec}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**made, "metadata": {"name": "cells"}}))
    assert main(["render", "-f", str(tmp_path / "job.yaml")]) == 0
    for each in yaml.safe_load_all(capsys.readouterr().out):
        if each["kind"] in ("DinoJob", "DinoAutoML", "Job", "ConfigMap"):
            cleaner = Cleaner()
            assert cleaner.finish(cleaner.take(each, shape_of(each["kind"]))) == each
            assert cleaner.removed == 0


def test_variables_of_the_operator_stay_but_for_those_that_hold_secrets() -> None:
    chart = (ROOT / "charts/dino-operator/templates/deployment.yaml").read_text()
    assert set(re.findall(r"name: (DINO_\w+)", chart)) - VARIABLES == {"DINO_TRAINER_ENV"}
    assert set(Env) - VARIABLES == {Env.S3_ACCESS_KEY, Env.S3_SECRET_KEY}


def test_labels_that_are_known() -> None:
    for each in ("app.kubernetes.io/name", "kueue.x-k8s.io/queue-name", "job-name"):
        assert LABELS.fullmatch(each)
    for each in ("evil-kubernetes.io.example/x", "team", "notk8s.io/x"):
        assert not LABELS.fullmatch(each)


def spellings(secret: str) -> set[str]:
    """As logs have it: as it is, in Go's JSON, in URLs."""
    go = json.dumps(secret)[1:-1]
    for sign in "&<>":
        go = go.replace(sign, f"\\u{ord(sign):04x}")
    percent = quote(secret, safe="")
    lower = re.sub(r"%..", lambda code: code[0].lower(), percent)
    return {secret, quote(secret), percent, lower, go}


@pytest.mark.parametrize("secret", ["pA/s+s,w&rd)x", "correct-horse<battery", "s3cr3t000xabcdef"])
@pytest.mark.parametrize(
    "variable", [("DB_PASSWORD", "{}"), ("HTTPS_PROXY", "http://me:{}@proxy:3128")]
)
def test_a_secret_of_a_variable_goes_from_logs_in_every_spelling(
    variable: tuple[str, str], secret: str
) -> None:
    cleaner, (name, form) = Cleaner(), variable
    cleaner.take({"env": [{"name": name, "value": form.format(secret)}]}, {"env": Place.ENV})
    for each in spellings(secret):
        assert cleaner.finish(f"got {each} there") == f"got {R} there"
    for user in ("", "u:", "me:"):  # in base64 it is written in one of three ways
        text = base64.b64encode(f"{user}{secret}".encode()).decode()
        left = cleaner.finish(f"got {text} there")
        assert R in left
        assert text[4:-4] not in left


def test_what_was_applied_tells_its_secrets() -> None:
    env = [{"name": "MY_TOKEN", "value": "correct-horse"}]
    applied = json.dumps({"spec": {"podTemplate": {"env": env}}})
    cleaner = Cleaner()
    name = "kubectl.kubernetes.io/last-applied-configuration"
    cleaner.take({"metadata": {"annotations": {name: applied}}}, shape_of("Pod"))
    assert cleaner.finish("token was correct-horse.") == f"token was {R}."


def test_words_of_values_stay_in_logs() -> None:
    """Else a log could not be read for a variable that happens to hold a word of it."""
    plain = {"PYTHONPATH": "/usr/lib/python3.11", "DATA_VERSION": "2026-11-29", "A": "eu-central-1"}
    env = [{"name": name, "value": value} for name, value in plain.items()]
    cleaner = Cleaner()
    cleaner.take({"env": [*env, {"name": "MY_TOKEN", "value": "missing"}]}, {"env": Place.ENV})
    cleaner.take("AWS_SECRET_ACCESS_KEY: absent123, PASSWORD=wrong-password")
    log = f"2026-11-29T12:00:00Z {' '.join(plain.values())} missing absent123 wrong-password"
    assert cleaner.finish(log) == log


def test_what_looks_random() -> None:
    assert all(map(is_random, ("a1b2c3d4", "AKIAIOSFODNN7EXAMPLE2", "s3cr3t000xabc")))
    plain = ("resnet50", "python3.11", "v1.2.3-rc1", "20261129T205505Z", "eu-central-1", "2026")
    assert not any(map(is_random, plain))


STAYS = (
    "secretName: dino-s3",
    'secret "dino-s3" not found',
    "400 tokens: 12 of 900",
    "s3://data/train/images.tar.gz",
    "http://minio.storage:9000/bucket",
    "the object store refused the credentials: AccessDenied",
    "author = somebody",
    "basic augmentations, no mosaic",
    "mail to me@example.com about https://example.com/a?page=1",
    "--tokens 5",
    "http://minio:9000/bucket/me@example.com",
    "NODES=4, NCCL_DEBUG: INFO",
)


@pytest.mark.parametrize("text", STAYS)
def test_words_that_are_no_secret_stay(text: str) -> None:
    cleaner = Cleaner()
    assert cleaner.finish(cleaner.take(text)) == text
    assert cleaner.removed == 0


def test_names_that_a_bundle_cannot_do_without_stay() -> None:
    name = "cells-4f2a9c1b7e"
    cleaner = Cleaner({name})
    cleaner.take({"env": [{"name": "TEAM", "value": name}]}, {"env": Place.ENV})
    assert cleaner.finish(f"job {name}") == f"job {name}"


def property_names(schema: Any) -> set[str]:
    """Of a CRD."""
    if isinstance(schema, list):
        return set().union(*map(property_names, schema))
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*map(property_names, schema.values()))


def test_no_key_of_ours_is_taken_for_a_secret() -> None:
    """Else an experiment could not be read in a bundle."""
    names = set().union(
        *(property_names(yaml.safe_load(e.read_text())) for e in (ROOT / "crds").glob("*.yaml"))
    )
    assert len(names) > 100
    assert set(filter(is_secret, names)) == {"encryption_key"}
