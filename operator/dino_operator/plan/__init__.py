"""What to do about one resource, decided by pure functions.

`plan.job.plan(resource, children, now, settings)` looks at a DinoJob and the Jobs and pods that
carry its labels and returns a `Plan`: objects to create, patches, deletes, the status and events.
The same input always gives the same plan; a plan for a cluster that agrees with it is empty.

May import `dino_api` and the standard library, nothing else: no client, no clock, no event loop.

Start with `job.py` (the decision); `pods.py` renders the children, `failure.py` says why an
attempt failed, `status.py` writes it down, `observe.py` reads Jobs and pods.
"""
