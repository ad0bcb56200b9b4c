"""In which region a bucket is, where it is not the one that was asked.

A GET in a wrong region is answered with the right one, and boto3 asks there again without a word. A
HEAD has no body to say it in: many servers answer it with a bare 301, 400 or 403.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from dino_trainer.storage.s3_types import Operation, S3Client

_MUTE = (301, 302, 307, 400, 401, 403)
_HEADER = "x-amz-bucket-region"
# "the region 'us-east-1' is wrong; expecting 'eu-west-1'"
_EXPECTED = re.compile(r"expecting '([a-z0-9-]+)'")
# bucket.s3.eu-west-1.amazonaws.com, bucket.s3-eu-west-1.amazonaws.com
_HOST = re.compile(r"(?:^|\.)s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.com")
_moved: WeakKeyDictionary[S3Client, dict[str, str]] = WeakKeyDictionary()


def watch(client: S3Client) -> None:
    """Notes where this client is sent to from now on."""
    moved = _moved.setdefault(client, {})
    asked = client.meta.region_name

    def note(request_dict: Mapping[str, Any], **_: object) -> None:
        context = request_dict.get("context", {})
        went, region = context.get("s3_redirect", {}), context.get("signing", {}).get("region")
        if went.get("redirected") and region not in (None, asked):
            moved[went.get("bucket")] = region

    client.meta.events.register_first("needs-retry.s3", _end_circle)
    client.meta.events.register_last("needs-retry.s3", note)


def _end_circle(
    request_dict: Mapping[str, Any],
    response: tuple[object, Mapping[str, Any]] | None,
    operation: Operation,
    **_: object,
) -> None:
    """Keeps boto3 from asking a HEAD of the bucket where to send that very HEAD, for ever."""
    headers = response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {}) if response else {}
    if operation.name == "HeadBucket" and _HEADER not in headers:
        request_dict.get("context", {}).get("s3_redirect", {})["redirected"] = True


def moved_to(client: S3Client, bucket: str) -> str:
    """The region that a client was sent to for a bucket; empty where it was not, or said before."""
    return _moved.get(client, {}).pop(bucket, "")


def says_nothing(error: ClientError) -> bool:
    """Whether an answer has no body, and asking otherwise would tell more."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return error.operation_name in ("HeadObject", "HeadBucket") and status in _MUTE


def right_region(error: ClientError) -> str:
    """The region that an answer names, empty where it names none."""
    answer = error.response.get("Error", {})
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if known := headers.get(_HEADER) or answer.get("Region"):
        return str(known)
    expected = _EXPECTED.search(str(answer.get("Message", "")))
    host = _HOST.search(str(answer.get("Endpoint", "")))
    match = expected or host
    return match[1] if match else ""
