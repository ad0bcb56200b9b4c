"""What the cluster says: Jobs, pods, Workloads, events, the resource itself, and what they mean.

Reads and judges, and writes nothing: no status, no object, no patch. Knows none of the folders
beside it; `objects.py` has the questions that everybody asks.
"""
