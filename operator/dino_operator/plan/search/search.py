"""What to do about a DinoAutoML: the decision as early returns, worst first."""

from __future__ import annotations

from datetime import datetime

from dino_operator.plan.model import Children, Object, Plan, Settings

NOTHING = Plan()


def plan(resource: Object, children: Children, now: datetime, settings: Settings) -> Plan:
    """What to do now about this DinoAutoML. Empty where the cluster agrees with it.

    resource: the DinoAutoML as stored. children: what carries its label. now: aware, UTC.
    """
    return NOTHING
