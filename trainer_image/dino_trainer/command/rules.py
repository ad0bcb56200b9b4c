"""`dino rules`: the catalogue of rules and failures, for people and for programs."""

from __future__ import annotations

import json
import os
import sys
import textwrap

from dino_api.rules.catalogue import CatalogueEntry, catalogue


def print_rules(as_json: bool) -> int:
    """Prints every entry on standard output; returns the exit code."""
    entries = catalogue()
    if as_json:
        listed = [entry.to_dict() for entry in entries]
        text = json.dumps(listed, indent=2, ensure_ascii=False)
    else:
        text = "\n".join(_paragraph(entry) for entry in entries)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _paragraph(entry: CatalogueEntry) -> str:
    head = f"{entry.id}  [{entry.severity}; {', '.join(entry.where)}]"
    text = textwrap.fill(entry.message, 96, initial_indent="    ", subsequent_indent="    ")
    remedy = textwrap.fill(entry.remedy, 96, initial_indent="    -> ", subsequent_indent="       ")
    return "\n".join(part for part in (head, text, remedy) if part.strip())
