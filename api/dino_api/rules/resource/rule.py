"""The form of a rule about the resource, and what rules of several files share."""

from __future__ import annotations

from dataclasses import dataclass

S3 = "write s3://bucket/path; set another server than AWS by spec.storage.endpoint"
_BELOW = "must be a name below uri, without .."


@dataclass(frozen=True)
class ResourceRule:
    """One statement about the resource.

    scope: dotted path, below the object, of what CEL's `self` is; `[]` means each entry.
    path: the field below it that is named, empty for the scope itself. cel: true where it holds.
    """

    id: str
    scope: str
    path: str
    must: str
    remedy: str
    cel: str

    @property
    def message(self) -> str:
        """The sentence of the API server; it puts the path before it."""
        leaf = self.path or self.scope.rpartition(".")[2].removesuffix("[]")
        return f"{leaf} {self.must}: {self.remedy}"


def is_s3(name: str) -> str:
    """CEL that says whether the field is an s3:// URI with a bucket."""
    return f"self.{name}.matches('^s3://[a-z0-9][a-z0-9.-]+(/.*)?$')"


def in_bucket(id: str, scope: str) -> ResourceRule:
    """The rule of a `uri` that must be an s3:// URI with a bucket."""
    return ResourceRule(id, scope, "uri", "must be an s3:// URI with a bucket", S3, is_s3("uri"))


def sources(scope: str, names: tuple[str, ...]) -> tuple[ResourceRule, ...]:
    """Rules of one source of data. names: its fields that name something below its uri."""
    part = scope.rpartition(".")[2].removesuffix("[]")
    return (
        in_bucket(f"datasets-{part}-uri", scope),
        *(
            ResourceRule(
                f"{part}-{name}",
                scope,
                name,
                _BELOW,
                "move it there",
                f"!has(self.{name}) || !self.{name}.matches('^/|[.][.]|://')",
            )
            for name in names
        ),
    )
