"""Lets annotation tools write COCO, and takes what they wrote through preflight and a training.

    uv run --frozen --all-extras python -m tests.exports [TOOL …] [--into DIR]

Fetches the tools' newest releases from PyPI, each into a venv of its own below DIR (build/exports).
It prints what each wrote and what became of it, and leaves `record.json` there. It is no test:
the tools change. `tests/unit/test_preflight_exports.py` holds the shapes that were seen.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.exports.scene import draw
from tests.exports.shape import shape

HERE = Path(__file__).resolve().parent
# What is installed beside a tool: an older pandas, as PyLabel fails with 3; what hotcoco asks for.
TOOLS = {
    "datumaro": [],
    "darwin-py": [],
    "fiftyone": [],
    "globox": [],
    "hotcoco": ["pillow"],
    "label-studio-sdk": [],
    "labelme2coco": [],
    "pylabel": ["pandas<3"],
    "sahi": [],
    "supervision": [],
}
SPEC = {
    "dataset": {"batch_size": 1, "workers": 0, "augmentation": {"fixed_size": [96, 128]}},
    "model": {
        "backbone": "timm/tf_efficientnet_lite0",
        "pretrained_backbone_path": "imagenet",
        "return_interm_indices": [2, 3],
        "num_feature_levels": 2,
        "enc_layers": 1,
        "dec_layers": 1,
        "hidden_dim": 64,
        "dim_feedforward": 64,
        "nheads": 4,
        "num_queries": 50,
        "num_select": 50,
        "dn_number": 50,
    },
    "train": {"num_epochs": 1, "num_gpus": 0, "seed": 1},
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("tools", nargs="*", metavar="TOOL")
    arguments.add_argument("--into", type=Path, default=Path("build/exports"), metavar="DIR")
    given = arguments.parse_args()
    root = given.into.resolve()
    draw(root / "scene")
    record = [seen for tool in given.tools or TOOLS for seen in exports(tool, root)]
    (root / "record.json").write_text(json.dumps(record, indent=1))
    print(
        f"\n{len(record)} files of {len({one['tool'] for one in record})} tools: {root}/record.json"
    )


def exports(tool: str, root: Path) -> list[dict[str, Any]]:
    """All that one tool writes, and what became of each."""
    python, out = root / "venv" / tool / "bin/python", root / "wrote" / tool
    release = installed(tool, python)
    if release is None:
        return []
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    script = HERE / "tools" / f"with_{tool.replace('-', '_')}.py"
    ran = run(python, script, root / "scene", out, cwd=out)
    if ran.returncode:
        print(f"\n{tool} {release} failed:\n{ran.stderr[-2000:]}")
    told = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"what"')]
    return [judged(tool, release, one, root / "runs" / f"{tool}-{n}") for n, one in enumerate(told)]


def installed(tool: str, python: Path) -> str | None:
    """The release of `tool`, in a venv; None where it does not install, and the reason printed."""
    uv = os.environ.get("UV") or shutil.which("uv") or "uv"
    run(uv, "venv", "--quiet", "--clear", python.parents[1])
    got = run(uv, "pip", "install", "--quiet", "--python", python, tool, *TOOLS[tool])
    if got.returncode:
        print(f"\n{tool} cannot be installed:\n{got.stderr[-2000:]}")
        return None
    asked = f"import importlib.metadata as m; print(m.version({tool!r}))"
    return run(python, "-c", asked).stdout.strip()


def judged(tool: str, release: str, export: dict[str, str], folder: Path) -> dict[str, Any]:
    """Preflight and a training of one export, in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = [{"image_dir": export["images"], "json_file": export["annotations"]}]
    data = {**SPEC["dataset"], "train_data_sources": source}
    if export["validation"]:
        data["val_data_sources"] = [{**source[0], "json_file": export["validation"]}]
    spec = {**SPEC, "dataset": data, "results_dir": str(folder / "out")}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    checked, trained = dino("preflight", folder), dino("train", folder)
    seen = {
        "tool": tool,
        "release": release,
        "what": export["what"],
        "shape": shape(Path(export["annotations"])),
        "preflight": checked.returncode,
        "findings": findings(folder),
        "train": trained.returncode,
        "said": said(trained),
    }
    tell(seen)
    return seen


def dino(action: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`dino ACTION -e spec.yaml`, with one thread."""
    command = Path(sys.executable).with_name("dino")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DINO_WORK_DIR": str(folder / "work")}
    return run(command, action, "-e", folder / "spec.yaml", env=env)


def findings(folder: Path) -> list[str]:
    """`error box-entry: …` for each, without the one that we cause."""
    report = folder / "out/preflight/report.json"
    found = json.loads(report.read_text())["findings"] if report.is_file() else []
    lines = [f"{one['severity']} {one['id']}: {one['message']}" for one in found]
    return [line for line in lines if " validation-omitted:" not in line]


def said(ran: subprocess.CompletedProcess[str]) -> str:
    """The last lines of a run that failed, else the line with its score."""
    lines = (ran.stdout + ran.stderr).strip().splitlines()
    scores = [line for line in lines if "mAP" in line]
    return (scores or [""])[-1].strip() if ran.returncode == 0 else "\n".join(lines[-6:])


def tell(seen: dict[str, Any]) -> None:
    print(f"\n{seen['tool']} {seen['release']}, {seen['what']}")
    for key, value in seen["shape"].items():
        print(f"  {key}: {value}")
    print(f"  preflight ends with {seen['preflight']}, train with {seen['train']}: {seen['said']}")
    for line in seen["findings"]:
        print(f"    {line}")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


if __name__ == "__main__":
    main()
