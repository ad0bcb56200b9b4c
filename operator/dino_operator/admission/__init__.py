"""Holds what the API server refuses, asked without a cluster.

The CRDs are the one list of what is refused: their schemas and their CEL rules are evaluated here
as the API server evaluates them. Whoever adds a refusal adds it to dino_api, and nothing here.
Pure: no client, no files.
"""

from __future__ import annotations

from dino_operator.admission.model import FieldError
from dino_operator.admission.refusals import refusals

__all__ = ["FieldError", "refusals"]
