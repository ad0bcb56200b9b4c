#!/bin/sh
# Python 3.11 to 3.14 on Linux; nothing to fetch.
#
# A process that blocks SIGTERM while it starts what is not to hear of it, such as a fork server, has it unblocked by the
# first use of multiprocessing's resource tracker: that blocks SIGINT and SIGTERM for its own start, and unblocks them
# afterwards, whatever was so before. A fork server, a shared lock and a shared memory all start it, so that the server
# comes up with SIGTERM unblocked, and only where it is the first of them. Start the tracker before the signal is blocked.
#
# Seen:
#   blocked by the caller: True, after the tracker has started: False
#   blocked by the caller: True, where it ran before: True
#
# Fails where the signal stays blocked.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
cat >see.py <<'PY'
import signal
import sys
from multiprocessing import resource_tracker


def blocked():
    return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])


if sys.argv[1] == "before":
    resource_tracker.ensure_running()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
first = blocked()
resource_tracker.ensure_running()
when = "where it ran before" if sys.argv[1] == "before" else "after the tracker has started"
print(f"blocked by the caller: {first}, {when}: {blocked()}")
PY
for when in after before; do python3 see.py "$when"; done >seen
cat seen
cat >expected <<'TEXT'
blocked by the caller: True, after the tracker has started: False
blocked by the caller: True, where it ran before: True
TEXT
diff expected seen
