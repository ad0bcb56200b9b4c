"""The Kubernetes objects: DinoJob, its spec and its status, and `resolve` for the pod's spec.

Reading is tolerant (unknown fields are ignored, the experiment stays a mapping), because the API
server has already refused what the CRD refuses; `experiment.load` judges the experiment.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dino_api.base import NAME, SHORT, TEXT, URI, Camel, IntOrString
from dino_api.names import API_VERSION, KIND, Action
from dino_api.podtemplate import PodTemplate
from dino_api.result import Artifact, Checkpoint, Dataset, Failure, Metrics, Progress

# A number with an optional suffix, as Kubernetes writes CPUs and memory; never negative.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i|[MGTPE])?$"
Quantity = Annotated[str, BeforeValidator(str), IntOrString(QUANTITY)]

_ARCHIVE, _FOLDER = "images.tar.gz", "images"


class DatasetSource(Camel):
    """One dataset: images and a COCO annotation file under one URI."""

    uri: str = Field(
        max_length=URI,
        description="Folder in the object store that holds images and annotations, such as "
        "s3://bucket/train. Required.",
    )
    format: Literal["coco", "coco_raw"] = Field(
        "coco",
        description="coco (default): images are one archive (images.tar.gz). coco_raw: images are "
        "single files in a folder, which is slower to fetch.",
    )
    images: str | None = Field(
        None,
        max_length=SHORT,
        description="Name of the archive or folder below uri. Default: images.tar.gz for coco, "
        "images for coco_raw.",
    )
    annotations: str = Field(
        "annotations.json",
        max_length=SHORT,
        description="Name of the COCO annotation file below uri. Default: annotations.json.",
    )

    def image_dir(self) -> str:
        """URI of the archive or folder of images."""
        name = self.images or (_ARCHIVE if self.format == "coco" else _FOLDER)
        return f"{self.uri.rstrip('/')}/{name}"

    def json_file(self) -> str:
        """URI of the annotation file."""
        return f"{self.uri.rstrip('/')}/{self.annotations}"


class Datasets(Camel):
    """The data of the job."""

    train: list[DatasetSource] = Field(
        min_length=1, max_length=32, description="Training data; several sources are joined."
    )
    validation: list[DatasetSource] = Field(
        default_factory=list,
        max_length=32,
        description="Validation data. Absent: the training data is used, which flatters the "
        "result.",
    )


class OutputTarget(Camel):
    """Where results go."""

    uri: str = Field(
        max_length=URI,
        description="Folder in the object store, such as s3://bucket/results. The job writes to "
        "<uri>/train and resumes from there: give every job its own.",
    )


class Storage(Camel):
    """How to reach the object store. Absent fields are the operator's (Helm values s3.*)."""

    endpoint: str | None = Field(
        None,
        max_length=URI,
        description="URL of an S3 server other than AWS, such as http://minio.storage:9000.",
    )
    region: str | None = Field(None, max_length=NAME, description="Region, such as us-east-1.")
    path_style: bool | None = Field(
        None,
        description="True addresses buckets as http://server/bucket, which most servers other "
        "than AWS need.",
    )
    secret_name: str | None = Field(
        None,
        max_length=253,
        description="Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY.",
    )


class Resources(Camel):
    """What one pod of the job gets."""

    gpus: int = Field(
        1, ge=0, le=1, description="GPUs: 1 (default) or 0, which trains on CPU, for small tests."
    )
    cpu: Quantity | None = Field(
        None, description="CPUs requested and allowed, such as 4 or 500m. Absent: not limited."
    )
    memory: Quantity | None = Field(
        None,
        description="Memory requested and allowed, such as 16Gi. A job that needs more is ended "
        "with reason OutOfMemory. Absent: not limited.",
    )


class RunPolicy(Camel):
    """Suspending, retries and time limits. The only part of the spec that can be edited."""

    suspend: bool = Field(
        False,
        description="True stops the pod after a checkpoint; false starts it again from there. "
        "Default false.",
    )
    max_retries: int = Field(
        3,
        ge=0,
        le=100,
        description="Attempts after the first. Pre-emption does not count, and errors in spec or "
        "data are never retried. Default 3.",
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        le=31536000,
        description="The job fails when it has taken longer, in seconds since its start. Absent: "
        "no limit.",
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=31536000,
        description="Pods and Jobs are deleted this many seconds after the end; the DinoJob stays. "
        "Absent: they are kept, with their logs.",
    )


