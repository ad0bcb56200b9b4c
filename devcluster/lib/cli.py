"""The command line: one subcommand per thing a person does with the dev cluster."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path

from lib import build, current, doctor, images, prune, s3, up
from lib.health import kubectl
from lib.paths import API_ONLY, FULL, PLAYED, Instance, home
from lib.processes import is_running
from lib.say import ClusterError, say, tail

DESCRIPTION = """\
A real one-node Kubernetes on this machine, built from its Go modules. No container engine needed.

  devcluster/cluster up                        the whole cluster: pods run
  devcluster/cluster up --control-plane-only   API server, controllers, scheduler: ready in seconds,
                                               for tests; runs beside the whole one, needs no root
  devcluster/cluster up --played-jobs          the same without the Job controller, for benches
  eval "$(devcluster/cluster env)"             point kubectl at it and put kubectl and helm in PATH
  devcluster/cluster build-image NAME DIR      build an image with buildah ...
  devcluster/cluster load NAME                 ... and give it to the cluster
  devcluster/cluster s3                        an S3 server in the cluster, for host and pods
  devcluster/cluster down [--purge]            end everything; --purge forgets all objects too
"""
EPILOGUE = """\
State lies in $DINO_DEVCLUSTER_HOME (default ~/.cache/dino-devcluster): programs, images, objects,
logs, kubeconfigs (node/kubeconfig for the whole cluster, api/kubeconfig for the control plane,
played/kubeconfig for the one of --played-jobs).
CLUSTER=current with KUBECONFIG: `up`, `env` and `status` use your own cluster, nothing is started.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, or 1 after a sentence on standard error."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        say(
            f"error: The disk of {error.filename or home()} is full: make room, or set "
            "DINO_DEVCLUSTER_HOME to a folder of another disk. Then run the same command again."
        )
        return 1
    except KeyboardInterrupt:
        say("Interrupted. Run the same command again to go on from here.")
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """All subcommands with their help."""
    whole = argparse.ArgumentParser(
        prog="devcluster/cluster",
        description=DESCRIPTION,
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, run: object, teaches: str, *, instance: bool = False
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=teaches, description=teaches)
        command.set_defaults(run=run)
        if instance:
            command.add_argument(
                "--control-plane-only",
                action="store_const",
                dest="instance",
                const=API_ONLY,
                default=FULL,
                help="the control plane without a node, which runs beside the whole cluster",
            )
            command.add_argument(
                "--played-jobs",
                action="store_const",
                dest="instance",
                const=PLAYED,
                default=FULL,
                help="a control plane without a node and without the Job controller, for benches",
            )
        return command

    add("up", run_up, "start the cluster, from whatever state it is in", instance=True)
    command = add(
        "down", run_down, "end everything and undo what it did to this machine", instance=True
    )
    command.add_argument("--purge", action="store_true", help="forget all objects and volumes too")
    add("status", run_status, "which processes run, and the nodes")
    add(
        "check",
        run_check,
        "say whether this machine can carry the whole cluster, and what it lacks",
    )
    add("build", run_build, "build all Go programs, which `up` else does when it needs them")
    add("env", run_env, "print shell lines that point kubectl at the cluster", instance=True)
    command = add("logs", run_logs, "print the end of a process's log", instance=True)
    command.add_argument("name", help="etcd, kube-apiserver, kubelet, containerd, ...")
    add_image_commands(add)
    return whole


def add_image_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The subcommands for images and for S3."""
    command = add("load", run_load, "give images that buildah built to the cluster's node")
    command.add_argument("images", nargs="+", metavar="IMAGE")
    command = add("prune", run_prune, "forget earlier images of a repository, but the last of them")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="what is in use now")
    command = add("build-image", run_build_image, "build an image with buildah, its layers cached")
    command.add_argument("name", help="for example dino-trainer:dev")
    command.add_argument("context", type=Path, help="the folder that COPY lines start from")
    command.add_argument("-f", "--file", type=Path, help="the Dockerfile, else the context's")
    command.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    command.add_argument("--quiet", action="store_true", help="keep buildah's output in a log")
    add("base-image", run_base_image, f"make {images.BASE_IMAGE}: Debian with Python, cached")
    command = add("s3", run_s3, "start an S3 server in the cluster; print its address and keys")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def run_up(options: argparse.Namespace) -> None:
    if current.chosen():
        current.check()
        return
    up.up(options.instance)


def run_down(options: argparse.Namespace) -> None:
    current.refuse("down")
    for instance in up.instances() if options.instance is FULL else (options.instance,):
        up.down(instance, purge=options.purge)


def run_check(options: argparse.Namespace) -> None:
    """Debian's packages do not count: `up` installs those."""
    if current.chosen():
        current.check()
        return
    doctor.check_platform(node=True)
    if any(not program.binary.exists() for program in build.PROGRAMS):
        build.check_go()


def run_build(options: argparse.Namespace) -> None:
    build.ensure(*build.PROGRAMS)
    say(f"The programs are in {home() / 'bin'}.")


def run_env(options: argparse.Namespace) -> None:
    if current.chosen():
        current.check()
        return
    instance: Instance = options.instance
    if not instance.kubeconfig.exists():
        raise ClusterError("The cluster was never up: run `devcluster/cluster up` first.")
    print(f"export KUBECONFIG={instance.kubeconfig}")
    print(f'export PATH="{home() / "bin"}:$PATH"')


def run_status(options: argparse.Namespace) -> None:
    if current.chosen():
        current.check()
        return
    started = [instance for instance in up.instances() if instance.run.exists()]
    if not started:
        print("Nothing was ever started here: `devcluster/cluster up` does.")
    for instance in started:
        print(f"{up.label(instance)} ({instance.server})")
        for path in sorted(instance.run.glob("*.pid")):
            state = "runs" if is_running(instance, path.stem) else "ended"
            print(f"  {path.stem:<25}{state:<8}{instance.logs / path.stem}.log")
    if up.works(FULL):
        print(kubectl(FULL, "get", "nodes", "-o", "wide"), end="")


def run_logs(options: argparse.Namespace) -> None:
    path = options.instance.logs / f"{options.name}.log"
    if not path.exists():
        known = ", ".join(sorted(found.stem for found in options.instance.logs.glob("*.log")))
        raise ClusterError(f"There is no log of {options.name}. There are: {known or 'none'}.")
    sys.stdout.write(tail(str(path), lines=200) + "\n")


def run_load(options: argparse.Namespace) -> None:
    current.refuse("load")
    for name in options.images:
        images.load(name)


def run_prune(options: argparse.Namespace) -> None:
    current.refuse("prune")
    for name in options.images:
        prune.prune(name)


def run_build_image(options: argparse.Namespace) -> None:
    images.build_image(
        options.name, options.context, options.file, options.build_arg, quiet=options.quiet
    )


def run_base_image(options: argparse.Namespace) -> None:
    images.base_image()
    print(images.BASE_IMAGE)


def run_s3(options: argparse.Namespace) -> None:
    current.refuse("s3")
    s3.up(as_json=options.json)
