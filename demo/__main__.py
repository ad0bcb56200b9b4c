"""`python -m demo [--data DIR]`; see the package's docstring, and `make demo`."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
import time
from pathlib import Path

from demo import job, plan, training
from demo.errors import DemoError
from demo.screen import Screen, clock
from demo.stages import DemoStage, Runner, StageTiming, table

BUILD = Path("build") / "demo"
MINUTES_FIRST, MINUTES_AGAIN = 10, 3


def main(arguments: list[str] | None = None) -> int:
    """Run the demo. Returns 0, 1 after a failure said in one sentence, 130 after Ctrl-C."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    try:
        run(options.data, screen)
    except DemoError as error:
        screen.live("")
        screen.say(f"\nThe demo ended: {error}")
        if error.look:
            screen.say(f"Look further with: {error.look}")
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        screen.live("")
        screen.say(f"\nThe demo ended: the disk of {error.filename or BUILD} is full, make room")
        return 1
    except KeyboardInterrupt:
        screen.live("")
        screen.say("\nStopped. What was built stays: `make demo` goes on from there.")
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m demo",
        description="From nothing to a trained detector on a real Kubernetes cluster.",
        epilog="CLUSTER=current uses the cluster of your KUBECONFIG; it then says what else it "
        "needs. Everything it writes is in build/demo; `make cluster-down` ends the dev cluster.",
    )
    made.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="your own COCO folder: annotations.json and images.tar.gz or images/, either in DIR "
        "or in DIR/train and DIR/val",
    )
    return made


def run(data: Path | None, screen: Screen) -> None:
    """All stages, then the training, then what came out of it."""
    if data and not data.is_dir():
        raise DemoError(f"DATA={data} is no folder")
    BUILD.mkdir(parents=True, exist_ok=True)
    demo, stages = choose(data)
    introduce(stages, screen)
    began = time.monotonic()
    runner = Runner(stages, BUILD / "logs", screen, plan.training(stages))
    runner.run()
    timings = [*runner.timings, train(demo, screen, began)]
    screen.say("\n" + table(timings))


def choose(data: Path | None) -> tuple[plan.Demo, list[DemoStage]]:
    """The plan for the cluster that CLUSTER names."""
    match os.environ.get("CLUSTER", ""):
        case "" | "dev":
            return plan.dev(BUILD, data)
        case "current":
            return plan.current(BUILD, data, os.environ)
        case other:
            raise DemoError(f"CLUSTER={other} is not known: use dev or current")


def introduce(stages: list[DemoStage], screen: Screen) -> None:
    screen.say("A DINO detector, trained on Kubernetes, from nothing:\n")
    screen.say(plan.announce(stages))
    screen.say(
        f"\nStages that do not wait for each other run side by side: about {MINUTES_FIRST} minutes "
        f"the first time on two cores, {MINUTES_AGAIN} later. Logs: {BUILD / 'logs'}.\n"
    )


def train(demo: plan.Demo, screen: Screen, began: float) -> StageTiming:
    """Apply the DinoJob, follow it to its end, show what came out. Returns its time."""
    manifest = demo.manifest
    name = job.name(manifest)
    started = time.monotonic() - began
    demo.cluster.apply(manifest)
    what = "your data's job" if demo.data else "kubectl apply -f examples/digits-train.yaml"
    screen.say(f"[{clock(started)}] the last step: training ({what})")
    try:
        finished = training.follow(demo.cluster, name, screen, threading.Event())
    except KeyboardInterrupt:
        screen.say("The training goes on in the cluster. Watch it, or end it, by:")
        screen.say(f"  {demo.cluster.typed('get', 'dinojob', name, '-w')}")
        screen.say(f"  {demo.cluster.typed('delete', 'dinojob', name)}")
        raise
    ended = time.monotonic() - began
    screen.say(f"[{clock(ended)}] training: done in {ended - started:.0f} s\n")
    training.show(demo.cluster, demo.storage, finished, BUILD, screen)
    return StageTiming("training", started, ended)


if __name__ == "__main__":
    sys.exit(main())
