"""The contract between users, operator and trainer: resources, experiment spec, rules, failures.

Imports pydantic (and PyYAML to read overrides and to write the generated files); never kopf,
kubernetes or torch. Defaults live here alone, and nothing here reads a clock, file or network.

Start in `resources` (the Kubernetes objects), `experiment` (the TAO spec), or `names` and `actions`
(the vocabulary). A floor imports from those below it alone, as import-linter sees to. From the top:
`generate` (CRDs, schemas, pages), `search` (what a DinoAutoML comes to), `loading` (from a mapping
to a checked spec), `rules`, `resources`, `experiment`, `result` (what a pod reports).
"""
