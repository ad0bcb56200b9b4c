"""The preflight of a manifest's data where it lies on this machine. The trainer is a program here:
nothing of it is imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from dino_api.kubectl_yaml.reader import read
from dino_api.kubectl_yaml.writer import Dumper
from dino_api.names import SPEC_KEY, Action, Option, Stage
from dino_api.resources.datasets import ARCHIVE, FOLDER
from dino_operator.kubectl.ending import (
    DATA_ERROR,
    INSTALL,
    NO_INPUT,
    UNAVAILABLE,
    CommandExit,
)
from dino_operator.plan.model import Object
from dino_operator.preview import Preview

_UNPACKED = {ARCHIVE: FOLDER}


def check_data(made: Preview | None, manifest: Object, folder: Path) -> int:
    """Runs `dino preflight` on the data in the folder; its output is this command's.
    Returns 0, or DATA_ERROR. Raises CommandExit."""
    program = _program()
    spec = next(_specs(made), None)
    if spec is None or not spec.get("dataset"):
        return 0
    local = {**spec, "dataset": _moved(spec["dataset"], folder)}
    action = manifest["spec"].get("action", Action.TRAIN)
    work = Path(tempfile.mkdtemp(prefix="dino-validate-"))  # stays: the report is to be opened
    local["results_dir"] = str(work)
    path = work / SPEC_KEY
    path.write_text(yaml.dump(local, Dumper=Dumper, sort_keys=False), encoding="utf-8")
    command = [program, Stage.PREFLIGHT, Option.EXPERIMENT, str(path), Option.ACTION, action]
    ended = subprocess.run(command, stdout=sys.stderr, check=False)
    return DATA_ERROR if ended.returncode else 0


def _program() -> str:
    """The command `dino`, of the same installation first. Raises CommandExit."""
    own = Path(sys.executable).with_name("dino")
    program = str(own) if own.exists() else shutil.which("dino")
    if program is None:
        message = "--data needs the trainer, and there is no `dino` on the PATH."
        raise CommandExit(UNAVAILABLE, f"{message} {INSTALL.format('kubectl,trainer')}")
    return program


def _specs(made: Preview | None) -> Iterator[Any]:
    for each in made.objects if made else ():
        if each["kind"] == "ConfigMap" and SPEC_KEY in each["data"]:
            yield read(each["data"][SPEC_KEY])


def _moved(dataset: Object, folder: Path) -> Object:
    """With files of the folder in place of those in the object store. Raises CommandExit."""
    return {name: _local(value, folder) for name, value in dataset.items()}


def _local(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {name: _local(each, folder) for name, each in value.items()}
    if isinstance(value, list):
        return [_local(each, folder) for each in value]
    return _path_in(value, folder) if str(value).startswith("s3://") else value


def _path_in(uri: str, folder: Path) -> str:
    """The longest end of the URI's path that is in the folder. Raises CommandExit."""
    parts = PurePosixPath(uri.removeprefix("s3://")).parts
    ends = [parts[start:] for start in range(len(parts))]
    tried = [folder.joinpath(*end) for end in ends]
    for path in tried:
        unpacked = path.with_name(_UNPACKED.get(path.name, path.name))
        for each in (path, unpacked):
            if each.exists():
                return str(each.resolve())
    listed = ", ".join(map(str, tried))
    raise CommandExit(NO_INPUT, f"{uri} is not in {folder}: there is none of {listed}.")
