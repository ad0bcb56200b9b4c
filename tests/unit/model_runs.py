"""How long the state machines run: a little in `make test`, 10,000 episodes in `make proof`.

DINO_MODEL_EPISODES is how many there are in all, DINO_MODEL_PARTS in how many runs of different
seeds each machine makes its share. Without the first one the episodes are the same each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

VARIABLE = "DINO_MODEL_EPISODES"
EPISODES = int(os.environ.get(VARIABLE, "500"))
PARTS = int(os.environ.get("DINO_MODEL_PARTS", "1"))
STEPS = 50
PHASES = tuple(
    each for each in Phase if each is not Phase.shrink or os.environ.get("DINO_MODEL_SHRINK") != "0"
)
"""The seeded mutants only have to be noticed; no shortest way to one is looked for."""


def episodes(share: float) -> int:
    """How many each part of a machine with that share runs."""
    return max(1, round(EPISODES * share / PARTS))


def run_episodes(machine: type[RuleBasedStateMachine], part: int, share: float) -> None:
    """So large a share of all episodes, split by parts; each part has a seed of its own."""
    count = episodes(share)
    how = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        deadline=None,
        phases=PHASES,
        database=None,
        derandomize=VARIABLE not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    if VARIABLE in os.environ:
        machine = seed(part)(machine)
    run_state_machine_as_test(machine, settings=how)
    ends = dict(getattr(machine, "ends", {}))
    print(f"{machine.__module__}: {count} episodes of {STEPS} steps; {ends}")
