"""`python -m demo.local DIR`: the demo's data, and its training as a spec for `dino train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from demo import job
from demo.coco import ANNOTATIONS, IMAGES
from demo.digits import WITH_TEST, make_digits

SOURCES = {"train_data_sources": "train", "val_data_sources": "val", "test_data_sources": "test"}


def spec(folder: Path) -> job.Manifest:
    """The experiment of examples/digits-train.yaml, reading and writing below `folder`."""
    experiment: job.Manifest = job.example()["spec"]["experiment"]
    for key, split in SOURCES.items():
        files = {"image_dir": IMAGES, "json_file": ANNOTATIONS}
        experiment["dataset"][key] = [{k: str(folder / split / f) for k, f in files.items()}]
    return {**experiment, "results_dir": str(folder / "results")}


def main(arguments: list[str] | None = None) -> int:
    """Write both. Returns 0, or 1 after a sentence where the disk refuses."""
    parser = argparse.ArgumentParser(prog="python -m demo.local", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder: Path = parser.parse_args(arguments).folder
    path = folder / "spec.yaml"
    try:
        make_digits(folder, WITH_TEST)
        path.write_text(yaml.safe_dump(spec(folder), sort_keys=False))
    except OSError as error:
        print(f"error: {folder} cannot be written: {error}", file=sys.stderr)
        return 1
    print(f"{path} trains on the images beside it: dino preflight -e {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
