"""Which keys of two specs differ, in words."""

import pytest

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.digest import differences, in_words
from dino_api.names import Action

CASES = {
    "a value and its default": (
        Action.TRAIN,
        {"train": {"optim": {"lr": 0.5}}},
        {},
        "train.optim.lr is 0.0002, there 0.5",
    ),
    "a mapping that is no section": (
        Action.INFERENCE,
        {"inference": {"color_map": {"cat": "red"}}},
        {"inference": {"color_map": {"dog": "red"}}},
        "inference.color_map is {'dog': 'red'}, there {'cat': 'red'}",
    ),
    "such a mapping, and none": (
        Action.INFERENCE,
        {"inference": {"color_map": {"cat": "red"}}},
        {},
        "inference.color_map is empty, there {'cat': 'red'}",
    ),
    "what decides nothing": (Action.TRAIN, {"dataset": {"workers": 7}}, {}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_difference_names_the_key_and_both_values(case: str) -> None:
    action, before, now, wanted = CASES[case]
    old, new = (ExperimentSpec.model_validate(one) for one in (before, now))
    assert in_words(differences(old, new, action), "there") == wanted
