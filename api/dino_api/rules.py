"""Cross-field rules (first part)."""

from __future__ import annotations

from dino_api.experiment.spec import ExperimentSpec
from dino_api.problem import Problem, Severity, SpecErrors, render, show

__all__ = ["Problem", "Severity", "SpecErrors", "check", "render", "show"]


def check(spec: ExperimentSpec) -> list[Problem]:
    """Every rule over the spec."""
    return []
