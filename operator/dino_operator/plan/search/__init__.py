"""What to do about a DinoAutoML, decided by pure functions as for a DinoJob.

`plan(resource, children, now, settings)` is the decision. Trials are DinoJobs, or Katib's; the
engine that runs them (`engine.py` says what one is) is the only part that differs.
"""

from dino_operator.plan.search.search import plan

__all__ = ["plan"]
