"""The record of each action, and that nobody else keeps a table keyed by action."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

import dino_trainer.actions
from dino_api.actions import ACTIONS, QUANTIZE_WEIGHTS, ActionFacts, DatasetSplit, facts_of
from dino_api.experiment import ExperimentSpec
from dino_api.experiment.dataset import DatasetConfig
from dino_api.experiment.paths import known_paths
from dino_api.formats import CALLED, ENDINGS, INT8, Format, endings, format_of
from dino_api.names import Action
from dino_api.resources.datasets import Datasets
from dino_api.resources.dinoautoml import FOLLOWERS
from dino_api.rules.resource.by_action import PARENT_RULES
from dino_trainer.command.action_help import HELP
from dino_trainer.model_files import naming
from tests.unit.action_tables import endings_in, in_repository, tables

ALLOWED = {
    ("api/dino_api/actions.py", "ACTIONS"): "the record",
    ("api/dino_api/names.py", "TRAINS"): "beside the enum; the record reads it",
    ("api/dino_api/resources/dinoautoml.py", "FollowerAction"): "a type; equal to the record",
    ("trainer_image/dino_trainer/command/action_help.py", "HELP"): "`dino --help`; the same keys",
}
FACTS = [*ACTIONS.values(), QUANTIZE_WEIGHTS]


def test_no_other_module_keeps_a_table_keyed_by_action() -> None:
    """A new one is a fact of `ActionFacts`, which all then read."""
    found = list(in_repository())
    assert sorted(found) == sorted(ALLOWED)


TABLES = {
    'WORK = {Action.TRAIN: "training", Action.EXPORT: "export"}': ["WORK"],
    '_T: dict = M({"train": 1, "evaluate": 2})': ["_T"],
    "def f():\n    if action in (Action.QUANTIZE, Action.EXPORT):\n        pass": [
        "if action in (Action.QUANTIZE, Action.EXPORT):"
    ],
    "MANY = (*TRAINS, Action.EVALUATE)": ["MANY"],
    "X = {each: 1 for each in Action}": ["X"],
    "X = dict.fromkeys(TRAINS, 1)": ["X"],
    'X = Literal["train", "export"]': ["X"],
    "X = {Action.TRAIN: 1}": [],
    'PARTS = ("train", "validation")': [],
    "ALL = {*Action}": [],
    "X = a is Action.TRAIN or b": [],
}


@pytest.mark.parametrize("source", TABLES)
def test_a_table_is_seen(source: str) -> None:
    assert tables(source) == TABLES[source]


def test_formats_and_endings_stand_once() -> None:
    assert list(in_repository(endings_in)) == [("api/dino_api/formats.py", "ENDINGS")]
    assert set(ENDINGS.values()) == set(get_args(Format))
    assert set(CALLED) == {*get_args(Format), INT8}
    root = Path(__file__).parents[2]
    written = [
        str(path.relative_to(root))
        for folder in ("api", "operator", "trainer_image")
        for path in sorted((root / folder).rglob("*.py"))
        if 'Literal["checkpoint", "onnx"' in path.read_text()
    ]
    assert written == ["api/dino_api/formats.py"]


def test_every_action_has_a_record_a_module_and_a_page_of_help() -> None:
    assert set(ACTIONS) == set(HELP) == set(Action)
    folder = Path(dino_trainer.actions.__file__).parent
    for action, facts in ACTIONS.items():
        assert facts.action is action
        module = ast.parse((folder / f"{action}.py").read_text())  # to import it takes torch
        assert "run" in {each.name for each in module.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("facts", FACTS, ids=lambda each: f"{each.action}-{each.leaves}")
def test_a_record_says_what_the_sections_have(facts: ActionFacts) -> None:
    own = set(type(getattr(ExperimentSpec(), facts.action)).model_fields)
    shape = set(type(getattr(ExperimentSpec(), facts.section)).model_fields)
    assert set(facts.model_keys) | set(facts.writes) <= own
    assert facts.own_input == ({"batch_size", "input_width", "input_height"} <= own)
    assert facts.says_gpus == ("num_gpus" in shape)
    assert facts.scores == ("max_detections" in shape)
    assert facts.several == ("num_processes" in shape)
    assert set(facts.sections) <= set(ExperimentSpec.model_fields)
    assert {*facts.takes, facts.leaves} <= {*CALLED, None}
    assert bool(facts.file) == bool(facts.leaves)
    assert facts.needs is None or facts.needs in facts.reads
    assert not facts.file or facts.file.endswith(endings("checkpoint", str(facts.leaves)))


@pytest.mark.parametrize("facts", FACTS, ids=lambda each: f"{each.action}-{each.leaves}")
def test_keys_that_lack_memory_are_keys(facts: ActionFacts) -> None:
    words = facts.less_memory.replace(",", " ").replace(":", " ").replace(")", " ").split()
    named = [each for each in words if "." in each]
    assert set(named) <= set(known_paths())
    assert named, "it says a key to lower"


def test_data_is_called_as_the_resource_and_the_experiment_call_it() -> None:
    assert {each.value for each in DatasetSplit} == set(Datasets.model_fields)
    assert {each.key for each in DatasetSplit} == {
        name for name in DatasetConfig.model_fields if name.endswith("_data_sources")
    }


def test_what_follows_a_search() -> None:
    assert tuple(each.action for each in ACTIONS.values() if each.follows) == FOLLOWERS


def test_weights_alone_are_another_kind_of_quantizing() -> None:
    assert facts_of(Action.QUANTIZE, weights=True).leaves == INT8
    assert facts_of(Action.EXPORT, weights=True) is ACTIONS[Action.EXPORT]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_api_server_the_plan_and_the_trainer_know_the_same_files(ending: str) -> None:
    """A checkpoint in .ckpt or .safetensors, which the trainer opens, could be no parent."""
    uri = f"s3://bucket/some/model{ending}"
    assert naming.model_format(uri) == format_of(uri) == ENDINGS[ending]
    asked = next(each for each in PARENT_RULES if each.id == "parent-uri")
    assert ending in asked.must
    assert ending.removeprefix(".") in asked.cel
    assert format_of("s3://bucket/model.zip") is None


def test_what_gates_read_besides_is_a_key_of_the_section_that_scores() -> None:
    gates = {action for action, facts in ACTIONS.items() if facts.also_reads}
    assert gates == {Action.EXPORT, Action.QUANTIZE, Action.GEN_TRT_ENGINE}
    for action in gates:
        for path in ACTIONS[action].also_reads:
            assert path in known_paths()
            assert ACTIONS[action].reads_key(path)
            assert not ACTIONS[action].reads_key("evaluate.batch_size")
    assert not ACTIONS[Action.TRAIN].reads_key("evaluate")
