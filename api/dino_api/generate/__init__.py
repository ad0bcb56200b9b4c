"""Writes crds/, schemas/, the chart's CRD template and docs/rules.md from the models.

`python -m` runs it.
Nothing here states a fact about a field: types, ranges, texts and rules come from the models.
"""
