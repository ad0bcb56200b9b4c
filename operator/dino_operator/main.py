"""The `dino-operator` command."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence

import kopf
from kubernetes.aio.config import ConfigException
from pydantic import ValidationError

from dino_api.automl import Profile
from dino_operator import handlers
from dino_operator.plan.model import Settings
from dino_operator.runtime.client import ApiError, Client, configuration
from dino_operator.runtime.loop import Operator, Options
from dino_operator.runtime.metrics import Metrics
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

    def option(flag: str, variable: str, default: str, text: str, **more: object) -> None:
        value = environ.get(variable) or default
        shown = f" [{variable}; {default}]" if default else f" [{variable}]"
        made.add_argument(flag, default=value, help=text + shown, **more)  # type: ignore[arg-type]

    option("--trainer-image", "DINO_TRAINER_IMAGE", "", "image of the trainer's pods; required")
    option(
        "--tensorrt-image",
        "DINO_TENSORRT_IMAGE",
        "",
        "the same with TensorRT, for pods that build or run an engine; none: the trainer's",
    )
    option(
        "--image-pull-policy",
        "DINO_IMAGE_PULL_POLICY",
        "IfNotPresent",
        "when nodes pull it",
        choices=("Always", "IfNotPresent", "Never"),
    )
    option(
        "--cpu-per-process",
        "DINO_CPU_PER_PROCESS",
        "",
        "CPUs requested for each process of jobs without resources.cpu; none: by their workers",
        type=_cpus,
    )
    option("--s3-endpoint", "DINO_S3_ENDPOINT", "", "URL of an S3 server other than AWS")
    option("--s3-region", "DINO_S3_REGION", "us-east-1", "S3 region")
    option(
        "--s3-path-style",
        "DINO_S3_PATH_STYLE",
        "true",
        "whether buckets are addressed as http://server/bucket",
        type=_flag,
    )
    option("--s3-secret", "DINO_S3_SECRET", "", "secret with S3 keys, in each job's namespace")
    option(
        "--cache-claim",
        "DINO_CACHE_CLAIM",
        "",
        "claim, in each job's namespace, that keeps staged data",
    )
    option(
        "--automl",
        "DINO_AUTOML",
        "true",
        "whether a DinoJob is searched for that does not say automlPolicy: Disabled",
        type=_flag,
    )
    option("--automl-trials", "DINO_AUTOML_TRIALS", "20", "trials of such a search", type=_count)
    option(
        "--automl-parallel-trials",
        "DINO_AUTOML_PARALLEL_TRIALS",
        "2",
        "how many of them run at the same time",
        type=_count,
    )
    option(
        "--automl-profile",
        "DINO_AUTOML_PROFILE",
        "{}",
        "the smoke profile, as JSON with the keys of the Helm value automl.profile",
        type=_profile,
    )
    option(
        "--katib-poll-seconds",
        "DINO_KATIB_POLL_SECONDS",
        "15",
        "how often Katib is asked how a search goes",
        type=float,
    )
    option(
        "--recheck-seconds",
        "DINO_RECHECK_SECONDS",
        "30",
        "how often a job that waits for a queue, or for anything else outside, is looked at again",
        type=float,
    )
    option(
        "--progress-old-seconds",
        "DINO_PROGRESS_OLD_SECONDS",
        "300",
        "after how long without progress a training's account and its right are made sure of",
        type=float,
    )
    option(
        "--watch-namespaces",
        "DINO_WATCH_NAMESPACES",
        "",
        "namespaces to serve, with commas; none means all",
        type=_names,
    )
    option("--workers", "DINO_WORKERS", "16", "plans carried out at the same time", type=int)
    option(
        "--resync-seconds",
        "DINO_RESYNC_SECONDS",
        "600",
        "how often everything is listed anew, to find what watches lost",
        type=float,
    )
    option(
        "--metrics-port",
        "DINO_METRICS_PORT",
        "8080",
        "port of /metrics, /healthz and /readyz; 0 takes any",
        type=int,
    )
    option("--log-format", "DINO_LOG_FORMAT", "text", "how logs look", choices=("text", "json"))
    option(
        "--log-level",
        "DINO_LOG_LEVEL",
        "info",
        "how much is logged",
        choices=("debug", "info", "warning", "error"),
    )
    return made


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _cpus(text: str) -> str:
    """Raises ArgumentTypeError for what is no number of CPUs."""
    if text and not re.fullmatch(r"\d+m?|\d*\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of CPUs, such as 4 or 500m")
    return text


def _profile(text: str) -> Profile:
    try:
        given = json.loads(text)
        unknown = set(given) - {each.alias for each in Profile.model_fields.values()}
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no key {', '.join(sorted(unknown))}")
        return Profile.model_validate(given)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise argparse.ArgumentTypeError("; ".join(said)) from error
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object") from error


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


async def run(options: argparse.Namespace) -> None:
    """Runs until it is told to stop. Raises ConfigException, ApiError, OSError."""
    metrics = Metrics()
    settings = Settings(
        trainer_image=options.trainer_image,
        tensorrt_image=options.tensorrt_image,
        image_pull_policy=options.image_pull_policy,
        cpu_per_process=options.cpu_per_process,
        s3_endpoint=options.s3_endpoint,
        s3_region=options.s3_region,
        s3_path_style=options.s3_path_style,
        s3_secret=options.s3_secret,
        cache_claim=options.cache_claim,
        automl=options.automl,
        routed_trials=options.automl_trials,
        routed_parallel=options.automl_parallel_trials,
        profile=options.automl_profile,
        katib_poll=options.katib_poll_seconds,
        recheck=options.recheck_seconds,
        progress_old_after=options.progress_old_seconds,
    )
    how = Options(options.watch_namespaces, options.workers, options.resync_seconds)
    client = Client(await configuration(), metrics)
    operator = Operator(client, settings, how, metrics)
    server = Server(operator, options.metrics_port)
    await server.start()
    logging.getLogger(__name__).info("listening on port %d", server.port)
    try:
        await watch(operator, options.watch_namespaces)
    finally:
        await server.stop()
        await client.close()


async def watch(operator: Operator, namespaces: Sequence[str]) -> None:
    """Feeds the operator until the process is told to stop.

    kopf looks once at what the API server serves. Where that changes, it is started anew.
    """
    while True:
        await kopf.operator(
            registry=handlers.registry(operator),
            settings=handlers.settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=operator.changed,
        )
        if not operator.changed.is_set():
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    known = parser(os.environ)
    options = known.parse_args(arguments)
    if not options.trainer_image:
        known.error("no trainer image: give --trainer-image or set DINO_TRAINER_IMAGE")
    set_up_logs(options.log_format, options.log_level)
    try:
        asyncio.run(run(options))
    except (ConfigException, ApiError) as error:
        print(f"dino-operator: cannot reach a cluster: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"dino-operator: port {options.metrics_port}: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
