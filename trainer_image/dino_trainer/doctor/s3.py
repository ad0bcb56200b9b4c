"""S3: where credentials come from, never what they are, and whether the server answers."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace

import boto3
from botocore.exceptions import BotoCoreError

from dino_api.names import Env, FailureReason
from dino_trainer.doctor.line import Line, LineState
from dino_trainer.errors import TrainerError
from dino_trainer.storage.s3 import open_s3
from dino_trainer.storage.s3_settings import S3Settings

_SECONDS = 5.0
_CA = "AWS_CA_BUNDLE"
_KEYS = f"Set {Env.S3_ACCESS_KEY} and {Env.S3_SECRET_KEY}, or AWS_PROFILE. Local data needs none."


def s3_lines(uri: str, env: Mapping[str, str] = os.environ) -> Iterator[Line]:
    """uri: what is to be listed; "" for the server alone, where one is named."""
    yield _credentials(bool(uri))
    try:
        settings = replace(S3Settings.from_env(env), patience=0.0)
    except TrainerError as error:
        yield _failed("S3 endpoint", error)
        return
    if uri:
        yield _listed(uri, settings)
    elif settings.endpoint:
        yield _answers(settings.endpoint, env.get(_CA))


def _credentials(needed: bool) -> Line:
    name, reason = "S3 credentials", FailureReason.ACCESS_DENIED if needed else None
    try:
        keys = boto3.session.Session().get_credentials()
    except BotoCoreError as error:
        return Line(name, LineState.MISSING, str(error), _KEYS, reason)
    if keys is None:
        return Line(name, LineState.MISSING, "none found", _KEYS, reason)
    tried = "" if needed else "; not tried (`dino doctor s3://bucket/folder` does)"
    return Line(name, LineState.OK, f"found by {keys.method}{tried}")


def _listed(uri: str, settings: S3Settings) -> Line:
    try:
        next(iter(open_s3(uri, _silent, settings).list()), None)
    except TrainerError as error:
        return _failed("S3 bucket", error)
    return Line("S3 bucket", LineState.OK, f"{uri} can be listed; writing was not tried")


def _failed(name: str, error: TrainerError) -> Line:
    return Line(name, LineState.MISSING, error.message, error.remedy, error.reason)


def _answers(endpoint: str, ca: str | None) -> Line:
    """Any answer will do: without credentials S3 servers refuse."""
    name = "S3 endpoint"
    try:
        context = ssl.create_default_context(cafile=ca)
        with urllib.request.urlopen(endpoint, timeout=_SECONDS, context=context) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        if isinstance(error, http.client.HTTPException):  # what it says alone is no sentence
            why = f"{type(error).__name__}: {str(error).strip()}"
        remedy = f"Check {Env.S3_ENDPOINT}, the network and proxies."
        if isinstance(why, ssl.SSLError) or (ca and isinstance(error, FileNotFoundError)):
            remedy = f"Name the file of the server's certificate authority: {_CA}."
        reason = FailureReason.STORAGE_UNAVAILABLE
        return Line(name, LineState.MISSING, f"{endpoint} cannot be reached: {why}", remedy, reason)
    return Line(name, LineState.OK, f"{endpoint} answers (HTTP {status} without credentials)")


def _silent(_: str) -> None:
    pass
