"""Where the files of a TAO spec lie in the object store. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Any, Literal

from dino_api.experiment.interpolation import MISSING
from dino_api.formats import ARCHIVES
from dino_operator.plan.model import Object

NO_BUCKET = (
    "results_dir is no s3:// URI. Say by --uri s3://bucket/path where the results go; data of "
    "this machine is looked for in the same bucket."
)
_BUCKET = r"^s3://[a-z0-9][a-z0-9.-]+(/.*)?$"


class NoBucket(ValueError):
    """Nothing says where results go."""


@dataclass(frozen=True)
class OutputLocation:
    """output: where the results go. asked: whether it was said on the command line."""

    output: str
    asked: bool

    @classmethod
    def of(cls, output: str, results_dir: str) -> OutputLocation:
        """Raises NoBucket."""
        chosen = as_s3(output or results_dir)
        if not re.match(_BUCKET, chosen):
            raise NoBucket(NO_BUCKET)
        return cls(chosen, bool(output))

    @property
    def bucket(self) -> str:
        """The s3:// URI of the bucket alone."""
        return "/".join(self.output.split("/")[:3])

    def results_entry(self, results_dir: str) -> tuple[Literal["moved", "changed"], str]:
        """What became of results_dir."""
        if as_s3(results_dir) == self.output:
            return "moved", "spec.output.uri"
        return "changed", f"spec.output.uri is {self.output}, as --uri says"

    def is_local(self, path: str) -> bool:
        """Whether it is a path of a machine. A word alone, such as imagenet, is none."""
        return "://" not in path and "/" in path

    def uri(self, path: str) -> str:
        """Of a file or folder; that of a machine has the same path in the bucket."""
        if "://" in path:
            return as_s3(path)
        return f"{self.bucket}/{posixpath.normpath(path).strip('/')}"

    def placed(self, made: Object) -> Object:
        """A source with its URI in the object store."""
        return {**made, "uri": self.uri(made["uri"])}


def as_s3(uri: str) -> str:
    """TAO writes aws:// for the same."""
    return re.sub(r"^(aws|s3)://", "s3://", uri)


def source(images: Any, annotations: Any, named: str = "annotations") -> Object:
    """Images and what describes them as one source: the folder that both are in, and their names
    below it. named: the field of the latter."""
    folder, text = _path(images), _path(annotations)
    if not folder:
        folder = posixpath.join(posixpath.dirname(text), "images")
    base = _common(folder, text) if text else posixpath.dirname(folder)
    packed = folder.endswith(ARCHIVES)
    made: Object = {"uri": base, "format": "coco" if packed else "coco_raw"}
    made["images"] = _below(folder, base)
    if text:
        made[named] = _below(text, base)
    return made


def _path(value: Any) -> str:
    text = value if isinstance(value, str) and value != MISSING else ""
    scheme, separator, rest = as_s3(text).partition("://")
    local = posixpath.normpath(text) if text else ""
    return f"{scheme}://{rest.strip('/')}" if separator else local


def _common(one: str, other: str) -> str:
    """The folder that both are in; of the images where they have none in common."""
    parts, others = one.split("/")[:-1], other.split("/")[:-1]
    same = 0
    while same < min(len(parts), len(others)) and parts[same] == others[same]:
        same += 1
    bucket = 3 if "://" in one else 1
    return "/".join(parts[:same] if same >= bucket else parts) or "/"


def _below(path: str, base: str) -> str:
    below = path.removeprefix(base).lstrip("/")
    return below if path.startswith(base) else posixpath.basename(path)
