"""What a refusal is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]


@dataclass(frozen=True)
class FieldError:
    """One thing that the API server refuses.

    field: its dotted path; empty for the whole. message: what is wrong with it, in the API
    server's words for what a rule or a range says. blocking: the API server asks no rule of an
    object with it.
    """

    field: str
    message: str
    blocking: bool = False

    def __str__(self) -> str:
        """The sentence: what `is` so follows the field as it stands."""
        if not self.field:
            return self.message
        return f"{self.field}{' ' if self.message.startswith('is ') else ': '}{self.message}"
