"""Loading an experiment: every problem at once, nearest names, warnings, overrides, digest."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_api.experiment import ExperimentSpec, digest
from dino_api.experiment.interpolation import MOST_VALUES
from dino_api.experiment.paths import (
    LONGEST_HINTED,
    MOST_HINTS,
    SYNONYMS,
    field_at,
    known_paths,
    nearest,
)
from dino_api.kubectl_yaml.reader import read
from dino_api.loading import load
from dino_api.names import Action
from dino_api.problem import Problem, SpecErrors, render
from dino_api.result import MOST_CLASSES
from dino_api.rules.experiment import RULES
from tests.unit.api_rule_cases import CASES, RuleCase


def problems_of(
    mapping: dict[str, Any], *overrides: str, action: Action = Action.TRAIN
) -> list[Problem]:
    """All problems, whether they are errors or warnings."""
    try:
        return load(mapping, overrides, action)[1]
    except SpecErrors as errors:
        return errors.problems


def ids_of(mapping: dict[str, Any], action: Action) -> set[str]:
    return {problem.id for problem in problems_of(mapping, action=action)}


def test_an_empty_spec_has_tao_s_defaults() -> None:
    spec, _ = load({})
    assert spec.model.backbone == "resnet_50"
    assert spec.model.num_queries == 300
    assert spec.model.return_interm_indices == [1, 2, 3, 4]
    assert spec.train.optim.lr == 2e-4
    assert spec.train.clip_grad_norm == 0.1
    assert spec.dataset.augmentation.fixed_random_crop is None


def test_no_model_has_more_classes_than_its_file_may_name() -> None:
    """Else a training of hours would end in a checkpoint that no action takes."""
    most = {"num_classes": MOST_CLASSES, "eval_class_ids": [MOST_CLASSES - 1]}
    assert load({"dataset": most})[0].dataset.num_classes == MOST_CLASSES
    for key, value in (("num_classes", MOST_CLASSES + 1), ("eval_class_ids", [MOST_CLASSES])):
        paths = [each.path for each in problems_of({"dataset": {key: value}})]
        assert any(path.startswith(f"dataset.{key}") for path in paths), paths


def test_an_empty_file_is_an_empty_spec() -> None:
    assert load(None)[0] == ExperimentSpec()


def test_every_rule_has_a_case() -> None:
    assert {rule.id for rule in RULES} == CASES.keys(), "tests/unit/api_rule_cases.py has them"
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("id", CASES)
def test_a_rule_sees_the_broken_spec_and_leaves_its_neighbour(id: str) -> None:
    case: RuleCase = CASES[id]
    assert id in ids_of(case.loaded(case.broken), case.action)
    assert id not in ids_of(case.loaded(case.fine), case.action)


def test_a_rule_about_another_action_is_not_asked() -> None:
    """A spec of TAO's serves all actions, and its other sections are no reason not to train."""
    broken = CASES["export-opset"].broken | CASES["quantize-backend"].broken
    broken |= {"train": {"optim": {"lr_steps": [5]}, "pretrained_model_path": "a.pth"}}
    assert ids_of(broken, Action.TRAIN) == {"other-action"}
    assert "export-opset" in ids_of(broken, Action.EXPORT)
    assert "rate-drops" not in ids_of(CASES["rate-drops"].broken, Action.EVALUATE)
    for action in Action:
        assert "levels-agree" in ids_of(CASES["levels-agree"].broken, action)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_names_keys_that_exist(rule: Any) -> None:
    for path in rule.keys:
        field_at(path)


UNKNOWN = {
    "a misspelt key": ("train.optim.lr_backbne", ["train.optim.lr_backbone"]),
    "a key at another level": ("dataset.num_queries", ["model.num_queries"]),
    "a key at the root": ("batch_size", ["dataset.batch_size"]),
    "another project's word": ("train.optim.learning_rate", ["train.optim.lr"]),
    "a misspelt section": ("trian", ["train"]),
    "epochs without num": ("train.epochs", ["train.num_epochs"]),
}


