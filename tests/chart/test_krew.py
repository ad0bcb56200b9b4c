"""The manifest for Krew has the fields that Krew documents, and what they need.

https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest
"""

from __future__ import annotations

import hashlib
import io
import re
import runpy
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import ROOT
from tests.chart.test_version import VERSION

KREW = ROOT / "operator" / "krew"
PACK = runpy.run_path(str(KREW / "pack.py"))
HOMEPAGE = "https://github.com/owner/dino-operator"
ARCHIVE = b"an archive"
REQUIRED = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "metadata": {"name"},
    "spec": {"version", "shortDescription", "description", "platforms"},
    "platform": {"uri", "sha256", "bin", "selector"},
}
OPTIONAL = {"spec": {"homepage", "caveats"}, "platform": {"files"}}


@pytest.fixture
def manifest() -> dict[str, Any]:
    return dict(yaml.safe_load(PACK["manifest"](ARCHIVE, f"{HOMEPAGE}/")))


def has_its_fields(part: str, given: dict[str, Any]) -> bool:
    """Whether it has all that must be there, and none that Krew does not know."""
    known = REQUIRED[part] | OPTIONAL.get(part, set())
    return REQUIRED[part] <= set(given) <= known and all(given.values())


def test_it_has_the_documented_fields(manifest: dict[str, Any]) -> None:
    spec = manifest["spec"]
    assert has_its_fields("", manifest)
    assert has_its_fields("metadata", manifest["metadata"])
    assert has_its_fields("spec", spec)
    assert all(has_its_fields("platform", each) for each in spec["platforms"])
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "krew.googlecontainertools.github.com/v1alpha2",
        "Plugin",
    )
    assert re.fullmatch(r"[a-z\d][a-z\d-]*", manifest["metadata"]["name"])
    assert spec["version"] == f"v{VERSION}"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert len(spec["shortDescription"]) <= 50
    assert spec["homepage"] == HOMEPAGE


def test_a_platform_is_chosen_by_labels_that_krew_has(manifest: dict[str, Any]) -> None:
    (platform,) = manifest["spec"]["platforms"]
    (selector,) = platform["selector"]["matchExpressions"]
    assert (selector["key"], selector["operator"]) == ("os", "In")
    assert set(selector["values"]) <= {"linux", "darwin", "windows"}
    assert platform["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert platform["uri"] == f"{HOMEPAGE}/releases/download/v{VERSION}/kubectl-dino.tar.gz"


def test_no_placeholder_is_left_and_every_one_is_in_the_template() -> None:
    filled = PACK["manifest"](ARCHIVE, HOMEPAGE)
    template = (KREW / "dino.yaml").read_text()
    for name in ("VERSION", "HOMEPAGE", "SHA256"):
        assert name in template
        assert name not in filled


def test_the_archive_has_the_program_that_the_manifest_names(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    wheel = tmp_path / f"dino_operator-{VERSION}-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    program = KREW / manifest["spec"]["platforms"][0]["bin"]
    files = [(program, 0o755), (wheel, 0o644)]
    made = PACK["packed"](files)
    assert made == PACK["packed"](files)
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        modes = {each.name: each.mode for each in archive}
    assert modes == {"kubectl-dino": 0o755, wheel.name: 0o644}


def test_the_program_says_what_it_lacks(tmp_path: Path) -> None:
    """Without uv; found through a link, as Krew makes one."""
    link = tmp_path / "kubectl-dino"
    link.symlink_to(KREW / "kubectl-dino")
    for name in ("dirname", "readlink", "sh"):
        (tmp_path / name).symlink_to(subprocess.getoutput(f"command -v {name}"))
    done = subprocess.run([link], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 69
    assert "uv is not on the PATH" in done.stderr
