"""DinoJob and its spec, and `resolve` for the pod's spec."""

from __future__ import annotations

import copy
import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dino_api.actions import ACTIONS, DatasetSplit
from dino_api.base import NAME, NO_NULL, NOT_BLANK, URI, Camel, NumberOrString, either
from dino_api.formats import endings
from dino_api.names import API_VERSION, KIND, TRAINS, Action
from dino_api.resources.datasets import Datasets, DatasetSource, InferenceSource
from dino_api.resources.pod_template import PodTemplate
from dino_api.resources.status import DinoJobStatus
from dino_api.result import MOST_CLASSES

# A number with an optional suffix, as Kubernetes writes CPUs and memory; never negative.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|[KMGTPE]i|[MGTPE])?$"


def _quantity(value: object) -> str:
    """The text of a number or a text. Raises ValueError for what is no quantity."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = format(Decimal(repr(value)), "f") if number else value
    if value == 0 or not isinstance(text, str) or not re.fullmatch(QUANTITY, text):
        raise ValueError("must be a quantity such as 4, 0.5, 500m or 16Gi")
    return text


Quantity = Annotated[str, BeforeValidator(_quantity), NumberOrString(QUANTITY)]


def _or_empty(value: object) -> object:
    """Of the experiment, which may be null as every key in it."""
    return {} if value is None else value


class OutputTarget(Camel):
    """Where results go."""

    uri: str = Field(
        max_length=URI,
        description="Folder in the object store, such as s3://bucket/results. The job writes to "
        "<uri>/<action>, such as <uri>/train, and resumes from there: give every job its own.",
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
        1,
        ge=0,
        le=16,
        description="GPUs of each pod, with one process for each. Default 1; 0 runs on the CPU: "
        "enough for export and quantize, and for small tests of training.",
    )
    nodes: int = Field(
        1,
        ge=1,
        le=64,
        description="Pods that share the work, each with the GPUs, CPUs and memory given here. "
        "Default 1. For train, evaluate, inference and distill.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=16,
        description="Processes of each pod where gpus is 0. Default 1.",
    )
    cpu: Quantity | None = Field(
        None,
        description="CPUs requested and allowed, such as 4 or 500m. Absent: not limited, and "
        "requested are 1 for each GPU and 1 for each of its workers up to 2; a quarter of it "
        "without GPUs; at least 500m.",
    )
    memory: Quantity | None = Field(
        None,
        description="Memory requested and allowed, such as 16Gi. A job that needs more is ended "
        "with reason OutOfMemory. Absent: not limited.",
    )


class CacheClaim(Camel):
    """Where staged data is kept for later jobs."""

    claim_name: str = Field(
        max_length=253,
        json_schema_extra=NOT_BLANK,
        description="PersistentVolumeClaim in the job's namespace. Jobs that name the same one "
        "fetch the same data once; ReadWriteMany where pods run on several nodes.",
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
        description="The job fails once its attempts have run for so many seconds together. "
        "Suspended and queued it does not run. Of a search: each trial. Absent: no limit.",
    )
    stop: bool = Field(
        False,
        description="True ends the job for good after a checkpoint, with reason Stopped. It cannot "
        "be taken back.",
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=31536000,
        description="Pods and Jobs are deleted this many seconds after the end; the DinoJob stays. "
        "Absent: they are kept, with their logs.",
    )


class Parent(Camel):
    """The model that a job goes on from: that of a job or search, or a file. For distill: the
    teacher."""

    kind: Literal["DinoJob", "DinoAutoML"] = Field(
        "DinoJob", description="DinoJob (default), or DinoAutoML for the winner of its search."
    )
    name: str | None = Field(
        None,
        max_length=253,
        json_schema_extra=NOT_BLANK,
        description="Its name, in the same namespace. It is waited for.",
    )
    uri: str | None = Field(
        None,
        max_length=URI,
        description="A model file in place of a name: an s3:// URI that ends in "
        f"{either(endings())}.",
    )


class TrainingSpec(Camel):
    """A training: data, experiment, output, and what its pods get."""

    datasets: Datasets | None = Field(
        None, description="The data of the job. Absent: that of the installation's smoke profile."
    )
    num_classes: int | None = Field(
        None,
        ge=1,
        le=MOST_CLASSES,
        description="Number of classes: the largest category id plus one. Absent: the parent's, or "
        "derived from the training annotations.",
    )
    experiment: Annotated[dict[str, Any], BeforeValidator(_or_empty)] = Field(
        default_factory=dict,
        description="The TAO experiment spec, with TAO's keys. Absent keys have the defaults "
        "named in their descriptions.",
    )
    output: OutputTarget = Field(description="Where results go.")
    storage: Storage | None = Field(None, description="How to reach the object store.")
    cache: CacheClaim | None = Field(
        None,
        description="Where staged data is kept. Absent: the operator's (Helm value "
        "cache.claimName), or else each pod fetches the data itself.",
    )
    resources: Resources = Field(
        default_factory=Resources, description="What each pod gets: GPUs, CPUs, memory; how many."
    )
    queue_name: str | None = Field(
        None,
        max_length=NAME,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="LocalQueue of Kueue in the job's namespace. The training waits until Kueue "
        "admits it. Absent: it does not wait.",
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


class DinoJobSpec(TrainingSpec):
    """What to do. Immutable except runPolicy."""

    action: Action = Field(
        description=f"What the job does: {either(Action)}. Each reads its section of "
        "experiment, and model and dataset."
    )
    automl_policy: Literal["Auto", "Disabled"] = Field(
        "Auto",
        json_schema_extra=NO_NULL,
        description="Auto (default) searches good hyperparameters first: the job becomes a "
        "DinoAutoML that it owns. Disabled trains once with the experiment as given. Other actions "
        "than train are never searched for.",
    )
    parent: Parent | None = Field(
        None,
        description="The job, search or file whose model this one goes on from; of distill, the "
        "teacher. Absent: a training starts anew, other actions take what lies under output.",
    )


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
    """A job on a DINO detector: a training, or what comes after it."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: DinoJobSpec
    status: DinoJobStatus = Field(default_factory=DinoJobStatus)


