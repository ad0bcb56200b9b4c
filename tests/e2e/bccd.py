"""BCCD, real photographs of blood cells: they do not ship, and add to what is shown on digits."""

from pathlib import Path

BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd"
