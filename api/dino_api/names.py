"""Every name that is written into a cluster, once.

Conditions, reasons, events, labels, environment variables and field managers. Each reason carries
a sentence that says when it appears; `docs` and `kubectl describe` readers rely on these words.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

GROUP: Final = "dino-operator.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "DinoJob"
PLURAL: Final = "dinojobs"
SINGULAR: Final = "dinojob"
SHORT_NAMES: Final = ("dj",)
CATEGORY: Final = "dino"
AUTOML_KIND: Final = "DinoAutoML"
AUTOML_PLURAL: Final = "dinoautomls"
AUTOML_SINGULAR: Final = "dinoautoml"
AUTOML_SHORT_NAMES: Final = ("daml",)
LONGEST_JOB_NAME: Final = 50
"""The names of its Jobs and pods add to it, and may have 63 characters."""
LONGEST_SEARCH_NAME: Final = 40
"""The names of its trials add to it."""
LONGEST_SEARCHED_OUTPUT: Final = 960
"""The folders of its trials add up to 54 to it, which Katib's do, and an output may have 1024
characters."""

FIELD_MANAGER: Final = "dino-operator"
PROGRESS_FIELD_MANAGER: Final = "dino-trainer"

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "dino-operator"

TRAINER_SERVICE_ACCOUNT: Final = "dino-trainer"
PROGRESS_CLUSTER_ROLE: Final = "dino-trainer-progress"

CPU_TUNABLES: Final = "glibc.malloc.tcache_count=0"
"""GLIBC_TUNABLES of pods that compute on CPUs: no thread keeps small pieces that it has freed for
itself. They lie between large ones, and keep those from becoming one: a training held a tenth
more."""
SPEC_KEY: Final = "spec.yaml"
SPEC_PATH: Final = "/etc/dino/spec.yaml"
SEARCH_KEY: Final = "search.json"
SEARCH_PATH: Final = "/etc/dino/search.json"
RESULT_FILE: Final = "result.json"
"""How an action ended, whole, in its folder under the output, as all files are that follow."""
STATUS_FILE: Final = "status.json"
"""One line an event, in TAO's form."""
EXPERIMENT_FILE: Final = "experiment.yaml"
"""The spec of a run with every default filled in."""
MANIFEST_FILE: Final = "manifest.json"
"""Sizes and SHA-256 of the other files."""
ERROR_FILE: Final = "error.log"
"""The traceback of an error that has no other name than InternalError."""
REPORT_FILE: Final = "report.html"
REPORT_DATA_FILE: Final = "report.json"
"""The preflight's report for programs."""
METRICS_FILE: Final = "metrics.json"
PREDICTIONS_FILE: Final = "predictions.json"
COMPARISON_FILE: Final = "comparison.json"
GRAPH_FILE: Final = "export.json"
"""What `export` made: size, nodes by operator, and the comparison of both."""
PICTURE_FILE: Final = "validation.png"
"""Validation images with what the best checkpoint finds in them."""
TIMING_CACHE: Final = "timing.cache"
BEST_CHECKPOINT: Final = "dino_model_best.pth"
"""The weights that validated best so far, in the folder of the action under the output."""
LATEST_CHECKPOINT: Final = "dino_model_latest.pth"
"""All that exact resume needs, of `dino train` or `dino distill`, beside the best."""
PREVIOUS_CHECKPOINT: Final = "dino_model_previous.pth"
"""The one before the latest, for when that is damaged."""
SKIPPED_FILE: Final = "skipped_"
"""How the name of a list of images that were left out begins: `skipped_train_data_sources.json`."""
EPOCH_CHECKPOINT: Final = "model_epoch_"
"""How the name of a file with the weights after an epoch begins: `model_epoch_007.pth`."""
ONNX_FILE: Final = "dino_model.onnx"
QUANTIZED_FILE: Final = "dino_model_int8.onnx"
QUANTIZED_WEIGHTS: Final = "dino_model_int8.pth"
"""A checkpoint whose weights are INT8, of `dino quantize` with mode weight_only_ptq."""
WEIGHTS_ALONE: Final = "weight_only_ptq"
"""`quantize.mode` for it; without it an ONNX file is quantized."""
ENGINE_FILE: Final = "dino_model.engine"
VALIDATION: Final = "Validation"
"""The trainer prints `Validation mAP50 : 0.4100` after each validation, as TAO does."""
METRIC: Final = f"{VALIDATION} mAP50"
"""What searches maximise; Katib finds it under this name in the trainer's log."""
SHARED_MEMORY: Final = "/dev/shm"
"""Where a pod's shared memory is: data loaders and NCCL hand over in it."""
TERMINATION_LOG: Final = "/dev/termination-log"
"""The file whose text Kubernetes keeps of a container that ended."""
TOKEN_FILE: Final = "token"
CA_FILE: Final = "ca.crt"
"""In the folder of Env.TOKEN_DIR: what the pod pushes its progress with."""
DEFAULT_REGION: Final = "us-east-1"
"""Of S3, where nobody names one."""
GPU_RESOURCE: Final = "nvidia.com/gpu"
KUEUE_QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
RENDEZVOUS_PORT: Final = 29400