@pytest.mark.parametrize(("path", "wanted"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_the_nearest_name_is_suggested(path: str, wanted: list[str]) -> None:
    [problem] = [one for one in problems_of({}, f"{path}=1") if one.id == "unknown-key"]
    assert problem.path == path
    assert nearest(path)[: len(wanted)] == wanted
    assert f"Did you mean {wanted[0]}" in render(problem)


def test_at_most_three_names_and_none_for_nonsense() -> None:
    assert all(len(nearest(path + "x")) <= 3 for path in known_paths()[::8])
    assert nearest("xyzzy.plugh") == []


@pytest.mark.parametrize(
    "mapping",
    [
        {"train": {f"num_epochs{number}": 1 for number in range(MOST_HINTS + 30)}},
        {f"a{number}": f"${{train.num_epochs{number}}}" for number in range(MOST_HINTS + 30)},
    ],
    ids=["keys", "references"],
)
def test_of_many_wrong_names_the_first_are_compared_with_known_ones(
    mapping: dict[str, Any],
) -> None:
    """Each comparison takes a millisecond, in the operator as well."""
    remedies = [problem.remedy for problem in problems_of(mapping)]
    assert sum("Did you mean" in remedy for remedy in remedies) == MOST_HINTS
    assert len(remedies) >= MOST_HINTS + 30


def test_a_path_longer_than_any_is_compared_with_none() -> None:
    assert nearest("train." + "num_epochs" * 100) == []
    assert len(max(known_paths(), key=len)) * 2 < LONGEST_HINTED


@pytest.mark.parametrize(
    "mapping",
    [
        {f"a{number}": 1 for number in range(MOST_VALUES + 1)},
        {"dataset": {"eval_class_ids": ["x"] * (MOST_VALUES + 1)}},
        {"dataset": {"eval_class_ids": [[]] * (MOST_VALUES + 1)}},
    ],
    ids=["keys", "values", "lists"],
)
def test_of_a_spec_longer_than_any_that_alone_is_said(mapping: dict[str, Any]) -> None:
    """A sentence about each would take the operator seconds."""
    (only,) = problems_of(mapping)
    assert render(only).startswith("the spec: has more than 10,000 keys and values")


def test_synonyms_lead_to_keys() -> None:
    assert {path for paths in SYNONYMS.values() for path in paths} <= set(known_paths())


VALUES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a rate of zero": ({"train": {"optim": {"lr": 0}}}, "train.optim.lr", "greater than 0"),
    "a rate above one": ({"train": {"optim": {"lr": 2}}}, "train.optim.lr", "at most 1"),
    "a flag for a number": ({"train": {"num_epochs": True}}, "train.num_epochs", "number"),
    "text for a number": ({"train": {"num_epochs": "ten"}}, "train.num_epochs", "whole number"),
    "half an epoch": ({"train": {"num_epochs": 1.5}}, "train.num_epochs", "whole number"),
    "not a number": ({"train": {"optim": {"lr": float("nan")}}}, "train.optim.lr", "number"),
    "a choice that does not exist": (
        {"train": {"optim": {"lr_scheduler": "cosine"}}},
        "train.optim.lr_scheduler",
        "'MultiStep', 'StepLR', 'Linear' or 'Cosine'",
    ),
    "a value where a section is": ({"train": 3}, "train", "section"),
    "a bad entry of a list": (
        {"model": {"return_interm_indices": [1, 2, 9]}},
        "model.return_interm_indices[2]",
        "at most 4",
    ),
    "a key that YAML reads as true": ({True: {"lr": 1}}, "True", "must be text"),
    "a key that YAML reads as null": ({"train": {None: 1}}, "train.None", "must be text"),
    "a key that is a number": ({"train": {1.5: 1}}, "train.1.5", "must be text"),
    "a text for the whole": ("train", "the spec", "sections"),
    "a list for the whole": ([{"train": 1}], "the spec", "sections"),
    "a misspelt key of a source": (
        {"dataset": {"train_data_sources": [{"image_dir": "a", "json": "b"}]}},
        "dataset.train_data_sources[0].json",
        "no such key",
    ),
    "one source for a list of them": (
        {"dataset": {"val_data_sources": {"image_dir": "a"}}},
        "dataset.val_data_sources",
        "must be a list",
    ),
    "a number for a list": ({"train": {"optim": {"lr_steps": 3}}}, "train.optim.lr_steps", "list"),
    "an empty list": (
        {"dataset": {"augmentation": {"scales": []}}},
        "dataset.augmentation.scales",
        "at least 1",
    ),
}


@pytest.mark.parametrize(("mapping", "path", "rule"), VALUES.values(), ids=VALUES.keys())
def test_a_bad_value_is_named_with_its_rule(mapping: dict[str, Any], path: str, rule: str) -> None:
    errors = [one for one in problems_of(mapping) if one.severity == "error"]
    assert [one.path for one in errors] == [path]
    assert rule in errors[0].rule
    assert errors[0].remedy


def test_all_problems_come_at_once_and_rules_skip_keys_that_are_wrong_themselves() -> None:
    mapping = {
        "model": {"hidden_dim": 200, "num_feature_levels": 9, "widht": 3},
        "train": {"distributed_strategy": "fsdp", "validation_interval": 20, "optim": {"lr": -1}},
    }
    mapping["model"]["pretrained_backbone_path"] = "a.pth"
    found = {problem.path: problem.id for problem in problems_of(mapping, "nonsense")}
    assert found == {
        "nonsense": "override-form",
        "model.hidden_dim": "groups-divide",
        "model.num_feature_levels": "value",
        "model.widht": "unknown-key",
        "train.distributed_strategy": "strategy",
        "train.validation_interval": "validation-in-time",
        "train.optim.lr": "value",
        "train.optim.lr_scheduler": "rate-drops",
    }


def test_a_dead_key_and_another_action_s_section_warn() -> None:
    spec, warnings = load(
        {
            "model": {"clip_max_norm": 0.5, "pretrained_backbone_path": "a.pth"},
            "export": {"input_width": 960},
            "train": {"optim": {"lr_steps": [5]}},
        }
    )
    assert [(one.path, one.severity) for one in warnings] == [
        ("export", "warning"),
        ("model.clip_max_norm", "warning"),
    ]
    assert "train.clip_grad_norm" in render(warnings[1])
    assert spec.export.input_width == 960


UNREAD = {
    "a section of another action": (Action.EVALUATE, {"export": {"verbose": True}}, "export"),
    "training data where nothing is trained": (
        Action.EXPORT,
        {"dataset": {"train_data_sources": []}},
        "",
    ),
    "calibration data of a training": (
        Action.TRAIN,
        {"dataset": {"quant_calibration_data_sources": {"image_dir": "a", "json_file": "b"}}},
        "dataset.quant_calibration_data_sources",
    ),
    "test data of an inference": (
        Action.INFERENCE,
        {"dataset": {"test_data_sources": [{"image_dir": "a", "json_file": "b"}]}},
        "dataset.test_data_sources",
    ),
    "what training reads, of an engine": (Action.GEN_TRT_ENGINE, {"train": {"seed": 1}}, "train"),
    "what training reads, of a distillation": (Action.DISTILL, {"train": {"seed": 1}}, ""),
    "the weight of distillation": (
        Action.TRAIN,
        {"model": {"distillation_loss_coef": 2.0}},
        "model.distillation_loss_coef",
    ),
    "its own data": (
        Action.QUANTIZE,
        {"dataset": {"quant_calibration_data_sources": {"image_dir": "a", "json_file": "b"}}},
        "",
    ),
}


@pytest.mark.parametrize(("action", "mapping", "path"), UNREAD.values(), ids=UNREAD.keys())
def test_what_an_action_does_not_read_warns(
    action: Action, mapping: dict[str, Any], path: str
) -> None:
    told = [one for one in problems_of(mapping, action=action) if one.id == "other-action"]
    assert [one.path for one in told] == [path] * bool(path)
    assert all(one.rule.startswith("only `dino ") for one in told)


def test_one_source_is_a_list_of_one_where_tao_has_no_list() -> None:
    one = {"image_dir": "a", "json_file": "b"}
    spec, _ = load({"dataset": {"test_data_sources": one}}, action=Action.EVALUATE)
    assert [source.image_dir for source in spec.dataset.test_data_sources or []] == ["a"]
    spec, _ = load({"dataset": {"infer_data_sources": {"image_dir": "a", "classmap": "c"}}})
    assert spec.dataset.infer_data_sources is not None
    assert spec.dataset.infer_data_sources.image_dir == ["a"]


def test_a_section_without_keys_is_its_defaults() -> None:
    """As specs have it that were written before their sections had any."""
    assert load({"evaluate": None})[0].evaluate == ExperimentSpec().evaluate


def test_the_input_is_left_alone() -> None:
    mapping = {"train": {"optim": {"lr": 0.1}, "nope": 1}}
    before = copy.deepcopy(mapping)
    problems_of(mapping, "train.optim.lr=0.2", "~train.nope")
    assert mapping == before


OVERRIDES = {
    "a number": ("train.optim.lr=1e-3", lambda spec: spec.train.optim.lr, 1e-3),
    "a list": (
        "model.return_interm_indices=[0,1,2,3]",
        lambda spec: spec.model.return_interm_indices,
        [0, 1, 2, 3],
    ),
    "a flag": ("train.ema.enabled=true", lambda spec: spec.train.ema.enabled, True),
    "text with an equals sign": ("results_dir=/a=b", lambda spec: spec.results_dir, "/a=b"),
    "empty text": ("results_dir=", lambda spec: spec.results_dir, ""),
    "an added key": ("+train.seed=7", lambda spec: spec.train.seed, 7),
    "a forced key": ("++train.seed=8", lambda spec: spec.train.seed, 8),
    "a removed key": ("~train.num_epochs", lambda spec: spec.train.num_epochs, 10),
    "an exponent": ("train.num_epochs=1e1", lambda spec: spec.train.num_epochs, 10),
    "a rate": ("train.optim.lr=1e-4", lambda spec: spec.train.optim.lr, 1e-4),
    "a word": ("train.ema.enabled=yes", lambda spec: spec.train.ema.enabled, True),
    "null": ("dataset.num_classes=null", lambda spec: spec.dataset.num_classes, None),
}


@pytest.mark.parametrize(("text", "read", "wanted"), OVERRIDES.values(), ids=OVERRIDES.keys())
def test_an_override_is_read_as_yaml(text: str, read: Any, wanted: object) -> None:
    spec, _ = load({"train": {"num_epochs": 50}, "dataset": {"num_classes": 5}}, [text])
    assert read(spec) == wanted


@pytest.mark.parametrize("text", ["", "=1", "a..b=1", "train.num_epochs", "train.seed=[1"])
def test_a_malformed_override_is_a_problem(text: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        load({}, [text])
    assert any(one.id.startswith("override") for one in caught.value.problems)


UNQUOTED: dict[str, tuple[str, str]] = {
    "a whole number": ("train.num_epochs", "write 10, without quotes"),
    "a number": ("train.optim.lr", "write 10, without quotes"),
    "an entry of a list": ("train.optim.lr_steps", "write 10, without quotes"),
    "a size": ("dataset.augmentation.fixed_size", "write 10, without quotes"),
}


@pytest.mark.parametrize(("path", "said"), UNQUOTED.values(), ids=UNQUOTED.keys())
def test_a_number_in_quotes_is_text_as_for_the_api_server(path: str, said: str) -> None:
    value = '["10"]' if path.endswith(("steps", "size")) else '"10"'
    with pytest.raises(SpecErrors) as caught:
        load({}, [f"{path}={value}"])
    (found,) = (one for one in caught.value.problems if one.severity == "error")
    assert found.path.startswith(path)
    assert said in render(found)


def test_only_true_and_false_are_flags() -> None:
    with pytest.raises(SpecErrors) as caught:
        load({"results_dir": 2024})
    assert "put quotes around it" in str(caught.value)
    for value, remedy in (("'true'", "write true, without quotes"), ("1", "The default is")):
        with pytest.raises(SpecErrors, match="must be true or false") as caught:
            load({}, [f"train.ema.enabled={value}"])
        assert remedy in str(caught.value)


def test_an_override_below_a_value_is_a_problem() -> None:
    with pytest.raises(SpecErrors, match="is a value, not a section"):
        load({"train": {"seed": 1}}, ["train.seed.x=1"])


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUE = LEAF | st.lists(LEAF, max_size=3) | st.dictionaries(LEAF, LEAF, max_size=2)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(known_paths()), VALUE), max_size=4))
def test_whatever_is_given_ends_in_a_spec_or_in_sentences(pairs: list[tuple[str, Any]]) -> None:
    mapping: dict[str, Any] = {}
    for path, value in pairs:
        *parents, leaf = path.split(".")
        node: Any = mapping
        for name in parents:
            node = node.setdefault(name, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node[leaf] = value
    for problem in problems_of(mapping):
        assert problem.path
        assert problem.rule
        assert render(problem)


SAME = ["dataset.workers=0", "results_dir=/x", "train.num_gpus=0", "train.checkpoint_interval=2"]
SAME += ["model.clip_max_norm=1", "wandb.enable=true", "train.activation_checkpoint=true"]
OTHER = ["train.optim.lr=0.1", "train.seed=1", "model.num_queries=50", "dataset.batch_size=8"]
OTHER += ["dataset.train_data_sources=[{image_dir: a, json_file: b}]", "train.ema.enabled=true"]


@pytest.mark.parametrize("override", SAME)
def test_the_digest_ignores_what_cannot_change_the_result(override: str) -> None:
    assert digest(load({}, [override])[0]) == digest(ExperimentSpec())


@pytest.mark.parametrize("override", OTHER)
def test_the_digest_sees_what_can(override: str) -> None:
    assert digest(load({}, [override])[0]) != digest(ExperimentSpec())


PER_ACTION = {
    "its own key": (Action.EVALUATE, "evaluate.conf_threshold=0.5", True),
    "another action's key": (Action.EVALUATE, "export.opset_version=18", False),
    "a key of training": (Action.EVALUATE, "train.optim.lr=0.1", False),
    "a loss": (Action.EVALUATE, "model.cls_loss_coef=1", False),
    "the structure": (Action.EVALUATE, "model.hidden_dim=128", True),
    "how images are resized": (
        Action.EVALUATE,
        "dataset.augmentation.test_random_resize=320",
        True,
    ),
    "how training images are": (
        Action.EVALUATE,
        "dataset.augmentation.horizontal_flip_prob=0",
        False,
    ),
    "the data that is scored": (
        Action.EVALUATE,
        "dataset.test_data_sources={image_dir: a, json_file: b}",
        True,
    ),
    "data that is not": (
        Action.EVALUATE,
        "dataset.val_data_sources=[{image_dir: a, json_file: b}]",
        False,
    ),
    "workers": (Action.EVALUATE, "dataset.workers=1", False),
    "where results go": (Action.EXPORT, "export.onnx_file=x.onnx", False),
    "what is exported": (Action.EXPORT, "export.checkpoint=x.pth", True),
    "calibration data": (
        Action.QUANTIZE,
        "dataset.quant_calibration_data_sources={image_dir: a, json_file: b}",
        True,
    ),
    "test data of a training": (
        Action.TRAIN,
        "dataset.test_data_sources={image_dir: a, json_file: b}",
        False,
    ),
    "the weight of distillation, of a training": (
        Action.TRAIN,
        "model.distillation_loss_coef=2",
        False,
    ),
    "the weight of distillation": (Action.DISTILL, "model.distillation_loss_coef=2", True),
    "the rate of a distillation": (Action.DISTILL, "train.optim.lr=0.1", True),
    "the structure of its teacher": (Action.DISTILL, "distill.teacher.hidden_dim=128", True),
}


@pytest.mark.parametrize(("action", "override", "seen"), PER_ACTION.values(), ids=PER_ACTION.keys())
def test_the_digest_of_an_action_sees_what_it_reads(
    action: Action, override: str, seen: bool
) -> None:
    changed = digest(load({}, [override], action)[0], action)
    assert (changed != digest(ExperimentSpec(), action)) == seen


def test_the_digest_of_a_training_is_that_of_earlier_releases() -> None:
    """Or their checkpoints would be strangers."""
    given = {"train": {"num_epochs": 3}, "dataset": {"eval_class_ids": [1]}}
    text = b'{"dataset":{"eval_class_ids":[1]},"model":{},"train":{"num_epochs":3}}'
    assert digest(load(given)[0]) == hashlib.sha256(text).hexdigest()


def test_actions_have_digests_of_their_own() -> None:
    assert len({digest(ExperimentSpec(), action) for action in Action}) == len(Action)


def test_a_digest_does_not_depend_on_how_a_default_was_given() -> None:
    given = read("train: {optim: {lr: 2e-4}, num_epochs: 1e1}")
    assert digest(load(given)[0]) == digest(ExperimentSpec())


def test_a_key_at_its_default_counts_as_absent() -> None:
    """Or each new key of a release would make strangers of all checkpoints."""
    assert digest(load({"train": {"optim": {"lr_scheduler": "MultiStep"}}})[0]) == digest(
        ExperimentSpec()
    )
    assert (
        digest(ExperimentSpec())
        == hashlib.sha256(b'{"dataset":{},"model":{},"train":{}}').hexdigest()
    )
