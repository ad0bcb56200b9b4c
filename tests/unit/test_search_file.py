"""`dino train --search`: what a draw of Katib, which is text, means to the experiment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dino_trainer.command.cli import main
from dino_trainer.errors import TrainerError
from dino_trainer.spec.search_file import with_draw

SPACE = [
    {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"},
    {"path": "model.num_queries", "min": 100, "max": 900},
    {"path": "train.optim.optimizer", "choices": ["AdamW", "SGD"]},
    {
        "path": "train.optim.momentum",
        "min": 0.5,
        "max": 0.99,
        "when": {"path": "train.optim.optimizer", "values": ["SGD"]},
    },
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    search, spec = tmp_path / "search.json", tmp_path / "spec.yaml"
    search.write_text(json.dumps({"space": SPACE}))
    spec.write_text("model: {enc_layers: 2}\n")
    return search, spec


def test_texts_get_the_types_of_their_keys(files: tuple[Path, Path]) -> None:
    drawn = ["train.optim.lr=0.00003", "model.num_queries=150.0", "results_dir=s3://b/t"]
    assert with_draw(*files, drawn) == [
        "results_dir=s3://b/t",
        "model.num_queries=150",
        "model.num_select=150",
        "train.optim.lr=3e-05",
    ]


def test_a_value_whose_condition_is_not_met_is_left_out(files: tuple[Path, Path]) -> None:
    drawn = ["train.optim.optimizer=AdamW", "train.optim.momentum=0.7"]
    assert with_draw(*files, drawn) == ['train.optim.optimizer="AdamW"']
    drawn[0] = "train.optim.optimizer=SGD"
    assert "train.optim.momentum=0.7" in with_draw(*files, drawn)


def test_what_the_template_says_is_not_said_again(files: tuple[Path, Path]) -> None:
    files[1].write_text("model: {num_select: 80}\n")
    assert with_draw(*files, ["model.num_queries=100"]) == ["model.num_queries=100"]


@pytest.mark.parametrize(
    "content, drawn, said",
    [
        ("{}", "train.optim.lr=0.1", "holds no search space"),
        ("[", "train.optim.lr=0.1", "holds no search space"),
        ("[" * 100_000, "train.optim.lr=0.1", "holds no search space"),
        (json.dumps({"space": SPACE}), "train.optim.lr=high", "must be a number, not 'high'"),
    ],
)
def test_bad_input_is_a_sentence(
    files: tuple[Path, Path], content: str, drawn: str, said: str
) -> None:
    files[0].write_text(content)
    with pytest.raises(TrainerError, match=said):
        with_draw(*files, [drawn])


def test_the_command_ends_with_a_sentence(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(files[0].with_name("none.json"))
    assert main(["train", "-e", str(files[1]), "--search", missing, "train.optim.lr=1"]) == 66
    assert f"There is no file {missing}." in capsys.readouterr().err
