"""Top-k ties: gives our model the published order of queries where scores are equal.

A query's learned content belongs to its rank. Two tokens whose scores differ by rounding alone can
swap ranks, and then both queries, and all that follows, differ although nothing is wrong.

Shapes: b batch, s tokens, q queries, c classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dino_trainer.model import Dino
from dino_trainer.model.dino import ProposalHead
from tests.model.golden_case import GoldenFolder, Result

# Scores that differ by less may swap ranks. Float32 rounding reaches about 1e-5 here.
TIE = 1e-4


def run_with_ties(case: GoldenFolder, model: Dino) -> Result:
    """Run the model; if the order of its queries is not the folder's, once more in that order."""
    result = case.run(model)
    logits = case.tensors.get("eval_interm_logits")
    proposals = result.evaluated.proposals
    if logits is None or proposals is None or model.proposals is None:
        return result
    expected = torch.from_numpy(logits)
    boxes = torch.from_numpy(case.tensors["eval_interm_boxes"])
    same = (proposals.logits - expected).abs().amax() < TIE
    if same and (proposals.boxes - boxes).abs().amax() < TIE:
        return result
    head = Replay(model.proposals, expected)
    model.proposals.choose = head.choose  # type: ignore[method-assign]
    return case.run(model)


class Replay:
    """Chooses tokens in the expected order, as far as that is a matter of ties."""

    def __init__(self, head: ProposalHead, expected: Tensor) -> None:
        self.plain = head.choose
        self.expected = expected  # float[b, q, c]

    def choose(self, logits: Tensor) -> Tensor:
        """Return int64[b, q] for class logits float[b, s, c] of all tokens.

        Each expected query takes the token with the nearest logits. That order is used only if
        its scores are those of the plain choice, rank by rank. Tokens that may not become a query
        are all alike, so that several ranks may take the same one.
        """
        chosen = torch.stack(
            [torch.cdist(e, x).argmin(1) for e, x in zip(self.expected, logits, strict=True)]
        )
        scores = logits.amax(-1)
        plain = self.plain(logits)
        tied = (scores.gather(1, chosen) - scores.gather(1, plain)).abs().amax() < TIE
        return chosen if tied else plain
