"""The cluster with the operator on it, brought up once for all tests of a session."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from demo import plan, storage
from demo.cluster import PATIENCE, DemoCluster, prepare_namespace
from demo.coco import ANNOTATIONS
from demo.digits import NAMES, make_digits
from demo.screen import Screen
from demo.stages import Runner
from demo.storage import DemoStorage
from tests.e2e.jobs import Lab, small_job
from tests.e2e.shared import once, one_at_a_time, run_folder

DEMO_ONLY = ("dataset", "upload")  # the demo's data; the tests bring their own
RESULTS = "test-results"
SCENES = {"train": 160, "val": 40, "test": 60}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """See `open_lab`. Processes do it one after the other: Helm refuses two at once."""
    folder, run = tmp_path_factory.mktemp("lab"), run_folder(tmp_path_factory)
    with one_at_a_time(run, "lab"):
        opened = start_lab(folder)
        once(run, "clean", lambda _: clean(opened.cluster, opened.storage))
    return opened


def open_lab(folder: Path) -> Lab:
    """The dev cluster with S3, images and the chart, or with CLUSTER=current the user's.

    Nothing that earlier runs left is there any more.
    """
    opened = start_lab(folder)
    clean(opened.cluster, opened.storage)
    return opened


def start_lab(folder: Path) -> Lab:
    """The same stages as `make demo` has; what is there already is used."""
    mine = os.environ.get("CLUSTER") == "current"
    demo, stages = plan.current(folder, None, os.environ) if mine else plan.dev(folder, None)
    Runner([s for s in stages if s.name not in DEMO_ONLY], folder / "logs", Screen()).run()
    return Lab(replace(demo.cluster, namespace="dino-test"), demo.storage)


def clean(cluster: DemoCluster, store: DemoStorage) -> None:
    """Take away what earlier runs left."""
    prepare_namespace(cluster, store)
    for kind in ("dinoautoml", "dinojob"):  # searches first: they would make their trials again
        # The chart's CRDs may be seconds old.
        crd = f"crd/{kind}s.dino-operator.io"
        cluster.kubectl("wait", "--for=condition=Established", crd, f"--timeout={PATIENCE}")
        cluster.kubectl("delete", kind, "--all", "--cascade=foreground", f"--timeout={PATIENCE}")
    storage.make_bucket(store)
    for key in (RESULTS, "bad"):
        storage.clear(store, key)


@pytest.fixture(scope="session")
def small_data(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `put_small_data`."""
    return once(run_folder(tmp_path_factory), "small", lambda folder: put_small_data(lab, folder))


def put_small_data(lab: Lab, folder: Path) -> None:
    """24 training and 8 validation pictures of digits, in the folder and at s3://dino/small."""
    make_digits(folder, {"train": 24, "val": 8}, seed=7)
    lab.put(folder, "small")


@pytest.fixture(scope="session")
def scenes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of digits from which a detector learns: in the folder and at s3://dino/scenes."""

    def put(folder: Path) -> None:
        make_digits(folder, SCENES, seed=7)
        (folder / "test" / "label_map.txt").write_text("\n".join(NAMES))
        lab.put(folder, "scenes")

    return once(run_folder(tmp_path_factory), "scenes", put)


@pytest.fixture(scope="session")
def one_class(lab: Lab, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same pictures at s3://dino/one-class, all digits of one class: a detector of one layer
    finds them after a hundred steps.
    """

    def put(folder: Path) -> None:
        for split in ("train", "val"):
            shutil.copytree(scenes / split, folder / split)
            path = folder / split / ANNOTATIONS
            document = json.loads(path.read_text())
            document["categories"] = [{"id": 1, "name": "digit"}]
            for one in document["annotations"]:
                one["category_id"] = 1
            path.write_text(json.dumps(document))
        lab.put(folder, "one-class")

    once(run_folder(tmp_path_factory), "one-class", put)


@pytest.fixture(autouse=True)
def _small_data_is_there(small_data: Path) -> None:
    """Every job of `small_job` reads it."""


@pytest.fixture(scope="session", autouse=True)
def dead_endpoint(lab: Lab) -> str:
    """The name of a job whose store never answers. It says so after two minutes, all of them
    waiting: they pass beside the first tests.
    """
    job = small_job("dead-endpoint", runPolicy={"maxRetries": 0})
    job["spec"]["storage"] = {"endpoint": "http://127.0.0.1:9"}
    lab.apply(job)
    return "dead-endpoint"


@pytest.fixture(scope="session")
def wrong_keys(lab: Lab) -> None:
    """A secret whose keys the store does not know."""
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": f"wrong-{time.time()}"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong-keys"}}
    lab.cluster.apply({**secret, "stringData": keys})
