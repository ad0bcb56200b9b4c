"""What the kubelet keeps of a termination message, as its source of v1.34 has it."""

from __future__ import annotations

MOST = 1024 * 4
"""MaxContainerTerminationMessageLength: the tail of the file, read as the container ends."""
MOST_OF_A_POD = 1024 * 12
"""MaxPodTerminationMessageLogLength: shared out when the status manager writes the pod's status
(normalizeStatus): to containers, init containers and ephemeral containers alike, the head of each.
"""


def kept(message: str, containers: int) -> str:
    """The message in the status of a pod of so many containers.

    Bytes are cut. Of a character that is cut in its middle, the API server shows U+FFFD.
    """
    raw = message.encode()[-MOST:]
    return raw[: MOST_OF_A_POD // containers].decode(errors="replace")
