"""report.html of a preflight: what its template shows."""

from __future__ import annotations

from typing import Any

from dino_api.names import TRAINS
from dino_trainer.pages import render


def preflight_page(report: dict[str, Any], sheet: bytes | None) -> str:
    """The whole page. report: what report.json holds. sheet: JPEG of samples."""
    action, findings, statistics = report["action"], report["findings"], report["statistics"]
    errors = sum(one["severity"] == "error" for one in findings)
    splits, classes = statistics["splits"], statistics["classes"]
    return render(
        "preflight",
        title="Data of this training" if action in TRAINS else "Data",
        verdict=_verdict(action, errors, len(findings) - errors),
        good=not errors,
        findings=findings,
        splits=splits,
        classes=classes,
        most=max((one[split] for one in classes for split in splits), default=0) or 1,
        sheet=sheet,
    )


def _verdict(action: str, errors: int, warnings: int) -> str:
    subject = "Training" if action == "train" else f"dino {action}"
    text = f"{subject} cannot begin" if errors else f"{subject} can begin"
    return f"{text}: {errors} errors, {warnings} warnings."
