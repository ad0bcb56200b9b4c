"""The published model's numbers, and that a wrong weight is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import golden
import golden_inputs
import numpy as np
import pytest
import torch
from golden_case import Case, to_config
from golden_compare import compare
from golden_ties import Replay

FOLDERS = golden.default_folders()
FOUR_SCALE = golden.HERE / "golden" / "four_scale"


@pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)
def test_the_published_numbers(folder: Path) -> None:
    checks = golden.check_folder(folder)
    assert [check for check in checks if not check.passed] == []
    assert len(checks) > 20


@pytest.mark.parametrize(
    "tensor, quantity",
    [
        ("transformer.decoder.layers.1.linear2.bias", "eval_pred_logits"),
        ("transformer.encoder.layers.0.norm1.weight", "encoder memory"),
        ("label_enc.weight", "losses"),
        ("backbone.0.body.bn1.running_var", "backbone feature 0"),
    ],
)
def test_a_wrong_weight_is_noticed(tensor: str, quantity: str) -> None:
    case = Case(FOUR_SCALE)
    state = case.state
    wrong = {**state(), tensor: state()[tensor] * 1.01}
    case.state = lambda: wrong  # type: ignore[method-assign]
    failed = [check.quantity for check in compare(case, case.run(case.model())) if not check.passed]
    assert any(name.startswith(quantity) for name in failed), failed


class Head:
    """Chooses the three best tokens."""

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.amax(-1).topk(3).indices


def test_only_equal_scores_may_swap() -> None:
    logits = torch.tensor([[[0.1, 3.0], [2.00001, 0.5], [2.0, 0.7], [1.0, 1.0], [0.0, 0.0]]])
    tied, not_tied = logits[:, [0, 2, 1]], logits[:, [1, 0, 2]]
    assert Replay(Head(), tied).choose(logits).tolist() == [[0, 2, 1]]
    assert Replay(Head(), not_tied).choose(logits).tolist() == [[0, 1, 2]]


def test_weights_and_inputs_are_those_of_the_fixture() -> None:
    """Our generator and the one beside the shared folder agree to the last bit."""
    shared = [folder for folder in FOLDERS if (folder.parent / "golden_weights.py").exists()]
    if not shared:
        pytest.skip("the checkout has no shared/golden beside it")
    case = Case(shared[0])
    theirs, name = case.inputs, case.expected["case"]
    assert theirs is not golden_inputs
    for part, ours in golden_inputs.make_state(case.shapes).items():
        np.testing.assert_array_equal(ours, theirs.make_state({part: case.shapes[part]})[part])
    counts, sizes = case.expected["target_counts"], case.sizes
    for ours, other in zip(
        golden_inputs.make_targets(name, counts, 7),
        theirs.make_targets(name, counts, 7),
        strict=True,
    ):
        np.testing.assert_array_equal(ours["boxes"], other["boxes"])
        np.testing.assert_array_equal(ours["labels"], other["labels"])
    for ours, other in zip(
        golden_inputs.make_images(name, sizes), theirs.make_images(name, sizes), strict=True
    ):
        np.testing.assert_array_equal(ours, other)


def test_what_we_do_not_have_is_refused_by_name() -> None:
    published = Case(FOUR_SCALE).expected["config"]
    with pytest.raises(ValueError, match=r"num_patterns = 3 \(only 0\), a_new_key = 1"):
        to_config({**published, "num_patterns": 3, "a_new_key": 1})


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([str(tmp_path)]) == 2
    assert "is no golden folder: it has no expected.json" in capsys.readouterr().err
    folder = shutil.copytree(FOUR_SCALE, tmp_path / "wrong", copy_function=shutil.copyfile)
    tensors = dict(np.load(folder / "tensors.npz"))
    tensors["eval_pred_boxes"] = tensors["eval_pred_boxes"] + 2e-4
    np.savez(folder / "tensors.npz", **tensors)
    assert golden.main([str(folder)]) == 1
    assert "eval_pred_boxes" in capsys.readouterr().out
