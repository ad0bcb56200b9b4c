"""The contract between users, operator and trainer: resources, experiment spec, rules, failures.

Imports pydantic (and PyYAML to read overrides and to write the generated files); never kopf,
kubernetes or torch. Start in `resources` (the Kubernetes objects) or `experiment` (the TAO spec).
Defaults live here alone, and nothing here reads a clock, a file or the network.
"""
