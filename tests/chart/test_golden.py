"""The chart's objects, whole, for a few value sets: a changed template shows as a difference.

Written anew by `DINO_WRITE_GOLDEN=1 pytest tests/chart/test_golden.py`, to be read before a commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import EVERYTHING, Objects

FOLDER = Path(__file__).parent / "golden"
SETS: dict[str, tuple[str, ...]] = {
    "default": (),
    "everything": (*EVERYTHING, "replicas=2"),
    "one-team": (
        "watchNamespaces={vision}",
        "rbac.aggregateClusterRoles=false",
        "s3.endpoint=http://s3.storage:7070",
        "s3.pathStyle=true",
        "s3.secretName=dino-s3",
        "cache.claimName=data",
        "kueue.enabled=false",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_the_objects_are_as_they_were(render: Callable[..., Objects], name: str) -> None:
    """Without the CRDs, which tests/unit/test_api_generate.py holds."""
    objects = [one for one in render(*SETS[name]) if one["kind"] != "CustomResourceDefinition"]
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("DINO_WRITE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(objects, sort_keys=False, width=120))
    assert objects == list(yaml.safe_load_all(path.read_text()))
