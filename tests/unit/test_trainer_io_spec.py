"""The spec file behind `-e` is read as kubectl would read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dino_trainer.errors import TrainerError
from dino_trainer.spec_file import read_mapping, read_spec

DATA = "results_dir: /r\ndataset:\n  train_data_sources: [{image_dir: /a, json_file: /a.json}]\n"


def a_file(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


def test_numbers_with_exponents_and_words_for_flags(tmp_path: Path) -> None:
    text = "train: {num_epochs: 1e1, optim: {lr: 1e-4}, ema: {enabled: on}, seed: 0x10}\n"
    mapping = read_mapping(a_file(tmp_path, text))["train"]
    assert (mapping["num_epochs"], mapping["optim"]["lr"]) == (10, 0.0001)
    assert (mapping["ema"]["enabled"], mapping["seed"]) == (True, 16)
    spec, _ = read_spec(a_file(tmp_path, DATA + text), ["train.num_epochs=1.2e1"])
    assert spec.train.num_epochs == 12


BAD = {
    "a number in quotes": (
        'train: {num_epochs: "10"}',
        'train.num_epochs: must be a whole number (given "10"). It is text: write 10',
    ),
    "a key that stands twice": ("a: 1\na: 2", "the key 'a' stands twice at line 2, column 1"),
    "no number of JSON": ("a: .inf", "JSON has neither infinity nor .nan"),
    "a key without a value": ("train: {num_epochs: }", "train.num_epochs: must be a whole number"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TrainerError) as caught:
        read_spec(a_file(tmp_path, text), [])
    assert said in caught.value.message
