"""What to do about a DinoAutoML, decided by pure functions as for a DinoJob.

`decide.plan` is the decision. Trials are DinoJobs, or Katib's; the engine that runs them
(`engines/contract.py` says what one is) is the only part that differs.
"""
