"""What of boto3 is used here, as types: the package ships none.

Nothing imports this at run time. A method that is used and does not stand here is an error of
types, and so is an answer's key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NotRequired, Protocol, TypedDict


class HeadObjectOutput(TypedDict):
    """The answer to head_object."""

    ContentLength: int
    ETag: str
    Metadata: NotRequired[dict[str, str]]


class Body(Protocol):
    """What an object's bytes are read from."""

    def read(self, amt: int | None = None) -> bytes: ...
    def close(self) -> None: ...


class GetObjectOutput(TypedDict):
    """The answer to get_object."""

    ETag: str
    Body: Body
    ContentRange: NotRequired[str]


class Item(TypedDict):
    """One object of a listing."""

    Key: str
    Size: int
    ETag: str


class ListObjectsOutput(TypedDict):
    """The answer to list_objects_v2."""

    Contents: NotRequired[list[Item]]
    IsTruncated: NotRequired[bool]
    NextContinuationToken: NotRequired[str]


class Events(Protocol):
    """A client's hooks. Handlers get what they take by keyword."""

    def register_first(self, event_name: str, handler: Callable[..., None]) -> None: ...
    def register_last(self, event_name: str, handler: Callable[..., None]) -> None: ...


class Meta(Protocol):
    """What a client knows of itself."""

    region_name: str
    events: Events


class Operation(Protocol):
    """The model of an operation, as hooks get it."""

    name: str


class S3Client(Protocol):
    """A client of S3."""

    meta: Meta

    def head_object(self, *, Bucket: str, Key: str) -> HeadObjectOutput: ...
    def get_object(self, *, Bucket: str, Key: str, Range: str = ...) -> GetObjectOutput: ...
    def put_object(
        self, *, Bucket: str, Key: str, Body: bytes, Metadata: Mapping[str, str]
    ) -> object: ...
    def delete_object(self, *, Bucket: str, Key: str) -> object: ...
    def list_objects_v2(
        self, *, Bucket: str, Prefix: str, ContinuationToken: str = ...
    ) -> ListObjectsOutput: ...


class Future(Protocol):
    """A transfer under way."""

    def result(self) -> object:
        """Waits for its end. Raises what went wrong."""


class Transfers(Protocol):
    """A transfer manager."""

    def download(
        self, bucket: str, key: str, fileobj: str, *, subscribers: Sequence[object]
    ) -> Future: ...
    def upload(
        self,
        fileobj: str,
        bucket: str,
        key: str,
        *,
        extra_args: Mapping[str, object],
        subscribers: Sequence[object],
    ) -> Future: ...
    def copy(
        self,
        copy_source: Mapping[str, str],
        bucket: str,
        key: str,
        *,
        extra_args: Mapping[str, object],
    ) -> Future: ...
