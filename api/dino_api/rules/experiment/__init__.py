"""Rules about the experiment that a single key's type and range cannot say.

One flat list. `dino_api.loading` runs the Python half; the CRD carries the CEL half, and the API
server refuses by the same sentence. To add a rule, add one entry to the file of its section.
"""

from __future__ import annotations

from collections.abc import Collection

from dino_api.experiment.spec import ExperimentSpec
from dino_api.names import Action
from dino_api.problem import Problem
from dino_api.rules.experiment.actions import ACTION_RULES
from dino_api.rules.experiment.dataset import DATASET_RULES
from dino_api.rules.experiment.model import MODEL_RULES
from dino_api.rules.experiment.rule import Rule
from dino_api.rules.experiment.train import TRAIN_RULES

RULES: tuple[Rule, ...] = (*MODEL_RULES, *DATASET_RULES, *TRAIN_RULES, *ACTION_RULES)


def check(
    spec: ExperimentSpec, invalid: Collection[str] = (), action: Action = Action.TRAIN
) -> list[Problem]:
    """Every broken rule of the list, in its order.

    invalid: keys that could not be read; rules that read them are not asked. action: what the spec
    is for; rules of another action are not asked, and warnings only about what it reads.
    """
    asked = (rule for rule in RULES if rule.asked(action) and not rule.keys.intersection(invalid))
    return [problem for rule in asked if (problem := rule.problem(spec)) is not None]
