"""The published model's numbers, and that a wrong weight is noticed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.model import golden, golden_inputs
from tests.model.golden_case import GoldenFolder, to_config
from tests.model.golden_compare import compare
from tests.model.golden_ties import Replay

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
    case = GoldenFolder(FOUR_SCALE)
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


def generators() -> list[ModuleType]:
    """Ours, and the one of the published fixtures where they lie beside the checkout."""
    theirs = [GoldenFolder(folder).inputs for folder in FOLDERS if folder.parent == golden.SHARED]
    return [golden_inputs, *theirs[:1]]


def digest(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of type, shape and bytes of each."""
    made = hashlib.sha256()
    for array in arrays:
        made.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return made.hexdigest()


@pytest.mark.parametrize("generator", generators(), ids=lambda one: one.__name__.split(".")[-1])
def test_weights_and_inputs_are_those_of_the_fixture(generator: ModuleType) -> None:
    """To the last bit: `inputs.json` has the digests of what the published fixtures' code makes."""
    case = GoldenFolder(FOUR_SCALE)
    name, counts = case.expected["case"], case.expected["target_counts"]
    targets = generator.make_targets(name, counts, case.num_classes)
    made = {
        "state": generator.make_state(case.shapes).values(),
        "images": generator.make_images(name, case.sizes),
        "targets": [one[key] for one in targets for key in ("labels", "boxes")],
    }
    wanted = json.loads((FOUR_SCALE / "inputs.json").read_text())
    assert {part: digest(arrays) for part, arrays in made.items()} == wanted


def test_what_we_do_not_have_is_refused_by_name() -> None:
    published = GoldenFolder(FOUR_SCALE).expected["config"]
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
