"""Certificates, settings files and what scripts read."""

import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from lib import certs, cli, control_plane, node, s3, up
from lib.paths import API_ONLY, FULL, MANIFESTS, PLAYED

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@needs_openssl
def test_certificates_are_signed_and_name_whom_they_serve(state: Path) -> None:
    certs.ensure(FULL)
    pki = FULL.pki
    for leaf in (*certs.CONTROL_PLANE, *certs.NODE):
        openssl("verify", "-CAfile", f"{pki}/{leaf.authority}.crt", f"{pki}/{leaf.file}.crt")
    served = openssl("x509", "-in", f"{pki}/apiserver.crt", "-noout", "-ext", "subjectAltName")
    for name in ("kubernetes.default.svc", "IP Address:127.0.0.1", "IP Address:10.178.0.1"):
        assert name in served
    who = openssl("x509", "-in", f"{pki}/kubelet.crt", "-noout", "-subject")
    assert "system:nodes" in who
    assert "system:node:dino-node" in who


@needs_openssl
def test_keys_are_private_and_made_once(state: Path) -> None:
    certs.ensure(API_ONLY)
    before = API_ONLY.kubeconfig.read_text()
    certs.ensure(API_ONLY)
    assert API_ONLY.kubeconfig.read_text() == before
    assert "https://127.0.0.1:17443" in before
    assert stat.S_IMODE(API_ONLY.kubeconfig.stat().st_mode) == 0o600
    assert stat.S_IMODE(API_ONLY.root.stat().st_mode) == 0o700


def test_all_instances_can_run_side_by_side() -> None:
    every = (FULL, API_ONLY, PLAYED)
    ports = [port for one in every for _, port in one.ports.of_programs(node=one.has_node)]
    assert len(ports) == len(set(ports))
    assert all(1024 < port < 32768 for port in ports), "ephemeral ports may be taken by anyone"
    assert len({one.root for one in every}) == len(every)


def test_settings_that_stay_are_not_written_again(state: Path) -> None:
    node.kube_proxy(FULL)
    path = FULL.root / "kube-proxy.json"
    os.utime(path, ns=(1, 1))
    node.kube_proxy(FULL)
    assert path.stat().st_mtime_ns == 1  # kube-proxy, which watches it, goes on
    path.write_text("{}")
    node.kube_proxy(FULL)
    assert path.read_text() != "{}"


def test_jobs_are_played_where_no_controller_works_on_them(state: Path) -> None:
    flag = "--controllers=*,-job-controller"
    assert flag in control_plane.controller_manager(PLAYED).command
    for other in (FULL, API_ONLY):
        command = control_plane.controller_manager(other).command
        assert not any(word.startswith("--controllers") for word in command)


def test_each_instance_is_told_from_the_others() -> None:
    """By what messages call it, and by where the help says that its kubeconfig lies."""
    assert len({up.label(one) for one in up.instances()}) == len(up.instances())
    shown = cli.parser().format_help()
    for one in up.instances():
        assert f"{one.name}/kubeconfig" in shown
    assert "--control-plane-only" in shown
    assert "--played-jobs" in shown


@pytest.mark.parametrize("upstream", [True, False])
def test_names_outside_go_where_the_machine_asks(
    upstream: bool, state: Path, tmp_path: Path
) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\n" if upstream else "search example.com\n")
    assert (f"forward . {resolv}" in node.corefile(FULL, resolv)) == upstream


def test_containerd_disturbs_no_other(state: Path) -> None:
    config = tomllib.loads(node.containerd_config(state / "containerd", state / "cni"))
    for place in (config["state"], config["grpc"]["address"]):
        assert place.startswith("/run/dino-devcluster/")
    assert config["root"] == str(state / "containerd")


def test_pods_weigh_as_much_as_the_machine_has_cores(tmp_path: Path) -> None:
    for hierarchy in ("cpu", "memory"):
        (tmp_path / hierarchy).mkdir()
    node.make_cgroup(tmp_path)
    (tmp_path / "cpu" / node.CGROUP / "cpu.shares").write_text("1024")  # as the kernel makes it
    node.make_cgroup(tmp_path)
    weight = (tmp_path / "cpu" / node.CGROUP / "cpu.shares").read_text()
    assert weight == str(1024 * (os.cpu_count() or 0))
    assert list((tmp_path / "memory" / node.CGROUP).iterdir()) == []


def test_the_s3_server_is_not_given_up_for_a_slow_answer() -> None:
    objects = yaml.safe_load_all((MANIFESTS / "s3.yaml").read_text())
    (server,) = (one for one in objects if one["kind"] == "Deployment")
    (container,) = server["spec"]["template"]["spec"]["containers"]
    probe = container["readinessProbe"]
    assert probe["timeoutSeconds"] * probe["failureThreshold"] >= 60


def test_s3_prints_what_scripts_read(capsys: pytest.CaptureFixture[str]) -> None:
    found = s3.Endpoint("http://10.178.0.9:9000", "http://s3:9000", "us-east-1", "id", "secret")
    s3.show(found, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "endpoint": "http://10.178.0.9:9000",
        "inside": "http://s3:9000",
        "region": "us-east-1",
        "accessKey": "id",
        "secretKey": "secret",
    }
    s3.show(found, as_json=False)
    assert "export AWS_ENDPOINT_URL_S3=http://10.178.0.9:9000" in capsys.readouterr().out


def test_the_s3_server_has_the_examples_bucket(tmp_path: Path) -> None:
    """What is in it stays, whenever the server is started again."""
    s3.make_bucket(tmp_path / "s3")
    kept = tmp_path / "s3" / s3.BUCKET / "digits"
    kept.mkdir()
    s3.make_bucket(tmp_path / "s3")
    assert kept.is_dir()
    named = {
        bucket
        for path in (MANIFESTS.parents[1] / "examples").glob("*.yaml")
        for bucket in re.findall(r"uri: s3://([\w.-]+)/", path.read_text())
    }
    assert s3.BUCKET in named
