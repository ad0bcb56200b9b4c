"""What to do about one resource, decided by pure functions.

`plan.job.plan(resource, children, now, settings)` looks at a DinoJob and the Jobs and pods that
carry its labels and returns a `Plan`: objects to create, patches, deletes, the status and events.
The same input always gives the same plan; a plan for a cluster that agrees with it is empty.

May import `dino_api`, Optuna and Katib's models, nothing else: no client, no clock, no event loop.

Start with `job.py`, the decision about a DinoJob; `search/` and `katib/` are about a DinoAutoML.

- Stages of a job: `dropped.py` (keys that the API server dropped), `parent.py` and `heir.py` (jobs
  that go on from others), `routing.py` and `mirror.py` (a search runs in a job's place),
  `preflight.py`, `attempts.py` (a Job that has not ended), `running.py` (one whose pods run),
  `success.py` and `late.py` (the good end, and a result that is read later), `stop.py` (ending one
  for good).
- What holds one up: `kueue.py`, `queue_labels.py` and `workload.py` (queues), `scheduling.py` (no
  node), `podevents.py` and `containers.py` (no pod, or one that does not start or end), `lost.py`
  (a node that does not answer), `refused.py` (what the API server refuses).
- Why an attempt failed: `failure.py`, `oom.py`; `memory.py` is what the next one does about it,
  or what to change where none follows.
- Time: `deadline.py` and `account.py` (how long attempts ran).
- Children: `render.py`, `pods.py`, `inputs.py`, `names.py`, `passed.py` (labels of the owner),
  `quantities.py` and `limitranges.py` (CPUs and memory), `specfile.py`, `schema.py`.
- Writing it down: `telling.py`, `status.py`, `progress.py`, `words.py`; reading others:
  `observe.py`, `results.py`; `view.py` asks the questions.
"""