class DocumentedName(StrEnum):
    """A name with the sentence that says when it is used."""

    when: str

    def __new__(cls, value: str, when: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.when = when
        return member


class Action(StrEnum):
    """What a DinoJob does; the name of `dino <action>`."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    INFERENCE = "inference"
    EXPORT = "export"
    GEN_TRT_ENGINE = "gen_trt_engine"
    QUANTIZE = "quantize"
    DISTILL = "distill"


TRAINS: Final = frozenset({Action.TRAIN, Action.DISTILL})
"""Actions that train: several nodes, retries from a checkpoint, metrics of a validation."""


class Stage(StrEnum):
    """What a Job does besides its action; stands in the ACTION label of the Job."""

    PREFLIGHT = "preflight"
    REPORT = "report"
    RESULT = "result"


class Option(StrEnum):
    """Options of the command `dino` by which the operator says what a pod does."""

    EXPERIMENT = "-e"
    ACTION = "--for"
    REPORT = "--report"
    OUTPUT = "--output"
    SEARCH = "--search"


class Label(StrEnum):
    """Labels of the children; the operator selects by the uids, people by the names."""

    JOB = f"{GROUP}/job"
    JOB_UID = f"{GROUP}/job-uid"
    ATTEMPT = f"{GROUP}/attempt"
    ACTION = f"{GROUP}/action"
    AUTOML = f"{GROUP}/automl"
    AUTOML_UID = f"{GROUP}/automl-uid"
    TRIAL = f"{GROUP}/trial"
    TRIAL_END = f"{GROUP}/trial-end"


class Env(StrEnum):
    """Environment variables of the trainer's container."""

    JOB_NAME = "DINO_JOB_NAME"
    JOB_NAMESPACE = "DINO_JOB_NAMESPACE"
    JOB_UID = "DINO_JOB_UID"
    POD_NAME = "DINO_POD_NAME"
    ATTEMPT = "DINO_ATTEMPT"
    WORK_DIR = "DINO_WORK_DIR"
    HOME = "HOME"
    TOKEN_DIR = "DINO_TOKEN_DIR"
    S3_PATH_STYLE = "DINO_S3_PATH_STYLE"
    S3_ENDPOINT = "AWS_ENDPOINT_URL_S3"
    S3_REGION = "AWS_REGION"
    S3_ACCESS_KEY = "AWS_ACCESS_KEY_ID"
    S3_SECRET_KEY = "AWS_SECRET_ACCESS_KEY"
    S3_CA_BUNDLE = "AWS_CA_BUNDLE"
    OMP_NUM_THREADS = "OMP_NUM_THREADS"
    OMP_WAIT_POLICY = "OMP_WAIT_POLICY"
    SPIN_COUNT = "GOMP_SPINCOUNT"
    GLIBC_TUNABLES = "GLIBC_TUNABLES"
    CACHE_DIR = "DINO_CACHE_DIR"
    MICRO_BATCH = "DINO_MICRO_BATCH"
    NODES = "DINO_NODES"
    RDZV_ENDPOINT = "DINO_RDZV_ENDPOINT"
    RDZV_ID = "DINO_RDZV_ID"
    COMPLETION_INDEX = "JOB_COMPLETION_INDEX"
    SAMPLING = "DINO_SAMPLING"
    KERNELS = "DINO_KERNELS"
    STORAGE_PATIENCE = "DINO_STORAGE_PATIENCE"
    RANK_FAILURE_FILE = "DINO_RANK_FAILURE_FILE"
    LAUNCHER_PID = "DINO_LAUNCHER_PID"
    DEBUG = "DINO_DEBUG"


class Phase(DocumentedName):
    """One word for `kubectl get`; derived from the conditions, never read by the operator."""

    PENDING = "Pending", "the operator has not yet created the job's first pod"
    PREPARING = "Preparing", "the preflight Job checks the data; no GPU is asked for yet"
    QUEUED = "Queued", "a pod exists and does not run yet: scheduling, pulling, or backing off"
    RUNNING = "Running", "the trainer's pod runs"
    SUSPENDED = "Suspended", "spec.runPolicy.suspend is true and no pod is left"
    COMPLETE = "Complete", "the trainer succeeded and published its result"
    FAILED = "Failed", "the job ended without success and is not tried again"


class ConditionType(DocumentedName):
    """The conditions of a DinoJob; each has status True, False or Unknown."""

    SUSPENDED = "Suspended", "True while spec.runPolicy.suspend holds the job and no pod is left"
    AUTOML_ROUTED = "AutoMLRouted", "True where a search runs for the job; False says why not"
    PARENT_READY = "ParentReady", "True once the parent is complete; with spec.parent.name only"
    ENGINE_READY = "EngineReady", "of a search: True once it is known what runs its trials, and why"
    PROFILE_APPLIED = "ProfileApplied", "of a search: True where the smoke profile's data is used"
    DATA_READY = "DataReady", "True once the preflight found nothing wrong; stays True"
    RUNNING = "Running", "True while the trainer's pod runs"
    COMPLETE = "Complete", "True once the trainer succeeded; never changes afterwards"
    FAILED = "Failed", "True once the job failed for good; never changes afterwards"


class FailureReason(DocumentedName):
    """Why a pod, or in the end the job, failed. `failures.TABLE` holds retry and remedy."""

    INVALID_SPEC = "InvalidSpec", "the experiment, or an option in it, cannot be run"
    INVALID_DATASET = "InvalidDataset", "the data was read and is not what the action needs"
    INPUT_NOT_FOUND = "InputNotFound", "a dataset, checkpoint or weights file does not exist"
    STORAGE_UNAVAILABLE = "StorageUnavailable", "the object store did not answer, after retries"
    INTERNAL_ERROR = "InternalError", "the trainer hit an error that it has no other name for"
    DEVICE_OUT_OF_MEMORY = "DeviceOutOfMemory", "the GPU's memory did not suffice"
    DISK_FULL = "DiskFull", "the pod's disk or its ephemeral storage limit is full"
    DIVERGED = "Diverged", "the loss became NaN or infinite"
    ACCESS_DENIED = "AccessDenied", "the object store refused the credentials"
    PEER_LOST = "PeerLost", "another process of the job ended or could not be reached"
    NO_GPU = "NoGPU", "the pod asked for GPUs and PyTorch finds none in it"
    NO_TENSORRT = "NoTensorRT", "the trainer's container image has no TensorRT, which engines need"
    GATE_FAILED = "GateFailed", "the model that was made is less accurate than its gate allows"
    PREEMPTED = "Preempted", "the pod was asked to stop and saved a checkpoint first"
    OUT_OF_MEMORY = "OutOfMemory", "the kernel killed the container at its memory limit"
    CRASHED = "Crashed", "the trainer ended with an exit code that it does not use itself"
    DEADLINE_EXCEEDED = "DeadlineExceeded", "spec.runPolicy.activeDeadlineSeconds passed"
    IMAGE_PULL_FAILED = "ImagePullFailed", "a container image of the pod cannot be pulled"
    CONTAINER_FAILED = "ContainerFailed", "an init container or a sidecar made the pod fail"
    POD_LOST = "PodLost", "the pod, or its node, went away without an exit code"
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded", "every retry of runPolicy.maxRetries failed"
    CHILD_NAME_CONFLICT = "ChildNameConflict", "an object of another owner has a child's name"
    METRICS_UNAVAILABLE = "MetricsUnavailable", "a trial ended, and Katib has no metric of it"
    KATIB_FAILED = "KatibFailed", "Katib ended the search without a result, or does not go on"
    STOPPED = "Stopped", "spec.runPolicy.stop was set"
    PARENT_FAILED = "ParentFailed", "the parent failed, or left no model that the job can take"
    MAX_FAILED_TRIALS = "MaxFailedTrialsReached", "more trials failed than spec.maxFailedTrials"
    NO_TRIAL_SUCCEEDED = "NoTrialSucceeded", "every trial ended and none left a checkpoint"


class ConditionReason(DocumentedName):
    """Reasons of conditions that are not failures; a Failed condition carries a FailureReason."""

    QUEUED = "Queued", "the pod waits for a node, a container image or its turn"
    PODS_UNSCHEDULABLE = "PodsUnschedulable", "the scheduler finds no node; it says what is missing"
    PODS_REFUSED = "PodsRefused", "the API server refuses the Job's pods; its words are shown"
    POD_NOT_STARTED = "PodNotStarted", "a container or a volume of the pod does not come"
    SIDECAR_RUNS = "SidecarRuns", "the trainer ended, and another container keeps its pod"
    NODE_LOST = "NodeLost", "a pod was to end and has not: its node does not answer"
    CHECKING = "Checking", "the preflight Job checks the data"
    DATA_CHECKED = "DataChecked", "the preflight found no error in the data"
    CHECKED_BY_TRIAL = "CheckedByTrial", "another trial of the search found no error in the data"
    ROUTED = "Routed", "a DinoAutoML searches for the job, which shows what it says"
    AUTOML_DISABLED = "AutoMLDisabled", "the installation has automl.enabled: false"
    AUTOML_CRD_MISSING = "AutoMLCRDMissing", "the DinoAutoML CRD is not installed"
    WAITING_FOR_PARENT = "WaitingForParent", "the parent does not exist or has not ended yet"
    PARENT_COMPLETE = "ParentComplete", "the parent left the model that the job goes on from"
    STOPPING = "Stopping", "stop was set; the pod is saving a checkpoint"
    WAITING_FOR_QUEUE = "WaitingForQueue", "the Job waits until Kueue admits it"
    EVICTED = (
        "EvictedFromQueue",
        "Kueue took the place in the queue back; it waits again",
    )
    DEACTIVATED = "WorkloadDeactivated", "Kueue does not start the Job again by itself"
    QUEUE_TOO_SMALL = "QueueTooSmall", "the queue has no room for the Job even when it is empty"
    QUEUE_UNAVAILABLE = "QueueUnavailable", "the queue, or Kueue, is missing or takes nothing"
    SUSPENDED_BY_OTHER = "SuspendedByOther", "someone else suspended the Job, and may resume it"
    STARTED = "Started", "the trainer's pod runs"
    READING_RESULT = (
        "ReadingResult",
        "the work is done; a Job reads result.json, as the pod's words are lost",
    )
    RETRYING = "Retrying", "an attempt failed and the next one is being created"
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        "a ResourceQuota has no room for an object, or a pod, of the job",
    )
    POLICY_DENIED = "PolicyDenied", "a policy or an admission webhook denies what is needed"
    NOT_PERMITTED = "NotPermitted", "the operator's own account lacks a right"
    WEBHOOK_UNAVAILABLE = "WebhookUnavailable", "an admission webhook does not answer"
    API_UNAVAILABLE = "APIServerUnavailable", "the API server does not do what it is asked for now"
    CHANGE_REFUSED = "ChangeRefused", "an object cannot be changed as it was asked for"
    WAITING_FOR_CHILD = "WaitingForChild", "the children of a resource of this name must go first"
    SUSPENDING = "Suspending", "suspend was set; the pod is saving a checkpoint"
    SUSPENDED = "Suspended", "suspend is set and no pod is left"
    RESUMED = "Resumed", "suspend was cleared; the next attempt resumes from the checkpoint"
    NOT_SUSPENDED = "NotSuspended", "suspend was never set"
    COMPLETED = "Completed", "the trainer published its result"
    FINISHED = "Finished", "the job is complete; a failed one has the failure's reason here, too"
    NOT_FINISHED = "NotFinished", "the job has not ended yet"
    ENDED_WITHOUT_SUCCESS = "EndedWithoutSuccess", "the job failed, so it can never be Complete"
    KATIB = "Katib", "Katib draws and runs the trials"
    EMBEDDED = "Embedded", "the operator draws the trials and runs them as DinoJobs"
    KATIB_MISSING = "KatibMissing", "spec.engine is Katib, and its CRDs are not served"
    NOT_CHOSEN = "NotChosen", "the search engine is chosen once all that it depends on is known"
    PROFILE_USED = "Applied", "neither data nor classes were given: the smoke profile is used whole"
    DATASETS_GIVEN = "DatasetsGiven", "data or classes were given: nothing of the profile is used"
    WAITING_FOR_SEARCH = "WaitingForSearch", "a search of spec.warmStartFrom has not ended yet"
    WAITING_FOR_TRIALS = "WaitingForTrials", "no trial runs at the moment; the message says why"
    SEARCHING = "Searching", "trials of the search run or wait for their turn"
    ENDING = "Ending", "no more trials start: those that run stop, then report and followers"
    SEARCH_COMPLETED = "SearchCompleted", "the search ended with a winner"


class EventReason(DocumentedName):
    """Reasons of the Kubernetes events on a DinoJob."""

    RETRYING = "AttemptFailed", "an attempt failed and another follows"
    SUSPENDED = "Suspended", "the job was suspended"
    RESUMED = "Resumed", "the job was resumed"
    COMPLETED = "Completed", "the job succeeded"
    FAILED = "Failed", "the job failed for good; the message holds the remedy"
    REFUSED = "Refused", "the API server refuses what is needed; it is tried again until it goes"
    SPEC_DOUBTFUL = "SpecDoubtful", "a job can be run, and something about its spec is odd"
    SEARCH_DOUBTFUL = "SearchDoubtful", "a search can be run, and something about it is odd"
    REPORT_FAILED = "ReportFailed", "the report of a search was not written; the search goes on"
    FOLLOWER_FAILED = "FollowerFailed", "a job on the winner of a search failed; the winner stands"
    POD_PROBLEM = "PodProblem", "a pod does not start or does not end; once for each cause"
