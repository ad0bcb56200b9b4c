"""The `dino-operator` command."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import kopf
from kubernetes.aio.config import ConfigException

from dino_operator import handlers, options
from dino_operator.runtime.client import ApiError, Client, configuration
from dino_operator.runtime.lease import Lease, Terms
from dino_operator.runtime.loop import Operator, Options
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.server import Server

EPILOG = """
Every option can be given as the environment variable named in its help.

It needs a cluster with the CRDs (charts/dino-operator installs all) and takes its
credentials from the pod's service account, or else from KUBECONFIG. On your machine:

  dino-operator --trainer-image registry.example/dino-trainer:0.1.0 --metrics-port 0

Stop it with Ctrl-C at any time: it keeps nothing in memory that the cluster does not know.
"""


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command's options; the environment holds their defaults."""
    made = argparse.ArgumentParser(
        prog="dino-operator",
        description="Watches DinoJobs and DinoAutoMLs, and runs them as Kubernetes Jobs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    option = options.Adder(made, environ)
    options.add_settings(option)
    option(
        "--watch-namespaces",
        "DINO_WATCH_NAMESPACES",
        "",
        "namespaces to serve, with commas; none means all",
        type=options.words,
    )
    option(
        "--workers", "DINO_WORKERS", "16", "plans carried out at the same time", type=options.count
    )
    option(
        "--resync-seconds",
        "DINO_RESYNC_SECONDS",
        "600",
        "how often everything is listed anew, to find what watches lost",
        type=options.seconds,
    )
    option(
        "--metrics-port",
        "DINO_METRICS_PORT",
        "8080",
        "port of /metrics, /healthz and /readyz; 0 takes any",
        type=_port,
    )
    option(
        "--lease",
        "DINO_LEASE",
        "",
        "NAMESPACE/NAME of a Lease: of several operators that know it one works, the others stand"
        " by; none means that there is no other",
        type=options.lease,
    )
    option(
        "--lease-seconds",
        "DINO_LEASE_SECONDS",
        "10",
        "for how long the others wait for one that is silent",
        type=options.lease_seconds,
    )
    formats = options.OneOf(("text", "json"))
    option("--log-format", "DINO_LOG_FORMAT", "text", "how logs look", type=formats)
    option(
        "--log-level",
        "DINO_LOG_LEVEL",
        "info",
        "how much is logged",
        type=options.OneOf(("debug", "info", "warning", "error")),
    )
    return made


def _port(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """time, level, logger, message, and the traceback of an error."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logs(kind: str, level: str) -> None:
    """Logs to standard error. kopf's own are about its workings: warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if kind == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)


async def run(chosen: argparse.Namespace) -> None:
    """Runs until it is told to stop. Raises ConfigException, ApiError, OSError."""
    metrics = OperatorMetrics()
    how = Options(chosen.watch_namespaces, chosen.workers, chosen.resync_seconds)
    async with candidate(chosen) as lease:
        before_write = None if lease is None else lease.check
        client = Client(await configuration(), metrics, before_write=before_write)
        operator = Operator(client, options.settings(chosen), how, metrics)
        server = Server(operator, chosen.metrics_port, lease=lease)
        await server.start()
        logging.getLogger(__name__).info("listening on port %d", server.port)
        try:
            if lease is None:
                await watch(operator, chosen.watch_namespaces)
            else:
                metrics.leader.set_function(lambda: lease.leads)
                await lead(lease, operator, chosen.watch_namespaces)
        finally:
            await server.stop()
            await client.close()


@asynccontextmanager
async def candidate(chosen: argparse.Namespace) -> AsyncIterator[Lease | None]:
    """The Lease that stands between several operators, with connections of its own; or None."""
    if chosen.lease is None:
        yield None
        return
    # Random: a container that is started again is another one, and where two hosts have one name.
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    namespace, name = chosen.lease
    terms = Terms(namespace, name, identity, chosen.lease_seconds)
    client = Client(await configuration(), OperatorMetrics(), timeout=terms.patience)
    try:
        yield Lease(client, terms)
    finally:
        await client.close()


async def lead(lease: Lease, operator: Operator, namespaces: Sequence[str]) -> None:
    """Stands by until the Lease is free, then works, and gives it back once nothing is in hand."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # then kopf's
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep())
    # It starts its own tasks here: kopf ends all that begin while it runs, and runs more than once.
    await asyncio.sleep(0)
    try:
        await watch(operator, namespaces)
    finally:
        await operator.stop()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await lease.release()


async def watch(operator: Operator, namespaces: Sequence[str]) -> None:
    """Feeds the operator until the process is told to stop.

    kopf looks once at what the API server serves. Where that changes, it is started anew.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        if stopped.is_set():
            os._exit(1)  # told twice
        loop.call_later(handlers.EXIT_SECONDS, os._exit, 1)
        stopped.set()
        operator.changed.set()

    while not stopped.is_set():
        operator.changed.clear()
        existing = asyncio.all_tasks()  # of the Lease, which outlive what kopf clears away
        tasks = await kopf.spawn_tasks(
            registry=handlers.registry(operator),
            settings=handlers.settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=operator.changed,
        )
        # In place of kopf's own, which serve one start alone: between two they would be in vain.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        await kopf.run_tasks(tasks, ignored=existing)
        if not operator.changed.is_set():
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    known = parser(os.environ)
    chosen = known.parse_args(arguments)
    if not chosen.trainer_image:
        known.error("no trainer image: give --trainer-image or set DINO_TRAINER_IMAGE")
    set_up_logs(chosen.log_format, chosen.log_level)
    try:
        asyncio.run(run(chosen))
    except (ConfigException, ApiError) as error:
        print(f"dino-operator: cannot reach a cluster: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"dino-operator: port {chosen.metrics_port}: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
