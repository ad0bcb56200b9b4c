"""Processes that end with the one that started them, even where SIGKILL ended that one.

On a laptop nothing else ends them: they would keep their memory, and the locks that they hold.
"""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this process of multiprocessing's, however it was started, when the one dies that asked
    for it: each has the end of a pipe that its parent holds open.

    Of a fork server the kernel knows another parent, the server, which itself ends when no process
    of its is left. So neither the kernel nor torch, who ask for that parent, would notice.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "multiprocessing has started this process"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
