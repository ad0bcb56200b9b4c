"""What CONTRIBUTING.md says how to add, added to a copy of the sources: which files it takes.

A recipe makes the smallest change that works. Where the sources differ by now, mend the recipe;
where it takes another file, say so in CONTRIBUTING.md. `recipe_checks.py` has what works then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
API, OPERATOR, TRAINER = "api/dino_api", "operator/dino_operator", "trainer_image/dino_trainer"
PACKAGES = (API, OPERATOR, TRAINER)


@dataclass(frozen=True)
class Change:
    """What stands in the file once, and what stands there instead; without it, a new file."""

    file: str
    old: str
    new: str


def before(file: str, old: str, text: str) -> Change:
    """Puts the text before what stands there."""
    return Change(file, old, text + old)


def after(file: str, old: str, text: str) -> Change:
    """Puts the text after what stands there."""
    return Change(file, old, old + text)


@dataclass(frozen=True)
class Recipe:
    """section: its heading in CONTRIBUTING.md. check: a function of `recipe_checks.py`.

    sometimes: files that the section names for other cases than that of the recipe.
    """

    section: str
    check: str
    changes: tuple[Change, ...]
    sometimes: frozenset[str] = frozenset()

    @property
    def files(self) -> set[str]:
        """The files that change, and those that are new."""
        return {each.file for each in self.changes}


def carried_out(recipe: Recipe, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the check on a copy of the packages with the change in it."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for change in recipe.changes:
        _make(change, folder / change.file)
    parents = [str((folder / package).parent) for package in PACKAGES]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*parents, str(ROOT)])}
    command = [sys.executable, "-m", "tests.unit.recipe_checks", recipe.check]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)


def _make(change: Change, path: Path) -> None:
    text = path.read_text() if change.old else ""
    times = text.count(change.old) if change.old else int(not path.exists())
    assert times == 1, f"{change.file} has {change.old!r} {times} times, or is there already"
    path.write_text(text.replace(change.old, change.new) if change.old else change.new)


ACTION = Recipe(
    "One more action",
    "action",
    (
        after(f"{API}/names.py", '    DISTILL = "distill"\n', '    BENCHMARK = "benchmark"\n'),
        before(
            f"{API}/actions.py",
            "        Action.DISTILL: ActionFacts(\n",
            """\
        Action.BENCHMARK: ActionFacts(
            Action.BENCHMARK,
            work="benchmark",
            verb="measure how fast a model is",
            less_memory=_at_size_of(Action.BENCHMARK),
            takes=_ANY_MODEL,
            own_input=True,
            follows=False,
        ),
""",
        ),
        before(
            f"{API}/experiment/actions.py",
            "class WandbConfig(Section):\n",
            """\
class BenchmarkConfig(Section):
    checkpoint: str = model_key("Checkpoint to measure. Empty: the latest of train.")
    onnx_file: str = model_key("ONNX file to measure instead.")
    trt_engine: str = model_key("TensorRT engine to measure instead.")
    results_dir: str = results_key("benchmark")
    batch_size: Int = _batch()
    input_width: Side | None = _side("width")
    input_height: Side | None = _side("height")
    repeats: Int = key(100, "How often each image is measured.", ge=1, le=10000)


""",
        ),
        before(f"{API}/experiment/spec.py", "    DistillConfig,\n", "    BenchmarkConfig,\n"),
        before(
            f"{API}/experiment/spec.py",
            "    wandb: WandbConfig | None",
            """\
    benchmark: Annotated[BenchmarkConfig, OrAbsent] = Field(
        default_factory=BenchmarkConfig, description="Measures how fast a model is."
    )
""",
        ),
        Change(
            f"{TRAINER}/actions/benchmark.py",
            "",
            """\
from dino_api.result import Result


def run(spec, context):
    context.reporter.event(f"Measured {spec.benchmark.repeats} times.")
    return Result()
""",
        ),
        before(
            f"{TRAINER}/command/action_help.py",
            "    Action.DISTILL: ActionText(\n",
            """\
    Action.BENCHMARK: ActionText("measure a model", "Measures it.", _EVALUATE, _EVALUATE_RESULTS),