def resolve(job: DinoJob) -> dict[str, Any]:
    """The experiment mapping for the pod: the user's keys and what the resource decides.

    Defaults are not written into it; the trainer reads them from the same models. What a parent
    brings is not in it. Raises ValueError for a job that trains and has no training data.
    """
    spec = job.spec
    mapping = copy.deepcopy(spec.experiment)
    data = spec.datasets or Datasets()
    trains = spec.action in TRAINS
    if trains and not data.train:
        raise ValueError("spec.datasets.train is missing")
    dataset = _data(data)
    if trains:
        dataset.setdefault(DatasetSplit.VALIDATION.key, dataset[DatasetSplit.TRAIN.key])
    if spec.num_classes is not None:
        dataset["num_classes"] = spec.num_classes
    if dataset:
        mapping["dataset"] = {**(mapping.get("dataset") or {}), **dataset}
    if shape := _shape(spec.action, spec.resources):
        section = ACTIONS[spec.action].section.value
        mapping[section] = {**(mapping.get(section) or {}), **shape}
    mapping["results_dir"] = spec.output.uri
    return mapping


def _data(data: Datasets) -> dict[str, Any]:
    """The keys of `dataset` for what is given. Admission saw to it that the action reads it."""
    dataset: dict[str, Any] = {}
    for part in DatasetSplit:
        given = data.of(part)
        if isinstance(given, InferenceSource):
            images, names = [given.image_dir()], given.classmap_file()
            dataset[part.key] = {"image_dir": images, "classmap": names}
        elif given:
            dataset[part.key] = _sources(given)
    return dataset


def _shape(action: Action, wished: Resources) -> dict[str, int]:
    """The keys of a section for its processes; of one process on one node, the GPUs alone."""
    if not ACTIONS[action].says_gpus:
        return {}
    shape = {"num_gpus": wished.gpus}
    if wished.nodes > 1:
        shape["num_nodes"] = wished.nodes
    if wished.processes > 1:
        shape["num_processes"] = wished.processes
    return shape


def _sources(sources: list[DatasetSource]) -> list[dict[str, str]]:
    return [{"image_dir": one.image_dir(), "json_file": one.json_file()} for one in sources]
