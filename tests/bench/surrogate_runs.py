"""Real trainings that the surrogate of tests/bench/surrogate.py is fitted to.

`python -m tests.bench.surrogate_runs DATA` trains a small DINO on the BCCD photographs once for
each setting, one value changed at a time, and adds what it scored to surrogate_runs.json. What is
already there is not run again. 1 to 3 minutes each on a core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.bench.harness import cannot_run

HERE = Path(__file__).parent
RUNS = HERE / "surrogate_runs.json"
EXAMPLE = HERE.parents[1] / "examples" / "bccd-train.yaml"
# A quarter of the example's pixels and less than half of its steps: 204.
SHORT: dict[str, Any] = {
    "dataset.augmentation.fixed_size": [160, 208],
    "train.num_epochs": 4,
    "train.validation_interval": 1,
}
BASE: dict[str, Any] = {
    "train.optim.lr": 0.0004,
    "train.optim.lr_backbone": 0.00004,
    "train.optim.weight_decay": 0.0001,
    "model.num_queries": 100,
    "model.dropout_ratio": 0.0,
}
VALUES: dict[str, list[float]] = {
    "train.optim.lr": [1e-5, 1e-4, 2e-4, 8e-4, 1.6e-3, 3e-3, 1e-2, 0.1],
    "train.optim.lr_backbone": [4e-6, 4e-4, 0.1],
    "model.num_queries": [40, 170],
    "train.optim.weight_decay": [1e-2, 0.1],
    "model.dropout_ratio": [0.3],
}


def settings() -> Iterator[dict[str, Any]]:
    """What differs from the base, one run each; the base three times, for its noise."""
    for seed in (1234, 1, 2):
        yield {"train.seed": seed}
    for path, values in VALUES.items():
        yield from ({path: value} for value in values)


def run(changed: dict[str, Any], data: Path, folder: Path) -> dict[str, Any]:
    """One training: {changed, curve of mAP50, best mAP50, or the reason of its failure}."""
    manifest = yaml.safe_load(EXAMPLE.read_text())
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(manifest["spec"]["experiment"]))
    sources = {
        f"dataset.{name}_data_sources": [
            {
                "image_dir": str(data / part / "images.tar.gz"),
                "json_file": str(data / part / "annotations.json"),
            }
        ]
        for name, part in (("train", "train"), ("val", "val"))
    }
    values = {**BASE, **SHORT, **sources, "train.num_gpus": 0, **changed}
    # Of 20 cells in a photograph no more can be found than there are queries.
    values["model.num_select"] = min(100, int(values["model.num_queries"]))
    overrides = [f"{path}={json.dumps(value)}" for path, value in values.items()]
    command = [sys.executable, "-m", "dino_trainer", "train", "-e", str(spec)]
    command += [f"results_dir={folder / 'results'}", *overrides]
    subprocess.run(command, env=dict(os.environ, OMP_NUM_THREADS="1"), check=False)
    told = json.loads((folder / "results" / "train" / "result.json").read_text())
    failure = told.get("failure")
    curve = [point["mAP50"] for point in told.get("curve") or []]
    return {
        "changed": changed,
        "curve": curve,
        "mAP50": max(curve, default=0.0),
        **({"failure": failure["reason"]} if failure else {}),
    }


def main(arguments: list[str]) -> None:
    """Runs what is missing; each result is written as soon as it is there."""
    if not arguments:
        cannot_run("Its results are in surrogate_runs.json; it needs the BCCD folder to run again.")
    data = Path(arguments[0]).resolve()
    done = json.loads(RUNS.read_text())["runs"] if RUNS.exists() else []
    known = [one["changed"] for one in done]
    for changed in settings():
        if changed in known:
            continue
        with tempfile.TemporaryDirectory() as folder:
            done.append(run(changed, data, Path(folder)))
        RUNS.write_text(json.dumps({"base": BASE, "short": SHORT, "runs": done}, indent=1) + "\n")
        print(done[-1], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
