"""`python -m demo.sample TO`: a sample dataset of handwritten digits, on S3 or in a folder."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from demo.digits import SCENES, make_digits
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store


def put_sample(to: str) -> list[str]:
    """Makes the splits `train` and `val`, and copies them to below `to`; returns their URIs.

    Raises TrainerError where the store refuses.
    """
    store = open_store(to)
    with tempfile.TemporaryDirectory() as aside:
        make_digits(Path(aside))
        for split in SCENES:
            for path in sorted((Path(aside) / split).iterdir()):
                print(store.upload(path, f"{split}/{path.name}").uri)
    return [store.uri(split) for split in SCENES]


def main(arguments: list[str] | None = None) -> int:
    """Makes and uploads them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.sample", description=__doc__)
    parser.add_argument("to", metavar="TO", help="s3://bucket/folder, or a folder")
    to: str = parser.parse_args(arguments).to
    try:
        train, val = put_sample(to)
    except TrainerError as error:
        print(f"error: {error.message} {error.remedy}", file=sys.stderr)
        return error.exit_code
    print("spec.datasets:")
    print(f"  train: [{{uri: {train}}}]")
    print(f"  validation: [{{uri: {val}}}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
