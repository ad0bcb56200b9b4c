"""The failure catalogue: exit code, reason, whether to retry, and what the user does about it.

The trainer exits with these codes, the operator reads them, status.failure shows the remedy.
Codes follow sysexits where one fits. A remedy never promises another attempt: whether one follows
is the plan's to say, which knows the retries that are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dino_api import memory
from dino_api.names import METRIC, FailureReason

Retry = Literal["never", "counted", "free"]


@dataclass(frozen=True)
class FailureRule:
    """One kind of failure.

    exit_code: the trainer's, of this failure alone, or None where there is none to see.
    retry: never; counted against runPolicy.maxRetries; free (does not count).
    fails_every_trial: where trial 0 of a search fails so, every other one would.
    blames_parameters: a trial that fails so has drawn bad parameters, and the sampler is told.
    """

    exit_code: int | None
    reason: FailureReason
    retry: Retry
    remedy: str
    fails_every_trial: bool = False
    blames_parameters: bool = False

    @property
    def when(self) -> str:
        """The sentence that says when this failure is reported."""
        return self.reason.when


TABLE: tuple[FailureRule, ...] = (
    FailureRule(
        64,
        FailureReason.INVALID_SPEC,
        "never",
        "Correct the named key and create the job again under a new output or a new name.",
        fails_every_trial=True,
        blames_parameters=True,
    ),
    FailureRule(
        65,
        FailureReason.INVALID_DATASET,
        "never",
        "Correct the named file of the dataset, upload it again and create a new job.",
        fails_every_trial=True,
    ),
    FailureRule(
        66,
        FailureReason.INPUT_NOT_FOUND,
        "never",
        "Check the named URI for a typing error, or upload the file, and create a new job.",
        fails_every_trial=True,
    ),
    FailureRule(
        69,
        FailureReason.STORAGE_UNAVAILABLE,
        "counted",
        "Check spec.storage.endpoint and that pods can reach it (DNS, network policy, TLS).",
    ),
    FailureRule(
        70,
        FailureReason.INTERNAL_ERROR,
        "counted",
        "Read the pod's log; if the cause is not in your data, report it with that log.",
    ),
    FailureRule(
        71,
        FailureReason.DEVICE_OUT_OF_MEMORY,
        "counted",
        memory.of_any(FailureReason.DEVICE_OUT_OF_MEMORY),
        blames_parameters=True,
    ),
    FailureRule(
        74,
        FailureReason.DISK_FULL,
        "counted",
        "Give the node or the pod more ephemeral storage, or train on fewer images.",
    ),
    FailureRule(
        75,
        FailureReason.PEER_LOST,
        "counted",
        "Look at the job's other pods: the one that ended first says why. If none does, check that "
        "pods of a job reach each other by DNS and on all TCP ports (network policy).",
    ),
    FailureRule(
        76,
        FailureReason.DIVERGED,
        "never",
        "Lower train.optim.lr (a third is a good start) or add train.optim.warmup_steps; "
        "the last good checkpoint is kept.",
        blames_parameters=True,
    ),
    FailureRule(
        77,
        FailureReason.ACCESS_DENIED,
        "never",
        "Check the secret named by spec.storage.secretName and what its keys may read and write.",
        fails_every_trial=True,
    ),
    FailureRule(
        78,
        FailureReason.NO_GPU,
        "never",
        "Check the node's driver, set spec.podTemplate.runtimeClassName: nvidia where the cluster "
        "needs it, use a container image with CUDA, or set spec.resources.gpus: 0.",
        fails_every_trial=True,
    ),
    FailureRule(
        79,
        FailureReason.NO_TENSORRT,
        "never",
        "Use a container image that was built with TensorRT (build argument TENSORRT, see "
        "trainer_image/Dockerfile): Helm value tensorrt.image.",
    ),
    FailureRule(
        80,
        FailureReason.GATE_FAILED,
        "never",
        "Read the comparison in status.comparison and in the report; leave sensitive layers in "
        "full precision, give more data, or allow a larger loss, and create a new job.",
    ),
    FailureRule(
        137,
        FailureReason.OUT_OF_MEMORY,
        "counted",
        memory.of_any(FailureReason.OUT_OF_MEMORY),
        blames_parameters=True,
    ),
    FailureRule(
        143,
        FailureReason.PREEMPTED,
        "free",
        "Nothing to correct: run again, a training resumes from its checkpoint, and other work "
        "begins anew.",
    ),
    FailureRule(
        None,
        FailureReason.CRASHED,
        "counted",
        "Read the pod's log (kubectl logs); a library or the driver ended the process.",
    ),
    FailureRule(
        None,
        FailureReason.DEADLINE_EXCEEDED,
        "never",
        "Raise spec.runPolicy.activeDeadlineSeconds, or train fewer epochs, and create it again; "
        "with the same experiment and output it resumes from the checkpoint.",
    ),
    FailureRule(
        None,
        FailureReason.IMAGE_PULL_FAILED,
        "never",
        "Check the name of the container image in the operator's Helm values, and "
        "spec.podTemplate.imagePullSecrets.",
        fails_every_trial=True,
    ),
    FailureRule(
        None,
        FailureReason.CONTAINER_FAILED,
        "counted",
        "Correct what adds the named container to pods (a service mesh, an agent, a policy), or "
        "keep it out of these by spec.podTemplate.annotations or labels.",
    ),
    FailureRule(
        None,
        FailureReason.POD_LOST,
        "counted",
        "Look at the node (kubectl describe node); a training that is run again resumes from its "
        "checkpoint.",
    ),
    FailureRule(
        None,
        FailureReason.BACKOFF_LIMIT_EXCEEDED,
        "never",
        "Read the last attempt's failure above; raise spec.runPolicy.maxRetries if it is passing.",
    ),
    FailureRule(
        None,
        FailureReason.CHILD_NAME_CONFLICT,
        "never",
        "Delete or rename the named object, or create the DinoJob under another name.",
        fails_every_trial=True,
    ),
    FailureRule(
        None,
        FailureReason.STOPPED,
        "never",
        "Nothing to correct: create the job again with the same experiment and output, and it "
        "resumes from the checkpoint.",
    ),
    FailureRule(
        None,
        FailureReason.PARENT_FAILED,
        "never",
        "Correct the parent and create it again, name another one in spec.parent, or leave "
        "spec.parent out, and create the job again.",
    ),
    FailureRule(
        None,
        FailureReason.MAX_FAILED_TRIALS,
        "never",
        "Correct what the message names most often, or raise spec.maxFailedTrials, and create the "
        "search again under a new name; spec.warmStartFrom brings the trials that succeeded.",
    ),
    FailureRule(
        None,
        FailureReason.NO_TRIAL_SUCCEEDED,
        "never",
        "Correct what the trials failed for, and create the search again under a new name.",
    ),
    FailureRule(
        None,
        FailureReason.METRICS_UNAVAILABLE,
        "never",
        "Read the trial's log (kubectl logs <pod> -c metrics-logger-and-collector): a validation "
        f"prints '{METRIC}: 0.41'. Lower train.validation_interval where none was reached.",
    ),
    FailureRule(
        None,
        FailureReason.KATIB_FAILED,
        "never",
        "kubectl describe experiment,suggestion,trial in the namespace says more; correct what is "
        "named and create the search again, or set spec.engine: Embedded, which needs no Katib.",
    ),
)

_BY_CODE = {rule.exit_code: rule for rule in TABLE if rule.exit_code is not None}
_BY_REASON = {rule.reason.value: rule for rule in TABLE}


def by_exit_code(code: int) -> FailureRule | None:
    """The rule of an exit code, or None for 0 and codes that the trainer does not use."""
    return _BY_CODE.get(code)


def by_reason(reason: str) -> FailureRule:
    """The rule of a reason. Raises KeyError for a reason that is not in the table."""
    return _BY_REASON[reason]


def exit_code(reason: FailureReason) -> int:
    """The code with which a pod ends for a reason. Raises ValueError where it ends with none."""
    code = _BY_REASON[reason].exit_code
    if code is None:
        raise ValueError(f"{reason} has no exit code")
    return code
