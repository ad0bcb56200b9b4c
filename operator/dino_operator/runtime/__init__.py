"""Carries plans out: a cache of what the API server said, a queue of keys, a client, metrics.

Knows nothing of kopf: `handlers` feeds it watch events, `loop.Operator` does the rest. Nothing in
here decides anything; a process that starts with an empty memory comes to the same plans.

Start with `reconcile.py` (one key, one plan, carried out), then `loop.py`. `keys.py` says whose
plan an object belongs to; `katib.py` reads what is not watched.
"""
