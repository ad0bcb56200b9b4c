"""What to do about one resource, decided by pure functions.

`plan.job.plan(resource, children, now, settings)` looks at a DinoJob and the Jobs and pods that
carry its labels and returns a `Plan`: objects to create, patches, deletes, the status and events.
The same input always gives the same plan; a plan for a cluster that agrees with it is empty.

May import `dino_api`, Optuna and Katib's models, nothing else: no client, no clock, no event loop.

Start with `job.py`, the decision about a DinoJob; `search/` and `katib/` are about a DinoAutoML.
`preflight.py` is a job's first stage; `attempts.py` follows a Job that runs, `kueue.py` one in a
queue; `failure.py` says why an attempt failed, `memory.py` what the next one does about too little
memory. `routing.py` says whether a search runs in a job's place, which `mirror.py` then steers and
shows; `parent.py` and `heir.py` are about jobs that go on from others, `stop.py` about ending one
for good. `render.py`, `pods.py` and `quantities.py` make the children; `telling.py` and `status.py`
write it down; `observe.py`, `results.py` and `scheduling.py` read what others say; `view.py` asks
the questions.
"""
