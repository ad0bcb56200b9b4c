"""The operator's command, which sees no CRD of searches until the test has it found.

The CRDs of the API server are shared with other tests: they cannot be taken away for one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from dino_operator import main
from dino_operator.runtime import client, loop
from dino_operator.runtime.keys import Kind

RECHECK = 1.0
LATE = 1.0
"""Seconds after which it is told what is served: a test that does not wait for it is wrong always,
not only on a busy machine."""
FOUND = "DINO_TEST_CRD_FOUND"
"""The environment variable with the path of a file: once it is there, so is the CRD."""


class OldClient(client.Client):
    """Leaves DinoAutoMLs out of what is served, until the test has them found."""

    async def served(self, group: str = client.OURS) -> frozenset[str]:
        """The plurals that the API server knows."""
        await asyncio.sleep(LATE)
        found = await super().served(group)
        installed = group != client.OURS or Path(os.environ[FOUND]).exists()
        return found if installed else found - {Kind.DINOAUTOMLS.value}


if __name__ == "__main__":
    loop.CRD_RECHECK = RECHECK
    main.Client = OldClient  # type: ignore[misc]
    sys.exit(main.main(sys.argv[1:]))
