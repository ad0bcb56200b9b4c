"""Properties whose change rightly shows in no child, and in nothing that is planned or said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dino_operator.plan.model import Object

if TYPE_CHECKING:
    from tests.proof.operations import Operation

Holds = Callable[[Object, "Operation"], bool]


def _always(*_: object) -> bool:
    return True


def _emptied(_: Object, operation: Operation) -> bool:
    return bool(operation.changes[0][1] == "")


def _halves(spec: Object, _: Operation) -> bool:
    return bool((spec.get("pruning") or {}).get("name") == "successiveHalving")


def _takes_median(spec: Object, operation: Operation) -> bool:
    return not _halves(spec, operation)


def _is_off(_: Object, operation: Operation) -> bool:
    return operation.changes[0][1] is False


def _names_images(spec: Object, operation: Operation) -> bool:
    """Whether the source says what its images are called."""
    source = (spec.get("template") or spec)["datasets"]
    for part in operation.at[operation.at.index("datasets") + 1 : -1]:
        source = source[part]
    return bool(source.get("images"))


@dataclass(frozen=True)
class Exemption:
    """Some of them. paths: the properties, those of a template as of a job, with `[]` for whichever
    entry. holds: of which specs and operations it is true."""

    reason: str
    paths: tuple[str, ...]
    holds: Holds = _always


EXEMPTIONS: tuple[Exemption, ...] = (
    Exemption("halving does not read it", ("spec.pruning.minTrials",), _halves),
    Exemption(
        "of so few trials one passes, by each of them", ("spec.pruning.reductionFactor",), _halves
    ),
    Exemption("what has no data takes the profile without naming it", ("spec.profile",)),
    Exemption("the median does not read it", ("spec.pruning.reductionFactor",), _takes_median),
    Exemption(
        "empty, it is as if left out: the installation's holds, or the format's",
        (
            "spec.storage.region",
            "spec.storage.secretName",
            *(
                f"spec.datasets.{part}.[].images"
                for part in ("train", "validation", "test", "calibration")
            ),
            "spec.datasets.inference.images",
        ),
        _emptied,
    ),
    Exemption(
        "a search keeps the checkpoint that is best by its objective, anyway",
        ("spec.experiment.train.checkpointer.monitor",),
        lambda _, operation: operation.changes[0][1] == "val_mAP50",
    ),
    Exemption("the installation says so, too", ("spec.storage.pathStyle",), _is_off),
    Exemption(
        "the format says what images are called where nobody else does",
        tuple(f"spec.datasets.{part}.[].format" for part in ("train", "validation")),
        _names_images,
    ),
    Exemption(
        "empty, it is as if left out, as it is in a pod",
        ("spec.priorityClassName", "spec.podTemplate.runtimeClassName"),
        _emptied,
    ),
    Exemption(
        "by that label tools find what is their own, and the operator what is its",
        ("spec.podTemplate.labels.app.kubernetes.io/managed-by",),
    ),
)


def exempt(operation: Operation, spec: Object) -> str:
    """The reason for which its change shows nowhere; empty where it should."""
    path = operation.path.replace("spec.template.", "spec.", 1)
    known = (each for each in EXEMPTIONS if path in each.paths)
    return next((each.reason for each in known if each.holds(spec, operation)), "")
