"""What to do about one resource, decided by pure functions.

`job.decide.plan(resource, children, now, settings)` looks at a DinoJob and the Jobs and pods that
carry its labels and returns a `Plan`: objects to create, patches, deletes, the status and events;
`search.decide.plan` does so for a DinoAutoML. The same input always gives the same plan; a plan for
a cluster that agrees with it is empty.

May import `dino_api`, Optuna and Katib's models, nothing else: no client, no clock, no event loop.
The folders have a direction, which import-linter holds; each may use those below it:

- `job/`, `search/`: what to do. Start with their `decide.py`. Neither knows the other.
- `reported/`: what we say, as conditions, sentences and events. `rendered/`: what we make, as
  objects, patches and names. Neither knows the other.
- `observed/`: what the cluster says, and what it means.
- `model.py`, `annotations.py`: the words of all.
"""
