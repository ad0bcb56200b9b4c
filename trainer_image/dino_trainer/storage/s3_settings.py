"""How to reach the S3 server: settings from the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from dino_api.names import DEFAULT_REGION, Env
from dino_trainer.errors import invalid_spec

# A server that was away for a minute must not cost a training that took days.
_PATIENCE = 120.0


@dataclass(frozen=True)
class S3Settings:
    """How to reach the server.

    patience: seconds for which a server that does not answer is asked again, with growing pauses;
    it also caps the wait for one answer, so that a stuck connection cannot outlast it by much.
    """

    endpoint: str | None
    region: str
    path_style: bool
    patience: float = _PATIENCE

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> S3Settings:
        """Raises InvalidSpec for a value that is not of its form."""
        return cls(
            endpoint=_endpoint(env.get(Env.S3_ENDPOINT, "")),
            region=env.get(Env.S3_REGION) or env.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
            path_style=_flag(env, Env.S3_PATH_STYLE),
            patience=_seconds(env, Env.STORAGE_PATIENCE, _PATIENCE),
        )


def _endpoint(value: str) -> str | None:
    if value and not value.startswith(("http://", "https://")):
        raise invalid_spec(
            f"{Env.S3_ENDPOINT}={value} is not a URL.",
            "Write the S3 server as http://host:port or https://host.",
        )
    return value or None


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").lower()
    if value not in ("", "true", "false"):
        raise invalid_spec(f"{name}={value} is neither true nor false.", f"Set {name} to one.")
    return value == "true"


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(env.get(name) or default)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0):
        raise invalid_spec(
            f"{name}={env[name]} is not a number of seconds.", f"Set {name} to 120, for example."
        )
    return value
