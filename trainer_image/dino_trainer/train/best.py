"""Which validation was the best, whose weights are kept, and when more training is pointless."""

from dataclasses import dataclass, field
from typing import TypedDict

from dino_api.experiment import TrainConfig
from dino_api.names import EPOCH_CHECKPOINT
from dino_api.result import Metrics

MetricsContent = dict[str, float | None]


class BestContent(TypedDict):
    """The `BestValidation` in a checkpoint."""

    epoch: int
    metrics: MetricsContent


class KeptContent(TypedDict):
    """The `KeptValidation` in a checkpoint."""

    epoch: int
    score: float


class EarlyStoppingContent(TypedDict):
    """What early stopping remembers."""

    bar: float | None
    waited: int


class StandingContent(TypedDict):
    """The `Standing` in a checkpoint."""

    last: MetricsContent | None
    best: BestContent | None
    kept: list[KeptContent]
    early_stopping: EarlyStoppingContent


@dataclass
class BestValidation:
    """The best validation so far. `epoch` counts finished epochs."""

    epoch: int
    metrics: Metrics


@dataclass(frozen=True)
class KeptValidation:
    """A validation among the k best; its weights lie in a file of their own."""

    epoch: int
    score: float

    @property
    def name(self) -> str:
        """The file: `model_epoch_007.pth`."""
        return f"{EPOCH_CHECKPOINT}{self.epoch:03d}.pth"


@dataclass
class Standing:
    """The validations of a training so far.

    kept: the k best, best first; empty where only the best is wanted. bar: what a validation must
    beat by more than `min_delta` so that early stopping takes it for progress. waited: validations
    since one last did.
    """

    config: TrainConfig
    last: Metrics | None = None
    best: BestValidation | None = None
    kept: list[KeptValidation] = field(default_factory=list)
    bar: float | None = None
    waited: int = 0

    def score(self, metrics: Metrics) -> float:
        """What "best" means; nothing to find is worse than nothing found."""
        name = self.config.checkpointer.monitor.removeprefix("val_")
        value = getattr(metrics, name)
        return -1.0 if value is None else value

    def enter(self, epoch: int, metrics: Metrics) -> bool:
        """Takes in a validation after `epoch` finished epochs. Returns whether it is the best.

        One that had nothing to find (-1) is never the best, not even the first, and says nothing
        about progress.
        """
        self.last = metrics
        score = self.score(metrics)
        if score < 0:
            return False
        better = self.best is None or score > self.score(self.best.metrics)
        if self.bar is None or score > self.bar + self.config.early_stopping.min_delta:
            self.bar, self.waited = score, 0
        else:
            self.waited += 1
        if better:
            self.best = BestValidation(epoch, metrics)
        return better

    def rank(self, epoch: int) -> tuple[KeptValidation | None, list[KeptValidation]]:
        """Whether the last validation is among the k best, and who is not any more.

        Of equal ones the earlier stays.
        """
        wanted = self.config.checkpointer.save_top_k
        if wanted == 1 or self.last is None or self.score(self.last) < 0:
            return None, []
        new = KeptValidation(epoch, self.score(self.last))
        others = [kept for kept in self.kept if kept.epoch != epoch]
        ranked = sorted([*others, new], key=lambda kept: (-kept.score, kept.epoch))
        self.kept, dropped = ranked[:wanted], ranked[wanted:]
        return (new if new in self.kept else None), [one for one in dropped if one != new]

    @property
    def hopeless(self) -> bool:
        """Whether early stopping has waited long enough."""
        early = self.config.early_stopping
        return early.enabled and self.waited >= early.patience

    def plain(self) -> StandingContent:
        """The content of it in a checkpoint."""
        best = self.best
        return {
            "last": _plain(self.last) if self.last else None,
            "best": {"epoch": best.epoch, "metrics": _plain(best.metrics)} if best else None,
            "kept": [{"epoch": kept.epoch, "score": kept.score} for kept in self.kept],
            "early_stopping": {"bar": self.bar, "waited": self.waited},
        }

    def read(self, plain: StandingContent) -> None:
        """Takes over what `plain` wrote."""
        self.last = Metrics(**plain["last"]) if plain["last"] else None
        best = plain["best"]
        self.best = BestValidation(best["epoch"], Metrics(**best["metrics"])) if best else None
        self.kept = [KeptValidation(**kept) for kept in plain["kept"]]
        self.bar, self.waited = plain["early_stopping"]["bar"], plain["early_stopping"]["waited"]


def _plain(metrics: Metrics) -> MetricsContent:
    return metrics.model_dump(by_alias=False)
