"""`python -m dino_operator.kubectl`."""

from __future__ import annotations

from dino_operator.kubectl.command import main

if __name__ == "__main__":
    raise SystemExit(main())
