#!/bin/sh
# torch 2.15.0, Linux.
#
# After a restart of the workers (torchrun --max-restarts) ranks find each other in the store of the attempt before, and call
# those that are dead. c10d's rendezvous, which --standalone uses too, starts one TCPStore and keeps it for all attempts, and
# init_process_group no longer puts the keys of each attempt under a prefix of their own: "We create a new TCPStore for every
# retry so no need to add prefix for each attempt", says torch/distributed/rendezvous.py. A rank that is there before a
# lower one has written its new address reads the old one. Whether a restart works is a matter of who comes first. Below,
# rank 0 comes five seconds late in the second attempt; without that it met, on one node; over two nodes, without any
# delay, it did not meet in either of two runs.
# With TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 each attempt has a port, and a store, of its own.
#
# Seen:
#   the store is shared: one port, the second attempt does not meet
#   TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1: another port, the second attempt meets
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
cat >"$folder/worker.py" <<'PYTHON'
import datetime
import os
import pathlib
import time

import torch.distributed as dist

attempt, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], int(os.environ["RANK"])
folder = pathlib.Path(os.environ["FOLDER"])
(folder / f"port-{attempt}").write_text(os.environ["MASTER_PORT"])
(folder / f"started-{attempt}-{rank}").touch()
if attempt == "1" and rank == 0:
    while not (folder / "started-1-1").exists():
        time.sleep(0.1)
    time.sleep(5)
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=20))
dist.barrier()
(folder / f"met-{attempt}-{rank}").touch()
if attempt == "0":
    raise SystemExit(rank)
dist.destroy_process_group()
PYTHON
for own in 0 1; do
    mkdir "$folder/$own"
    FOLDER="$folder/$own" TORCH_DISABLE_SHARE_RDZV_TCP_STORE=$own OMP_NUM_THREADS=1 TORCH_CPP_LOG_LEVEL=FATAL \
        "$python" -m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 1 \
        "$folder/worker.py" >"$folder/log" 2>&1 || true
    "$python" - "$folder/$own" "$own" <<'PYTHON'
import pathlib
import sys

folder, own = pathlib.Path(sys.argv[1]), sys.argv[2] == "1"
same = (folder / "port-0").read_text() == (folder / "port-1").read_text()
met = [all((folder / f"met-{attempt}-{rank}").exists() for rank in (0, 1)) for attempt in (0, 1)]
what = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" if own else "the store is shared"
print(f"{what}: {'one' if same else 'another'} port, the second attempt {'meets' if met[1] else 'does not meet'}")
assert met[0] and (same, met[1]) == ((False, True) if own else (True, False))
PYTHON
done