class DinoJobSpec(Camel):
    """What to do. Immutable except runPolicy."""

    action: Action = Field(description="What the job does. This release: train.")
    automl_policy: Literal["Disabled"] = Field(
        description="Disabled trains once with the experiment as given. Hyperparameter search is "
        "not built yet, so Disabled is required."
    )
    datasets: Datasets = Field(description="The data of the job.")
    num_classes: int | None = Field(
        None,
        ge=1,
        le=100000,
        description="Number of classes: the largest category id plus one. Absent: derived from "
        "the training annotations.",
    )
    experiment: dict[str, Any] = Field(
        default_factory=dict,
        description="The TAO experiment spec, with TAO's keys. Absent keys have the defaults "
        "named in their descriptions.",
    )
    output: OutputTarget = Field(description="Where results go.")
    storage: Storage | None = Field(None, description="How to reach the object store.")
    resources: Resources = Field(
        default_factory=Resources, description="What the pod gets: GPUs, CPUs, memory."
    )
    run_policy: RunPolicy = Field(
        default_factory=RunPolicy, description="Suspending, retries and time limits; editable."
    )
    priority_class_name: str | None = Field(
        None, max_length=253, description="PriorityClass of the pod."
    )
    pod_template: PodTemplate = Field(
        default_factory=PodTemplate, description="Where and how the pod runs."
    )


class Condition(Camel):
    """One condition, in Kubernetes' usual form."""

    type: str = Field(max_length=NAME, description="Suspended, Running, Complete or Failed.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(max_length=SHORT, description="One word for why.")
    message: str = Field("", max_length=TEXT, description="The same for people.")
    last_transition_time: str | None = Field(
        None, max_length=NAME, description="When status last changed."
    )
    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that this was true for."
    )


class DinoJobStatus(Camel):
    """What the operator and the pod report."""

    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that the operator last acted on."
    )
    phase: str | None = Field(
        None,
        max_length=NAME,
        description="For printing only: Pending, Queued, Running, Suspended, Complete or Failed. "
        "Programs read conditions.",
    )
    attempts: int | None = Field(None, ge=0, description="Attempts started so far.")
    gpus: int | None = Field(None, ge=0, description="GPUs that each attempt asks for.")
    reporter: str | None = Field(
        None, max_length=253, description="The pod that may write progress."
    )
    start_time: str | None = Field(None, max_length=NAME, description="Start of the first pod.")
    completion_time: str | None = Field(None, max_length=NAME, description="End of the job.")
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Suspended, Running, Complete, Failed."
    )
    progress: Progress | None = Field(None, description="Where the training is.")
    dataset: Dataset | None = Field(None, description="What the trainer found in the data.")
    metrics: Metrics | None = Field(None, description="Metrics of the best checkpoint.")
    checkpoint: Checkpoint | None = Field(None, description="The checkpoint to use.")
    artifacts: list[Artifact] = Field(
        default_factory=list, max_length=64, description="Files under the output."
    )
    failure: Failure | None = Field(None, description="Why the latest attempt failed.")
    spec_digest: str | None = Field(
        None, max_length=128, description="Digest of the resolved experiment spec."
    )
    image: str | None = Field(None, max_length=URI, description="Image of the trainer.")

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((found for found in self.conditions if found.type == kind), None)


class Metadata(Camel):
    """The parts of metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class DinoJob(Camel):
    """A training of a DINO detector."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: DinoJobSpec
    status: DinoJobStatus = Field(default_factory=DinoJobStatus)


def resolve(job: DinoJob) -> dict[str, Any]:
    """The experiment mapping for the pod: the user's keys and what the resource decides.

    Defaults are not written into it; the trainer reads them from the same models.
    """
    mapping = copy.deepcopy(job.spec.experiment)
    data = job.spec.datasets
    dataset = mapping.setdefault("dataset", {})
    dataset["train_data_sources"] = _sources(data.train)
    dataset["val_data_sources"] = _sources(data.validation or data.train)
    if job.spec.num_classes is not None:
        dataset["num_classes"] = job.spec.num_classes
    mapping.setdefault("train", {})["num_gpus"] = job.spec.resources.gpus
    mapping["results_dir"] = job.spec.output.uri
    return mapping


def _sources(sources: list[DatasetSource]) -> list[dict[str, str]]:
    return [{"image_dir": one.image_dir(), "json_file": one.json_file()} for one in sources]
