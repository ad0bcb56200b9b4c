"""The installation's settings, as options of the operator's commands: each stands once.

`dino-operator` takes all of them; `kubectl dino render` those on which the rendered objects depend.
Defaults are those of `Settings`; an environment variable replaces a default.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import ValidationError

from dino_api.resources.dinoautoml import SmokeProfile
from dino_operator.plan.model import Settings


class Adder:
    """Adds options whose defaults are in the environment. Empty variables count as absent."""

    def __init__(self, made: argparse._ActionsContainer, environ: Mapping[str, str]) -> None:
        self._made = made
        self._environ = environ

    def __call__(
        self,
        flag: str,
        variable: str,
        default: str,
        text: str,
        type: Callable[[str], Any] = str,  # as argparse calls it
        dest: str | None = None,
    ) -> None:
        """One option. type also reads the variable's value, so that both are checked alike."""
        shown = f"[{variable}; {default}]" if default else f"[{variable}]"
        self._made.add_argument(
            flag,
            default=self._environ.get(variable) or default,
            help=f"{text} {shown}",
            type=type,
            dest=dest,
            metavar=getattr(type, "metavar", "VALUE"),
        )


def flag(text: str) -> bool:
    """Raises ArgumentTypeError."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def count(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def lease(text: str) -> tuple[str, str] | None:
    """Namespace and name; None for no Lease. Raises ArgumentTypeError."""
    if not text:
        return None
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/NAME of a Lease")
    return namespace, name


def lease_seconds(text: str) -> int:
    """Raises ArgumentTypeError."""
    if count(text) < SHORTEST_LEASE:
        raise argparse.ArgumentTypeError(
            f"{text} is too short: renewals may take a second, so give {SHORTEST_LEASE} or more"
        )
    return count(text)


SHORTEST_LEASE = 5


def cpus(text: str) -> str:
    """Raises ArgumentTypeError for what is no number of CPUs."""
    if text and not re.fullmatch(r"\d+m?|\d*\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of CPUs, such as 4 or 500m")
    return text


def profile(text: str) -> SmokeProfile:
    """Raises ArgumentTypeError."""
    try:
        given = json.loads(text)
        unknown = set(given) - {each.alias for each in SmokeProfile.model_fields.values()}
        if unknown:
            raise argparse.ArgumentTypeError(f"there is no key {', '.join(sorted(unknown))}")
        return SmokeProfile.model_validate(given)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise argparse.ArgumentTypeError("; ".join(parts)) from error
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object") from error


def words(text: str) -> tuple[str, ...]:
    """Words with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def variables(text: str) -> tuple[tuple[str, str], ...]:
    """Raises ArgumentTypeError for what is no JSON object of texts, or holds names of ours."""
    try:
        given = json.loads(text)
        pairs = tuple((name, value) for name, value in given.items())
    except (ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object") from error
    for name, value in pairs:
        if not isinstance(value, str):
            raise argparse.ArgumentTypeError(f"{name} must be a text: put it in quotes")
        if name.startswith("DINO_"):
            raise argparse.ArgumentTypeError(f"{name}: names with DINO_ are the operator's own")
    return pairs


@dataclass(frozen=True)
class OneOf:
    """A word of a few. argparse's own choices do not look at defaults, hence at no variable."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """How --help shows it, as argparse does its choices."""
        return "{" + ",".join(self.words) + "}"

    def __call__(self, text: str) -> str:
        """Raises ArgumentTypeError."""
        if text not in self.words:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(self.words)}")
        return text


@dataclass(frozen=True)
class Setting:
    """An option that fills a field of Settings.

    rendered: the objects made for a job or a search depend on it.
    """

    name: str
    flag: str
    variable: str
    text: str
    type: Callable[[str], Any] = str
    rendered: bool = True

    @property
    def default(self) -> str:
        """The field's default, as it is written in a variable."""
        value = _DEFAULTS[self.name]
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:g}" if isinstance(value, float) else str(value)


_DEFAULTS: dict[str, object] = {
    each.name: each.default for each in fields(Settings) if each.name != "profile"
} | {"trainer_image": "", "profile": "{}", "pull_secrets": "", "trainer_env": "{}"}
"""A trainer's image has no default: whoever adds the option says what is without one."""

