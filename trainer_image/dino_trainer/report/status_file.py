"""`status.json` as TAO's users know it: one JSON object a line, appended, and flushed at once.

Unlike TAO's it does end: the last line has status SUCCESS, or FAILURE with the reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from dino_api.result import Progress

Status = Literal["STARTED", "RUNNING", "SUCCESS", "FAILURE"]
_VERBOSITY = {"FAILURE": "ERROR"}


class StatusFile:
    """Appends lines to `path`; the last known metrics (`kpi`) stand on every line, as in TAO.

    clock: now, in local time.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = datetime.now) -> None:
        self._path = path
        self._clock = clock
        self._kpi: dict[str, float] = {}
        self._whole = False

    def write(
        self,
        status: Status,
        message: str,
        kpi: dict[str, float] | None = None,
        progress: Progress | None = None,
        time_per_epoch: float | None = None,
    ) -> None:
        """One line. Raises OSError where the disk refuses it."""
        self._kpi.update(kpi or {})
        now = self._clock()
        line: dict[str, object] = {
            "date": f"{now.month}/{now.day}/{now.year}",
            "time": f"{now.hour}:{now.minute}:{now.second}",
            "status": status,
            "verbosity": _VERBOSITY.get(status, "INFO"),
            "message": message,
        }
        if self._kpi:
            line["kpi"] = self._kpi
        line |= _position(progress, time_per_epoch)
        text = json.dumps(line, ensure_ascii=False) + "\n"
        if not self._whole and _is_cut(self._path):
            text = f"\n{text}"  # else both lines would be lost
        self._whole = False
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        self._whole = True


def _is_cut(path: Path) -> bool:
    """Whether the last line has no end: a kill or a full disk came before it."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # there is none, or it is empty
        return False


def _position(progress: Progress | None, time_per_epoch: float | None) -> dict[str, object]:
    if progress is None:
        return {}
    facts = {
        "epoch": progress.epoch,
        "max_epoch": progress.epochs,
        "step": progress.step,
        "max_step": progress.steps,
        "eta": _clock_time(progress.eta_seconds),
        "time_per_epoch": _clock_time(time_per_epoch),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _clock_time(seconds: float | None) -> str | None:
    """3661 -> `1:01:01`, TAO's form."""
    return None if seconds is None else str(timedelta(seconds=round(seconds)))
