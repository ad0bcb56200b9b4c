"""A double of Katib's controller, for tests against a real API server without Katib.

`crds.yaml` holds the three kinds as Katib serves them: no schema, a status subresource.
`experiment.py` is what Katib decides, without a cluster; `double.py` carries it out.
"""