SETTINGS: Sequence[Setting] = (
    Setting(
        "trainer_image",
        "--trainer-image",
        "DINO_TRAINER_IMAGE",
        "container image of the trainer's pods",
    ),
    Setting(
        "tensorrt_image",
        "--tensorrt-image",
        "DINO_TENSORRT_IMAGE",
        "the same with TensorRT, for pods that build or run a TensorRT engine; none: the trainer's",
    ),
    Setting(
        "image_pull_policy",
        "--image-pull-policy",
        "DINO_IMAGE_PULL_POLICY",
        "when nodes pull it",
        OneOf(("Always", "IfNotPresent", "Never")),
    ),
    Setting(
        "cpu_per_process",
        "--cpu-per-process",
        "DINO_CPU_PER_PROCESS",
        "CPUs requested for each process of jobs without resources.cpu; none: by their workers",
        cpus,
    ),
    Setting(
        "s3_endpoint", "--s3-endpoint", "DINO_S3_ENDPOINT", "URL of an S3 server other than AWS"
    ),
    Setting("s3_region", "--s3-region", "DINO_S3_REGION", "S3 region"),
    Setting(
        "s3_path_style",
        "--s3-path-style",
        "DINO_S3_PATH_STYLE",
        "whether buckets are addressed as http://server/bucket",
        flag,
    ),
    Setting(
        "s3_secret", "--s3-secret", "DINO_S3_SECRET", "secret with S3 keys, in each job's namespace"
    ),
    Setting(
        "cache_claim",
        "--cache-claim",
        "DINO_CACHE_CLAIM",
        "claim, in each job's namespace, that keeps staged data",
    ),
    Setting(
        "pull_secrets",
        "--trainer-pull-secrets",
        "DINO_TRAINER_PULL_SECRETS",
        "secrets, in each job's namespace, that the container image is pulled with; with commas",
        words,
    ),
    Setting(
        "trainer_env",
        "--trainer-env",
        "DINO_TRAINER_ENV",
        "variables of every training pod, as a JSON object of texts",
        variables,
    ),
    Setting(
        "ca_config_map",
        "--ca-config-map",
        "DINO_CA_CONFIG_MAP",
        "ConfigMap, in each job's namespace, whose ca.crt the object store is trusted by",
    ),
    Setting(
        "automl",
        "--automl",
        "DINO_AUTOML",
        "whether a DinoJob is searched for that does not say automlPolicy: Disabled",
        flag,
    ),
    Setting(
        "routed_trials", "--automl-trials", "DINO_AUTOML_TRIALS", "trials of such a search", count
    ),
    Setting(
        "routed_parallel",
        "--automl-parallel-trials",
        "DINO_AUTOML_PARALLEL_TRIALS",
        "how many of them run at the same time",
        count,
    ),
    Setting(
        "profile",
        "--automl-profile",
        "DINO_AUTOML_PROFILE",
        "the smoke profile, as JSON with the keys of the Helm value automl.profile",
        profile,
    ),
    Setting(
        "katib_poll",
        "--katib-poll-seconds",
        "DINO_KATIB_POLL_SECONDS",
        "how often Katib is asked how a search goes",
        seconds,
        rendered=False,
    ),
    Setting(
        "recheck",
        "--recheck-seconds",
        "DINO_RECHECK_SECONDS",
        "how often a job that waits for a queue, or for anything else outside, is looked at again",
        seconds,
        rendered=False,
    ),
    Setting(
        "progress_old_after",
        "--progress-old-seconds",
        "DINO_PROGRESS_OLD_SECONDS",
        "after how long without progress a training's account and its right are made sure of",
        seconds,
        rendered=False,
    ),
)


def add_settings(add: Adder, rendered_only: bool = False, trainer_image: str = "") -> None:
    """The options of SETTINGS. trainer_image: the default of that one; none: it is required."""
    for each in SETTINGS:
        if rendered_only and not each.rendered:
            continue
        default, text = each.default, each.text
        if each.name == "trainer_image":
            default, text = trainer_image, text if trainer_image else f"{text}; required"
        add(each.flag, each.variable, default, text, each.type, each.name)


def settings(options: argparse.Namespace) -> Settings:
    """What the options say; fields without an option among them keep their defaults."""
    given = vars(options)
    return Settings(**{each.name: given[each.name] for each in SETTINGS if each.name in given})