""",
        ),
    ),
    frozenset({f"{API}/rules/experiment/actions.py"}),
)

FORMAT = Recipe(
    "One more format of model files",
    "model_format",
    (
        Change(f"{API}/formats.py", '"onnx", "engine"]\n', '"onnx", "engine", "xyz"]\n'),
        after(f"{API}/formats.py", '        ".engine": "engine",\n', '        ".xyz": "xyz",\n'),
        after(
            f"{API}/formats.py",
            '        "engine": "a TensorRT engine",\n',
            '        "xyz": "an XYZ file",\n',
        ),
        Change(
            f"{API}/actions.py",
            '"engine": "trt_engine"}\n',
            '"engine": "trt_engine", "xyz": "xyz_file"}\n',
        ),
        before(
            f"{API}/experiment/actions.py",
            '    results_dir: str = results_key("evaluate")\n',
            '    xyz_file: str = model_key("XYZ file to evaluate instead.")\n',
        ),
        before(
            f"{API}/experiment/actions.py",
            '    results_dir: str = results_key("inference")\n',
            '    xyz_file: str = model_key("XYZ file to run instead.")\n',
        ),
        before(
            f"{TRAINER}/model/file_kind.py",
            '    if head[4:8] == b"TFL3":\n',
            """\
    if head.startswith(b"XYZ1"):
        return FileKind("", CALLED["xyz"], "Name it where XYZ files are taken.", "xyz")
""",
        ),
        after(
            f"{TRAINER}/model_files/outline.py",
            '    "engine": _of_engine,\n',
            '    "xyz": lambda file, model: None,\n',
        ),
        before(
            f"{TRAINER}/detectors/opening.py",
            '        case "checkpoint":\n',
            """\
        case "xyz":
            from dino_trainer.detectors.xyz_detector import open_xyz

            return open_xyz(path, file)
""",
        ),
        Change(
            f"{TRAINER}/detectors/xyz_detector.py",
            "",
            """\
from dino_trainer.errors import invalid_spec


def open_xyz(path, file):
    raise invalid_spec(f"{file.uri} was opened as an XYZ file.")
""",
        ),
        before(
            f"{TRAINER}/command/action_help.py",
            "  dino evaluate -e spec.yaml evaluate.num_gpus=0 ",
            "  dino evaluate -e spec.yaml evaluate.xyz_file=results/model.xyz\n",
        ),
        before(
            f"{OPERATOR}/plan/rendered/model_files.py",
            '    ("onnx", "checkpoint"): ',
            """\
    ("onnx", "xyz"): "name the export that the XYZ file was made from",
    ("checkpoint", "xyz"): "name the training that the XYZ file was made from",
""",
        ),
    ),
    frozenset(
        f"{TRAINER}/{each}.py" for each in ("data/decode", "first_bytes", "model_files/naming")
    ),
)

FAILURE = Recipe(
    "One more failure reason",
    "failure",
    (
        before(
            f"{API}/names.py",
            '    PREEMPTED = "Preempted"',
            '    LICENSE_EXPIRED = "LicenseExpired", "the licence of the weights has run out"\n',
        ),
        after(
            f"{API}/failures.py",
            "TABLE: tuple[FailureRule, ...] = (\n",
            '    FailureRule(81, FailureReason.LICENSE_EXPIRED, "never", "Renew the licence."),\n',
        ),
        before(
            f"{TRAINER}/errors.py",
            "    if is_of_memory(error):\n",
            """\
    if type(error).__name__ == "LicenseError":
        return TrainerError(FailureReason.LICENSE_EXPIRED, f"The licence ended {error}.")
""",
        ),
    ),
    frozenset({f"{OPERATOR}/plan/observed/failure.py"}),
)

FIELD = Recipe(
    "One more field of a DinoJob",
    "field",
    (
        before(
            f"{API}/resources/dinojob.py",
            "    parent: Parent | None = Field(\n",
            """\
    note: str | None = Field(None, max_length=NAME, description="A remark of yours.")
""",
        ),
        before(f"{API}/names.py", '    ATTEMPT = "DINO_ATTEMPT"\n', '    NOTE = "DINO_NOTE"\n'),
        before(
            f"{OPERATOR}/plan/rendered/pods.py",
            "    if not attempt.preflight:\n        plain[",
            "    if spec.note is not None:\n        plain[Env.NOTE] = spec.note\n",
        ),
    ),
)

RECIPES = (ACTION, FORMAT, FAILURE, FIELD)
