"""`kubectl dino logs`: what the pods of a job say, across preflight, attempts and nodes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from dino_api.names import Label, Phase
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.ending import NO_INPUT, Ended
from dino_operator.kubectl.terminal import paint
from dino_operator.plan.model import Object
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.rendered.names import job_label

DESCRIPTION = """\
The logs of all pods of a DinoJob, the preflight's first, then of each attempt, each pod by its
name. With -f it waits for what comes, over to the next attempt, until the job has ended.
"""
EPILOG = """\
examples:
  kubectl dino logs cells              everything that is still there
  kubectl dino logs cells -f           follow it to its end
  kubectl dino logs cells --stage preflight

Pods are kept until runPolicy.ttlSecondsAfterFinished has passed. Of several nodes one is followed
after the other.
"""
_LOOK_SECONDS = 2.0
_OVER = (Phase.COMPLETE, Phase.FAILED)


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "logs",
        help="print the logs of all pods of a job",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_job(made, "the DinoJob's name")
    made.add_argument("-f", "--follow", action="store_true", help="until the job has ended")
    made.add_argument("--stage", help="of these pods alone: preflight, train, evaluate, ...")
    add_cluster(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints. Raises Ended."""
    cluster = Cluster(options)
    resource = cluster.get(f"dinojob/{options.job.removeprefix('dinojob/')}")
    selector = selector_of(resource, options.stage)
    seen: set[str] = set()
    while True:
        over = (resource.get("status") or {}).get("phase") in _OVER
        fresh = [each for each in in_order(cluster.pods(selector)) if _new(each, seen)]
        for pod in fresh:
            seen.add(pod["metadata"]["name"])
            print(paint(headline(pod), "bold"))
            for line in cluster.log(pod["metadata"]["name"], CONTAINER, options.follow):
                print(line)
            sys.stdout.flush()
        if not options.follow or (over and not fresh):
            break
        time.sleep(_LOOK_SECONDS)
        resource = cluster.get(f"dinojob/{resource['metadata']['name']}")
    if not seen:
        raise Ended(NO_INPUT, no_log_message(resource))
    return 0


def _new(pod: Object, seen: set[str]) -> bool:
    """Whether it has a log that was not printed yet."""
    begun = (pod.get("status") or {}).get("phase") not in (None, "Pending")
    return begun and pod["metadata"]["name"] not in seen


def selector_of(resource: Object, stage: str | None) -> str:
    """The labels of its pods."""
    meta = resource["metadata"]
    asked = {Label.JOB.value: job_label(meta["name"]), Label.JOB_UID.value: meta["uid"]}
    asked |= {Label.ACTION.value: stage} if stage else {}
    return ",".join(f"{name}={value}" for name, value in asked.items())


def in_order(pods: list[Object]) -> list[Object]:
    """As they were made: an attempt after the other, its nodes by their names."""
    return sorted(
        pods, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"])
    )


def headline(pod: Object) -> str:
    """Which pod speaks."""
    labels = pod["metadata"].get("labels") or {}
    stage, attempt = labels.get(Label.ACTION.value, "?"), labels.get(Label.ATTEMPT.value, "?")
    node = (pod.get("spec") or {}).get("nodeName") or "no node"
    return f"==> {pod['metadata']['name']} ({stage}, attempt {attempt}, {node}) <=="


def no_log_message(resource: Object) -> str:
    """Why there is no log."""
    name, status = resource["metadata"]["name"], resource.get("status") or {}
    phase = status.get("phase") or Phase.PENDING.value
    message = f"DinoJob {name} ({phase}) has no pod with a log."
    if status.get("automl"):
        return f"{message} A search runs for it: kubectl dino status daml/{status['automl']}."
    return f"{message} kubectl dino status {name} says what it waits for."
