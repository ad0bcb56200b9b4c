#!/bin/sh
# torch 2.15.0, Linux.
#
# Workers of a DataLoader end by themselves when the training process is killed by SIGKILL: torch/utils/data/_utils/worker.py
# asks os.getppid() every five seconds. With multiprocessing_context="forkserver" they never do: the kernel's parent of such a
# worker is the fork server, which lives for as long as a worker of its does, so that they wait for each other for good, with
# all of their memory. Python 3.14 makes forkserver the default on Linux. multiprocessing.parent_process().join() in the
# worker does notice, by the end of a pipe. (With "spawn" a worker that still imports torch when the training dies stays, too,
# as it asks for its parent too late: seen once, not asserted here.)
#
# Seen (processes of the training that are there 30 seconds after it was killed):
#   fork: 0
#   spawn: 0
#   forkserver: 3
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
    "$python" -m pip install --quiet torch==2.15.0 numpy
fi
cat >"$folder/training.py" <<'PYTHON'
import os
import signal
import sys

from torch.utils.data import DataLoader, Dataset


class Numbers(Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return index


if __name__ == "__main__":
    for number, _ in enumerate(DataLoader(Numbers(), num_workers=2, multiprocessing_context=sys.argv[1])):
        if number == 4:  # both workers are at work
            os.kill(os.getpid(), signal.SIGKILL)
PYTHON
cat >"$folder/left.py" <<'PYTHON'
import os
import pathlib
import signal
import subprocess
import sys
import time

mark = f"FOLDER={sys.argv[1]}"  # inherited by whatever the training starts


def left():
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_text(errors="replace").split("\0")
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if mark in environ and command and "resource_tracker" not in command:
            found.append(int(folder.name))
    return found


subprocess.run([sys.executable, f"{sys.argv[1]}/training.py", sys.argv[2]], env={**os.environ, "FOLDER": sys.argv[1]})
time.sleep(30)
there = left()
print(f"{sys.argv[2]}: {len(there)}")
for one in there:
    os.kill(one, signal.SIGKILL)
assert len(there) == (3 if sys.argv[2] == "forkserver" else 0)
PYTHON
for method in fork spawn forkserver; do
    "$python" "$folder/left.py" "$folder" "$method"
done
