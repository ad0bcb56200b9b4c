"""What the cluster says: Jobs, pods, Workloads, events, the resource itself, and what they mean.

Reads and judges, and writes nothing: no status, no object, no patch. Knows none of the folders
beside it. Each kind has a view of its own (`resource.py`: DinoJob and DinoAutoML, with `status.py`;
`job.py`, `pod.py`, `workload.py`, `katib.py`, `event.py`): properties over the dict, read when they
are asked for, that refuse nothing. `api_object.py` is what they have in common.
"""
