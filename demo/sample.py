"""`python -m demo.sample TO`: a sample dataset of handwritten digits, on S3 or in a folder."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from demo.digits import WITH_TEST, make_digits
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store

USES = {"train": "train", "validation": "val", "test": "test"}
"""Which split each list of `spec.datasets` is for."""


def put_sample(to: str) -> dict[str, str]:
    """Makes the splits, and copies them to below `to`; returns the URI of each.

    Raises TrainerError where the store refuses.
    """
    store = open_store(to)
    with tempfile.TemporaryDirectory() as aside:
        make_digits(Path(aside), WITH_TEST)
        for split in WITH_TEST:
            for path in sorted((Path(aside) / split).iterdir()):
                print(store.upload(path, f"{split}/{path.name}").uri)
    return {split: store.uri(split) for split in WITH_TEST}


def main(arguments: list[str] | None = None) -> int:
    """Makes and uploads them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.sample", description=__doc__)
    parser.add_argument("to", metavar="TO", help="s3://bucket/folder, or a folder")
    to: str = parser.parse_args(arguments).to
    try:
        uris = put_sample(to)
    except TrainerError as error:
        print(f"error: {error.message} {error.remedy}", file=sys.stderr)
        return error.exit_code
    print("spec.datasets:")
    for use, split in USES.items():
        print(f"  {use}: [{{uri: {uris[split]}}}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
