"""YAML that kubectl reads as it was meant: texts that would be numbers or flags are quoted."""

from __future__ import annotations

from typing import Any

import yaml

from dino_api.kubectl_yaml.scalars import STR, value_of


class Dumper(yaml.SafeDumper):
    """A dumper of JSON types.

    PyYAML quotes what PyYAML would misread, and not 1e3 or y, which go-yaml would.
    """

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Writes texts of several lines as blocks, so that a spec in a ConfigMap can be read."""
        if "\n" in text:
            return self.represent_scalar(STR, text, style="|")
        return self.represent_scalar(STR, text, style=None if _is_text(text) else "'")

    def ignore_aliases(self, data: Any) -> bool:
        """True: everything is written out."""
        return True


Dumper.add_representer(str, Dumper.represent_text)


def _is_text(text: str) -> bool:
    try:
        return bool(value_of(text) == text)
    except ValueError:
        return False
