"""What boto3's exceptions mean to the person who owns the bucket."""

from __future__ import annotations

from typing import Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from s3transfer.exceptions import RetriesExceededError

from dino_api.names import DEFAULT_REGION, Env, FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.storage.s3_region import right_region
from dino_trainer.storage.store import changed

_DENIED = {
    "403",
    "Forbidden",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AllAccessDisabled",
    # versitygw, with status 404, for an access key that it does not know.
    "XAdminUserNotFound",
}
_ABSENT = {"404", "NoSuchKey", "NotFound", "NoSuchBucket"}
_ELSEWHERE = {
    "301",
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_BUSY = {
    "SlowDown",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "Throttling",
    "TooManyRequests",
    # A write that met another one, and an upload in parts that somebody has aborted meanwhile.
    "OperationAborted",
    "NoSuchUpload",
}
# Of proxies, with codes of their own.
_BUSY_STATUS = (408, 425, 429)
OUT_OF_RANGE = "InvalidRange"
# Answers to a part of what has become another object since its first part.
_OTHER_NOW = {"PreconditionFailed", "412", OUT_OF_RANGE, "416"}
_PLAIN = (
    (EndpointConnectionError, "no connection (refused, or the name is unknown)."),
    (ConnectTimeoutError, "connecting took too long."),
    (ReadTimeoutError, "the answer took too long."),
)
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)


class S3Endpoint(Protocol):
    """Which server was asked; endpoint: None for Amazon's."""

    @property
    def endpoint(self) -> str | None: ...
    @property
    def region(self) -> str: ...


def translate(
    error: ClientError | BotoCoreError | RetriesExceededError, uri: str, asked: S3Endpoint
) -> TrainerError:
    """The TrainerError of a failed request for `uri`."""
    server = asked.endpoint or f"AWS S3 ({asked.region})"
    if isinstance(error, RetriesExceededError):
        return _away(error.last_exception, uri, server)
    if isinstance(error, ClientError):
        return _refused(error, uri, server, asked.region)
    if isinstance(error, _CREDENTIALS):
        return TrainerError(
            FailureReason.ACCESS_DENIED,
            f"There are no S3 credentials to read or write {uri} with.",
            f"Name a secret in spec.storage.secretName, or set {Env.S3_ACCESS_KEY} and "
            f"{Env.S3_SECRET_KEY}.",
        )
    if isinstance(error, InvalidRegionError):
        return TrainerError(
            FailureReason.INVALID_SPEC,
            f"{asked.region!r} is no region.",
            f"Set spec.storage.region ({Env.S3_REGION}) to one such as {DEFAULT_REGION}.",
        )
    if isinstance(error, ParamValidationError):
        return TrainerError(
            FailureReason.INVALID_SPEC, f"{uri} is not a valid S3 address: {_one_line(error)}"
        )
    return _away(error, uri, server)


def code_of(error: ClientError) -> str:
    """What the server calls its answer."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refused(error: ClientError, uri: str, server: str, region: str) -> TrainerError:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _ELSEWHERE or status == 301:
        return _elsewhere(error, code, uri, region)
    if code in _DENIED or (status in (401, 403) and code not in _BUSY):
        return TrainerError(
            FailureReason.ACCESS_DENIED,
            f"{server} refused access to {uri} ({_in_its_words(error) or status}).",
        )
    if code in _OTHER_NOW:
        once = changed(uri)
        return TrainerError(once.reason, once.message, once.remedy)  # the whole may be asked for
    if code in _BUSY or status in _BUSY_STATUS or status >= 500:
        return TrainerError(
            FailureReason.STORAGE_UNAVAILABLE, f"{server} answered {code or status} for {uri}."
        )
    if code in _ABSENT or status == 404:
        return _absent(code, uri, server)
    return TrainerError(
        FailureReason.INVALID_SPEC, f"{server} refused the request for {uri}: {_one_line(error)}"
    )


def _elsewhere(error: ClientError, code: str, uri: str, asked: str) -> TrainerError:
    right = right_region(error)
    known = right not in ("", asked)
    where = f"in region {right}, and {asked} was asked" if known else f"not in region {asked}"
    wanted = right if known else "the region it is in"
    return TrainerError(
        FailureReason.INVALID_SPEC,
        f"The bucket of {uri} is {where} ({code}).",
        f"Set spec.storage.region ({Env.S3_REGION}) to {wanted}.",
    )


def _in_its_words(error: ClientError) -> str:
    """Code and message of an answer; the code alone where it had no body."""
    answer, code = error.response.get("Error", {}), code_of(error)
    text = " ".join(str(answer.get("Message", "")).split())
    return f"{code}: {text[:300].rstrip('.')}" if text and not code.isdigit() else code


def _absent(code: str, uri: str, server: str) -> TrainerError:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    what = (
        f"no bucket {bucket}" if code == "NoSuchBucket" else f"no object {key} in bucket {bucket}"
    )
    return TrainerError(FailureReason.INPUT_NOT_FOUND, f"{server} has {what} (asked for {uri}).")


def _away(error: Exception, uri: str, server: str) -> TrainerError:
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return TrainerError(
            FailureReason.STORAGE_UNAVAILABLE,
            f"The certificate of {server} is not one that is trusted here (asked for {uri}).",
            f"Have its authority's certificate trusted: Helm value trainer.caConfigMap, or a file "
            f"in {Env.S3_CA_BUNDLE}.",
        )
    plain = [words for kind, words in _PLAIN if isinstance(error, kind)]
    return TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"{server} did not answer a request for {uri}: {[*plain, _one_line(error)][0]}",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") + "."
