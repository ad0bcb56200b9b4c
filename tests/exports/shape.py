"""What a COCO file looks like: keys, and how values are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def shape(path: Path) -> dict[str, Any]:
    """By part of the file: the number of entries, the ids, the keys and the first entry."""
    document = json.loads(path.read_text())
    parts = ("images", "annotations", "categories")
    return {
        "other": {key: value for key, value in document.items() if key not in parts},
        **{part: _part(document[part]) for part in parts if part in document},
    }


def _part(entries: list[dict[str, Any]]) -> dict[str, Any]:
    keys = dict.fromkeys(key for entry in entries for key in entry)
    return {
        "count": len(entries),
        "ids": [entry.get("id") for entry in entries][:12],
        "values": {key: _kinds([entry[key] for entry in entries if key in entry]) for key in keys},
        "first": entries[0] if entries else None,
    }


def _kinds(values: list[Any]) -> str:
    return " or ".join(sorted({type(value).__name__ for value in values}))
