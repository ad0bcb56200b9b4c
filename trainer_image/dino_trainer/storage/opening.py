"""Opens the store that a URI names."""

from __future__ import annotations

from dino_trainer.errors import invalid_spec
from dino_trainer.storage.local import LocalStore
from dino_trainer.storage.store import Say, Store, print_line
from dino_trainer.storage.uris import local_path


def open_store(uri: str, say: Say = print_line) -> Store:
    """The store whose base is `uri`: a folder, `file://…` or `s3://bucket[/prefix]`.

    `say` hears about retries. Raises InvalidSpec for any other scheme. Opens no connection.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        return LocalStore(local_path(uri))
    if scheme != "s3":
        raise invalid_spec(
            f"{uri}: {scheme}:// is not supported.",
            "Use s3://bucket/path (any S3-compatible server) or a local folder.",
        )
    # boto3 takes a quarter of a second to import, which local runs need not pay.
    from dino_trainer.storage.s3 import open_s3

    return open_s3(uri, say)
