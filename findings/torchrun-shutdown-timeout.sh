#!/bin/sh
# torch 2.15.0, Linux.
#
# torchrun's --shutdown-timeout, "time in seconds to wait for graceful shutdown of worker processes before sending SIGKILL",
# holds only where torchrun itself was sent a signal. Where a worker has failed, or has ended with any exit code but 0
# because it was asked to stop, the others get SIGTERM and, whatever the option says, SIGKILL after 30 seconds:
# SubprocessContext._poll calls close() without a timeout. A drain of one node of two therefore kills rank 0 on the other one
# in the middle of a checkpoint of more than 30 seconds, and a worker that hangs lives 30 seconds where 5 were asked for.
# TORCH_ELASTIC_SHUTDOWN_TIMEOUT, which the option stands for, does not change it either.
#
# Seen (seconds from SIGTERM to SIGKILL):
#   --shutdown-timeout 5: 30
#   --shutdown-timeout 45: 30
#
# TORCH_PYTHON names a Python that has this torch, in place of an installation of some gigabytes.
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python=${TORCH_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python="$folder/venv/bin/python"
    "$python" -m pip install --quiet torch==2.15.0
fi
cat >"$folder/worker.py" <<'PYTHON'
import os
import pathlib
import signal
import time

ready, asked, alive = (pathlib.Path(os.environ["FOLDER"], name) for name in ("ready", "asked", "alive"))
if os.environ["RANK"] == "1":
    while not ready.exists():
        time.sleep(0.1)
    raise SystemExit(1)
signal.signal(signal.SIGTERM, lambda *_: asked.write_text(str(time.monotonic())))
ready.touch()
for _ in range(1000):
    time.sleep(0.1)
    alive.write_text(str(time.monotonic()))
PYTHON
for seconds in 5 45; do
    mkdir "$folder/$seconds"
    FOLDER="$folder/$seconds" "$python" -m torch.distributed.run --standalone --nproc-per-node 2 \
        --shutdown-timeout "$seconds" "$folder/worker.py" >"$folder/log" 2>&1 && exit 1
    "$python" - "$folder/$seconds" "$seconds" <<'PYTHON'
import pathlib
import sys

asked, alive = (float(pathlib.Path(sys.argv[1], name).read_text()) for name in ("asked", "alive"))
lived = alive - asked
print(f"--shutdown-timeout {sys.argv[2]}: {lived:.0f}")
assert 28 < lived < 33
PYTHON
done
