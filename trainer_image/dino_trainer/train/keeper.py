"""Writes a training's checkpoints into its output."""

from dataclasses import dataclass

from dino_api.names import EPOCH_CHECKPOINT
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST, PREVIOUS
from dino_trainer.results.output import Output
from dino_trainer.train import state
from dino_trainer.train.best import KeptValidation, Standing
from dino_trainer.train.checkpoint_content import About, ReadData
from dino_trainer.train.run import Run


@dataclass(frozen=True)
class OutputKeeper:
    """What the loop asks to be kept. Files are written at once and uploaded beside the training.

    about: what every checkpoint says about itself. read: what is read, as of `same_data.read`.
    """

    output: Output
    about: About
    read: ReadData

    def latest(self, run: Run) -> None:
        """All that resuming needs; the one before it is kept too."""
        content = state.resumable_content(run, self.about, self.read)
        checkpoint.write(content, self.output.dir / LATEST, self.output.dir / PREVIOUS)
        self.output.publish_soon(LATEST, PREVIOUS)

    def best(self, run: Run) -> None:
        """The weights that were validated last."""
        self._weights(run, BEST)

    def epoch(self, run: Run, kept: KeptValidation) -> None:
        """The same in a file of their own."""
        self._weights(run, kept.name)

    def drop(self, kept: KeptValidation) -> None:
        """Removes a file that is not wanted any more."""
        self.output.remove(kept.name)

    def tidy(self, standing: Standing) -> None:
        """Makes files and list agree: a kill may have come between a file and the checkpoint."""
        there = {name for name in self.output.published() if name.startswith(EPOCH_CHECKPOINT)}
        standing.kept = [kept for kept in standing.kept if kept.name in there]
        for name in there - {kept.name for kept in standing.kept}:
            self.output.remove(name)

    def _weights(self, run: Run, name: str) -> None:
        checkpoint.write(state.weights_only(run, self.about), self.output.dir / name)
        self.output.publish_soon(name)
