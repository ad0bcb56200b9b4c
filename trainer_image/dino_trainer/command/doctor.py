"""`dino doctor`: what this machine can do, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dino_trainer.doctor.examination import code_of, examine
from dino_trainer.doctor.line import Line
from dino_trainer.errors import invalid_spec

TEXT, JSON = "text", "json"
_SCHEMA = 1


def run(uri: str, form: str, work: Path) -> int:
    """Prints the examination; returns the exit code. Raises InvalidSpec for another kind of URI."""
    if uri and not uri.startswith("s3://"):
        raise invalid_spec(f"{uri} is no S3 URI.", "Write s3://bucket/folder, or leave it out.")
    lines = examine(uri, work)
    print(as_json(lines) if form == JSON else as_text(lines))
    return code_of(lines)


def as_text(lines: Sequence[Line]) -> str:
    """A line each, the remedy below it."""
    wide = max(len(line.name) for line in lines)
    shown = []
    for line in lines:
        shown.append(f"{line.state:<8} {line.name:<{wide}}  {line.detail}")
        if line.remedy:
            shown.append(f"{'':8} {'':{wide}}  -> {line.remedy}")
    return "\n".join(shown)


def as_json(lines: Sequence[Line]) -> str:
    """The same, with the exit code."""
    listed = [
        {
            "name": line.name,
            "state": line.state.value,
            "found": line.detail,
            "remedy": line.remedy,
            "reason": line.reason,
        }
        for line in lines
    ]
    content = {"schema": _SCHEMA, "lines": listed, "exitCode": code_of(lines)}
    return json.dumps(content, indent=2, ensure_ascii=False)
