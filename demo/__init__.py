"""`make demo`: from nothing to a trained detector on a real cluster, with the time of every stage.

`plan.py` says which stages there are and what each waits for; `stages.py` runs them side by side;
`cluster.py` and `storage.py` reach the cluster and the object store; `digits.py` makes the data and
`userdata.py` takes yours; `training.py` follows the job and shows what came out. All of it uses
the project as a user would: Helm, kubectl, S3 and an example manifest. `local.py` leaves the data,
with a spec, to `dino` without a cluster.
"""
