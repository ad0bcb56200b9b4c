"""The spec file behind `-e` is read as kubectl would read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dino_api.experiment.interpolation import _Resolver
from dino_trainer.errors import TrainerError
from dino_trainer.spec.file import read_mapping, read_spec_file

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
    spec, _ = read_spec_file(a_file(tmp_path, DATA + text), ["train.num_epochs=1.2e1"])
    assert spec.train.num_epochs == 12


@pytest.mark.parametrize("wrong", ["", "model: {num_queries: 0, num_select: '${no.such}'}\n"])
def test_references_are_resolved_once(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the spec is refused, for what is wrong and for what is lacking at once."""
    resolve, calls = _Resolver.all, []

    def counted(self, action):
        calls.append(action)
        return resolve(self, action)

    monkeypatch.setattr(_Resolver, "all", counted)
    text = "results_dir: /r\ntrain: {results_dir: '${results_dir}/train'}\n"
    given = ["dataset.train_data_sources=[{image_dir: /a, json_file: /b}]"]
    path = a_file(tmp_path, text + wrong)
    if wrong:
        with pytest.raises(TrainerError) as caught:
            read_spec_file(path, [])
        for key in ("model.num_queries", "model.num_select", "dataset.train_data_sources"):
            assert key in caught.value.message
    else:
        assert read_spec_file(path, given)[0].train.results_dir == "/r/train"
    assert len(calls) == 1


BAD = {
    "a number in quotes": (
        'train: {num_epochs: "10"}',
        'train.num_epochs: must be a whole number (given "10"). It is text: write 10',
    ),
    "a key that stands twice": ("a: 1\na: 2", "the key 'a' stands twice at line 2, column 1"),
    "no number of JSON": ("a: .inf", "JSON has neither infinity nor .nan"),
    "a template that nobody filled in": (
        "# {{ a }}\nmodel: {}\nresults_dir: {{ results_dir }}",
        "the value of results_dir is {{ results_dir }}, a template that nobody filled in, at "
        "line 3",
    ),
    "one between keys": ("a: 1\n{% if b %}", "it has {% if b %}, a template that nobody filled in"),
    "a template in quotes": (
        'a: 1\nresults_dir: "{{ x }}/y"',
        "line 2: results_dir: holds {{ x }}",
    ),
    "a template in a list of JSON": (
        '{"results_dir": "r",\n\t"train": {"freeze": ["{{ part }}"]}}',
        "line 2: train.freeze[0]: holds {{ part }}",
    ),
    "a number of JSON that is no whole one": (
        '{"train": {"optim": {},\n\t"num_epochs": 1.5}}',
        "line 2: train.num_epochs: must be a whole number (given 1.5)",
    ),
    "a key that stands twice in JSON": (
        '{"train": {"seed": 1,\n "seed": 2}}',
        "the key 'seed' stands twice at line 2",
    ),
    "an unknown key": ("train:\n  num_epoch: 3", "line 2: train.num_epoch: there is no such key"),
    "a reference": (
        "results_dir: /r\ntrain:\n  freeze: ['${x.y}']",
        "line 3: train.freeze[0]: refers",
    ),
    "a value that is missing": ("train:\n  seed: ???", "line 2: train.seed: is ???"),
}


def test_what_the_command_line_gives_has_no_line(tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        read_spec_file(a_file(tmp_path, "train:\n  seed: 1"), ["train.seed=x"])
    assert "  train.seed: must be a whole number" in caught.value.message


def test_null_is_as_if_it_were_left_out(tmp_path: Path) -> None:
    text = f"{DATA}train:\n  num_epochs:\n  optim: null\nmodel: ~\nevaluate:\n"
    spec, notes = read_spec_file(a_file(tmp_path, text), ["train.seed=null"])
    plain, _ = read_spec_file(a_file(tmp_path, DATA), [])
    assert spec == plain
    said = "has no value (null), and is taken as left out."
    told = [note.removeprefix("warning: ") for note in notes if "null" in note]
    assert sorted(told) == [
        f"line 5: train.num_epochs: {said} The default is 10.",
        f"line 6: train.optim: {said}",
        f"line 7: model: {said}",
        f"train.seed: {said} The default is 1234.",
    ]


def test_a_missing_value_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        read_spec_file(a_file(tmp_path, DATA.replace("/r", "???")), [])
    assert "has 1 problem:\n  line 1: results_dir: is ???" in caught.value.message


def test_references_are_resolved_after_the_command_line(tmp_path: Path) -> None:
    text = DATA + "evaluate: {results_dir: '${results_dir}/eval'}\n"
    spec, _ = read_spec_file(a_file(tmp_path, text), ["results_dir=/other"])
    assert spec.evaluate.results_dir == "/other/eval"


def test_numbers_of_json(tmp_path: Path) -> None:
    text = '{"results_dir": "/r", "train": {"num_epochs": 1e1, "seed": 3.0, "optim": {"lr": 1E-4}}}'
    train = read_mapping(a_file(tmp_path, text))["train"]
    assert train == {"num_epochs": 10, "seed": 3, "optim": {"lr": 0.0001}}
    assert type(train["num_epochs"]) is type(train["seed"]) is int


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TrainerError) as caught:
        read_spec_file(a_file(tmp_path, text), [])
    assert said in caught.value.message
