"""The operator's command, which sees no CRD of searches at its start and then finds one.

The CRDs of the API server are shared with other tests: they cannot be taken away for one.
"""

from __future__ import annotations

import sys

from dino_operator import main
from dino_operator.runtime import client, loop
from dino_operator.runtime.keys import Kind

RECHECK = 5.0


class OldClient(client.Client):
    """Leaves DinoAutoMLs out of its first answer on what is served."""

    asked = 0

    async def served(self, group: str = client.OURS) -> frozenset[str]:
        """The plurals that the API server knows."""
        found = await super().served(group)
        if group != client.OURS:
            return found
        self.asked += 1
        return found - {Kind.DINOAUTOMLS.value} if self.asked == 1 else found


if __name__ == "__main__":
    loop.CRD_RECHECK = RECHECK
    main.Client = OldClient  # type: ignore[misc]
    sys.exit(main.main(sys.argv[1:]))
