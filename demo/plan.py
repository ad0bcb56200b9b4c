"""Which stages the demo has, what each waits for, and how long it takes.

Two plans: the dev cluster, where everything is built and started, and CLUSTER=current, where the
user names what is there already. Seconds are of two cores; first without any cache, then with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import images, job, storage
from demo.cluster import NAMESPACE, PATIENCE, DemoCluster, find, install, prepare_namespace
from demo.digits import SCENES, make_digits
from demo.errors import DemoError
from demo.stages import DemoStage, Run, Work
from demo.storage import DemoStorage
from demo.userdata import count_images, take

DEV_HOME = Path(
    os.environ.get("DINO_DEVCLUSTER_HOME") or Path.home() / ".cache" / "dino-devcluster"
).expanduser()
NEEDED = {
    "DINO_OPERATOR_IMAGE": "the operator's container image, pushed where your cluster pulls from",
    "DINO_TRAINER_IMAGE": "the trainer's image, likewise (README: how to build both)",
    "DINO_S3_ENDPOINT": "the S3 server's URL, for this machine and for pods; `aws` for Amazon S3",
    "DINO_S3_BUCKET": "a bucket that the demo may write to, below digits/ and results/",
    "AWS_ACCESS_KEY_ID": "the key of a user who may",
    "AWS_SECRET_ACCESS_KEY": "and its secret",
}


@dataclass
class Demo:
    """What the stages share. `found` is filled in as they finish."""

    folder: Path
    data: Path | None
    cluster: DemoCluster
    operator_image: str
    trainer_image: str
    found: dict[str, DemoStorage] = field(default_factory=dict)

    @property
    def storage(self) -> DemoStorage:
        return self.found["storage"]

    @property
    def dataset(self) -> Path:
        return self.folder / ("my-data" if self.data else job.DATA_PREFIX)

    @property
    def manifest(self) -> job.Manifest:
        """The DinoJob to apply, for the bucket in use."""
        own = job.for_data(count_images(self.dataset / "train")) if self.data else job.example()
        return job.for_bucket(own, self.storage.bucket)

    def make_data(self, work: Work) -> None:
        if self.data:
            take(self.data, self.dataset)
        else:
            make_digits(self.dataset)
        work.note(f"{count_images(self.dataset / 'train')} images for training")

    def upload(self, work: Work) -> None:
        """Upload the data and take away what an earlier demo left: its job and its results."""
        manifest = self.manifest
        prepare_namespace(self.cluster, self.storage)
        gone = ("--ignore-not-found", "--cascade=foreground", f"--timeout={PATIENCE}")
        # Where no chart was ever installed there is no such resource and no job either.
        if "dinojobs" in self.cluster.kubectl("api-resources", "--api-group=dino-operator.io"):
            self.cluster.kubectl("delete", "dinojob", job.name(manifest), *gone)
        storage.make_bucket(self.storage)
        storage.clear(self.storage, job.key_of(manifest["spec"]["output"]["uri"]))
        size = storage.upload(self.storage, self.dataset, self.dataset.name)
        work.note(f"{size / 1e6:.1f} MB to {self.storage.uri(self.dataset.name)}")

    def install(self, work: Work) -> None:
        install(work, self.cluster, self.storage, self.operator_image, self.trainer_image)

    def tidy(self, work: Work) -> None:
        """Forget earlier images, once no operator hands them out any more. What fails costs disk
        and nothing else.
        """
        for image in (images.OPERATOR, images.TRAINER):
            try:
                work.run(image.prune_command())
            except DemoError as error:
                work.note(str(error))

    def start_s3(self, work: Work) -> None:
        said = json.loads(work.read([images.CLUSTER, "s3", "--json"]))
        self.found["storage"] = DemoStorage(
            endpoint=said["endpoint"],
            inside=said["inside"],
            region=said["region"],
            path_style=True,
            access_key=said["accessKey"],
            secret_key=said["secretKey"],
            bucket="dino",
        )

    def check_cluster(self, work: Work) -> None:
        work.run([self.cluster.kubectl_path, "version"], self.cluster.env)


def dev(folder: Path, data: Path | None) -> tuple[Demo, list[DemoStage]]:
    """Everything is built and started here."""
    programs = DEV_HOME / "bin"
    cluster = DemoCluster(
        str(programs / "kubectl"), str(programs / "helm"), str(DEV_HOME / "node" / "kubeconfig")
    )
    operator, trainer = images.OPERATOR, images.TRAINER
    demo = Demo(folder, data, cluster, operator.name, trainer.name)

    def command(*words: str) -> Run:
        return lambda work: work.run([images.CLUSTER, *words])

    stages = [
        DemoStage("programs", "etcd, Kubernetes, kubectl, Helm, S3", 400, 1, command("build")),
        DemoStage("base image", "Debian with Python", 60, 1, command("base-image")),
        DemoStage("dataset", data_does(data), 10, 10, demo.make_data),
        DemoStage(
            "operator image", "Python, kopf", 40, 3,
            lambda work: work.run(operator.build_command()), ("base image",),
        ),
        DemoStage(
            "trainer image", "Python, torch for CPUs", 110, 5,
            lambda work: work.run(trainer.build_command()), ("base image",),
        ),
        DemoStage("cluster", "one node", 20, 8, command("up"), ("programs",)),
        DemoStage("S3", "versitygw in a pod", 6, 3, demo.start_s3, ("cluster",)),
        DemoStage("upload", "data to S3", 2, 5, demo.upload, ("S3", "dataset")),
        DemoStage(
            "load operator", "into the node", 10, 1,
            lambda work: work.run(operator.load_command()), ("operator image", "cluster"),
        ),
        DemoStage(
            "load trainer", "2 GB into the node", 5, 1,
            lambda work: work.run(trainer.load_command()), ("trainer image", "cluster"),
        ),
        DemoStage("operator", "Helm installs it", 15, 10, demo.install, ("load operator", "S3")),
        DemoStage("tidy", "earlier images go", 1, 3, demo.tidy, ("load trainer", "operator")),
    ]  # fmt: skip
    return demo, stages


def current(
    folder: Path, data: Path | None, env: Mapping[str, str]
) -> tuple[Demo, list[DemoStage]]:
    """The user's cluster, images and object store. Raises DemoError that lists what is missing."""
    missing = [name for name in NEEDED if not env.get(name)]
    if missing:
        lines = "".join(f"\n  {name:<22} {NEEDED[name]}" for name in missing)
        raise DemoError(f"CLUSTER=current uses your cluster, and needs these variables too:{lines}")
    endpoint = "" if env["DINO_S3_ENDPOINT"] == "aws" else env["DINO_S3_ENDPOINT"]
    store = DemoStorage(
        endpoint=endpoint,
        inside=env.get("DINO_S3_ENDPOINT_INSIDE") or endpoint,
        region=env.get("AWS_REGION") or "us-east-1",
        path_style=bool(endpoint),
        access_key=env["AWS_ACCESS_KEY_ID"],
        secret_key=env["AWS_SECRET_ACCESS_KEY"],
        bucket=env["DINO_S3_BUCKET"],
    )
    programs = DEV_HOME / "bin"
    cluster = DemoCluster(find("kubectl", programs), find("helm", programs), "")
    demo = Demo(
        folder, data, cluster, env["DINO_OPERATOR_IMAGE"], env["DINO_TRAINER_IMAGE"],
        {"storage": store},
    )  # fmt: skip
    stages = [
        DemoStage("cluster", "does it answer", 2, 2, demo.check_cluster),
        DemoStage("dataset", data_does(data), 10, 10, demo.make_data),
        DemoStage("upload", "data to S3", 10, 10, demo.upload, ("cluster", "dataset")),
        DemoStage("operator", "Helm installs it", 60, 15, demo.install, ("cluster",)),
    ]
    return demo, stages


def data_does(data: Path | None) -> str:
    if data:
        return f"your images in {data}"
    return f"{SCENES['train']} + {SCENES['val']} images of handwritten digits"


def training(stages: list[DemoStage]) -> DemoStage:
    """The last step, which follows all stages and is shown by itself."""
    return DemoStage(
        "training", f"in namespace {NAMESPACE}, shown live", 110, 110, lambda work: None,
        tuple(stage.name for stage in stages),
    )  # fmt: skip


def announce(stages: list[DemoStage]) -> str:
    """What will happen and what each step takes, for the user to read beforehand."""
    rows = [f"  {'step':<16}{'first time':>11}{'again':>8}   what"]
    for s in stages:
        after = f" (after {', '.join(s.needs)})" if s.needs else ""
        rows.append(f"  {s.name:<16}{s.first:>9} s{s.again:>6} s   {s.does}{after}")
    last = training(stages)
    rows.append(f"  {last.name:<16}{last.first:>9} s{last.again:>6} s   {last.does}")
    return "\n".join(rows)
