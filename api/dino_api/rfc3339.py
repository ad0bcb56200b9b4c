"""Times as Kubernetes writes them, wherever one is read or written (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime


def parse(text: str) -> datetime:
    """The time; one without an offset is in UTC. Raises ValueError for another text."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def read(text: object) -> datetime | None:
    """The time that another program wrote down; None where it is none."""
    try:
        return parse(str(text)).astimezone(UTC)
    except (OverflowError, ValueError):  # the first and the last days are none in other zones
        return None


def text(time: datetime) -> str:
    """The time in UTC, in whole seconds, as the API server writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
