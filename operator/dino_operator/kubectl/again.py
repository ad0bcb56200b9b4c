"""`kubectl dino again`: a new job of one that has ended, from its best checkpoint."""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dino_api.experiment.overrides import apply_overrides
from dino_api.experiment.paths import section_of
from dino_api.experiment.spec import ExperimentSpec
from dino_api.names import API_VERSION, AUTOML_KIND, TRAINS, Action, Phase
from dino_api.problem import render
from dino_operator.kubectl import manifests
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.ending import USAGE, CommandExit
from dino_operator.kubectl.from_tao import CHANGES
from dino_operator.kubectl.terminal import add_output, print_data
from dino_operator.kubectl.validate import verdict_of
from dino_operator.plan.model import Object, Settings

DESCRIPTION = """\
A new DinoJob of a finished, failed or stopped one: the same spec with a new name, an output of its
own, and the keys that you change. Where the old one is a training that left a checkpoint, the new
one starts from it (spec.parent): so one goes on with a lower learning rate.
"""
EPILOG = """\
examples:
  kubectl dino again cells train.optim.lr=0.00005      go on with a lower rate, as cells-2
  kubectl dino again cells spec.resources.gpus=4       a field of the resource
  kubectl dino again cells --name cells-slow --dry-run print the manifest, make nothing
  kubectl dino again cells --from-scratch              the same again, without the checkpoint
"""


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "again",
        help="make a new job of one that has ended, with other values",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_job(made, "the DinoJob's name")
    changes: Any = made.add_argument(
        CHANGES, nargs="*", metavar="KEY=VALUE", help="of the experiment, or spec.FIELD=VALUE"
    )
    changes.completer = lambda **_: [f"{key}=" for key in keys_of(ExperimentSpec)]
    made.add_argument("--name", help="of the new one (default: JOB-2, or what comes next)")
    made.add_argument("--uri", help="its output (default: that of JOB with the new name)")
    made.add_argument("--from-scratch", action="store_true", help="not from the checkpoint")
    made.add_argument("--dry-run", action="store_true", help="print the manifest, make nothing")
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Creates or prints it. Raises CommandExit."""
    cluster = Cluster(options)
    old = cluster.get(options.job)
    taken = {each["metadata"]["name"] for each in cluster.all_of(old["kind"])}
    name = options.name or next_name(old["metadata"]["name"], taken)
    made = next_job(old, name, options.changes, options.uri, options.from_scratch)
    if not options.dry_run:
        made = cluster.create(made)
    if options.output:
        print_data(made, options.output)
        return 0
    if options.dry_run:
        print(manifests.text_of([made]), end="")
        return 0
    parent = made["spec"].get("parent") or {}
    start = parent.get("uri") or parent.get("name") or "nothing, as no checkpoint is known"
    print(f"DinoJob {name}: created; it starts from {start}")
    print(f"results: {made['spec']['output']['uri']}")
    return 0


def keys_of(section: Any) -> Iterator[str]:
    """Every key of an experiment, for a shell."""
    for name, each in section.model_fields.items():
        below = section_of(each.annotation)
        yield from (f"{name}.{key}" for key in keys_of(below)) if below else (name,)


def next_name(name: str, taken: set[str]) -> str:
    """cells, cells-2, cells-3: the first that nobody has."""
    base = re.sub(r"-\d+$", "", name)
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def next_job(
    old: Object,
    name: str,
    changes: Sequence[str] = (),
    uri: str | None = None,
    from_scratch: bool = False,
) -> Object:
    """The manifest. Raises CommandExit where it makes no sense or would be refused."""
    status, held = old.get("status") or {}, old["metadata"]["name"]
    if old["kind"] == AUTOML_KIND:
        message = f"{held} is a search: name it in spec.warmStartFrom of a new one."
        raise CommandExit(USAGE, message)
    if status.get("phase") not in (Phase.COMPLETE, Phase.FAILED):
        message = f"DinoJob {held} has not ended: kubectl dino stop {held} ends it for good."
        raise CommandExit(USAGE, message)
    spec = copy.deepcopy(old["spec"])
    for field in ("suspend", "stop"):
        (spec.get("runPolicy") or {}).pop(field, None)
    _changed(spec, changes)
    if spec["action"] not in TRAINS and not spec.get("parent"):
        message = (
            f"DinoJob {held} took its model from its own output, which the new one does not have."
        )
        raise CommandExit(
            USAGE, f"{message} Name it: spec.parent.uri=s3://bucket/model, or spec.parent.name=JOB."
        )
    spec["output"]["uri"] = uri or _beside(old["spec"]["output"]["uri"], held, name)
    left = (status.get("checkpoint") or {}).get("uri")
    if left and not from_scratch and spec["action"] == Action.TRAIN:
        # The model of a failed job is waited for in vain: its file is named.
        done = status["phase"] == Phase.COMPLETE
        spec["parent"] = {"name": held} if done else {"uri": left}
        spec["automlPolicy"] = "Disabled"
        (spec.get("experiment", {}).get("train") or {}).pop("pretrained_model_path", None)
    meta = {"name": name, "namespace": old["metadata"]["namespace"]}
    made = {"apiVersion": API_VERSION, "kind": old["kind"], "metadata": meta, "spec": spec}
    if wrong := verdict_of(name, made, Settings("trainer")).refused:
        raise CommandExit(USAGE, "\n".join(map(str, wrong)))
    return made


def _changed(spec: Object, changes: Sequence[str]) -> None:
    """Sets keys of the experiment, and fields of the resource where they begin with spec."""
    fields = [each.removeprefix("spec.") for each in changes if each.startswith("spec.")]
    keys = [each for each in changes if not each.startswith("spec.")]
    experiment, problems = apply_overrides(spec.get("experiment") or {}, keys)
    changed, more = apply_overrides(spec, fields)
    if problems or more:
        raise CommandExit(USAGE, "\n".join(map(render, (*problems, *more))))
    spec.update(changed)
    if experiment:
        spec["experiment"] = experiment


def _beside(uri: str, held: str, name: str) -> str:
    """An output of its own: beside the old one, where that is called as the job is."""
    base = uri.rstrip("/")
    return f"{base.removesuffix(f'/{held}')}/{name}"
