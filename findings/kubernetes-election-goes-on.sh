#!/bin/sh
# kubernetes 37.0.1 (from PyPI): kubernetes.aio.leaderelection, and kubernetes.leaderelection alike.
#
# A leader that has seen another holder in the Lease goes on with its work for the whole renew_deadline (10 s by default) before
# it stops: renew_loop takes "another one holds it" for one more failed try. So two work at the same time. This is what happens to
# a process that was paused past its lease (SIGSTOP, a stopped virtual machine) and goes on.
#
# Also, by reading: a lease's age is measured by time.time(), so that a clock that is set forward takes over too early; a
# renewal has no timeout of its own (five minutes by default); nothing tells a caller whether the lease holds now; it is not
# given back at the end, so that the next one waits; renewTime is the local time with a Z.
#
# Seen: "another holds it since 0 s; the last work was after 10.9 s". Fails where it stops within two seconds.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet kubernetes==37.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys
import time

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord


class Lock:
    """A Lease in memory, first absent."""

    identity, name, namespace = "one", "x", "x"
    record = None

    async def get(self, name, namespace):
        if self.record is None:
            absent = ApiException(404)
            absent.body = '{"code": 404}'
            return False, absent
        return True, self.record

    async def create(self, name, namespace, election_record):
        self.record = election_record
        return True

    async def update(self, name, namespace, record):
        self.record = record
        return True


async def main():
    lock, worked = Lock(), []

    async def work():
        while True:
            worked.append(time.monotonic())
            await asyncio.sleep(0.1)

    async def stopped():
        pass

    election = asyncio.create_task(LeaderElection(Config(lock, 15, 10, 2, work, stopped)).run())
    await asyncio.sleep(3)
    lock.record = LeaderElectionRecord("two", "15", *["2030-01-01 00:00:00.0"] * 2)
    taken = time.monotonic()
    await election
    late = worked[-1] - taken
    print(f"another holds it since 0 s; the last work was after {late:.1f} s")
    sys.exit(late < 2)


asyncio.run(main())
PYTHON
