"""The DINO operator: watches DinoJobs and makes the cluster agree with them.

Three layers, each importing only the ones before it:

- `plan`: pure functions. A resource, its children and the time go in; what to do comes out.
- `runtime`: cache, queue, client and metrics. Carries plans out and knows nothing of kopf.
- `handlers` and `main`: the process. kopf delivers watch events here and nowhere else.

To change what the operator does, start in `plan/job/decide.py`.
"""
