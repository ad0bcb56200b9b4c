"""Images with fewer tokens than queries: preflight says so where training would end by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dino_api.experiment import AugmentationConfig, ExperimentSpec
from dino_api.rules.data import data_rule
from dino_trainer.data.canvas import eval_canvas, train_canvas
from dino_trainer.data.sizes import PlannedSizes
from dino_trainer.model import build_dino
from dino_trainer.model.config import DetectorConfig
from dino_trainer.model.dino import UnfitImages
from dino_trainer.preflight.tokens import least_side
from dino_trainer.token_count import level_shapes, token_counts, too_few
from tests.unit.preflight_lab import Lab, encoded, lab, picture
from tests.unit.training_builders import Recorder, run, spec_for

__all__ = ["lab"]
RULE = "queries-over-tokens"
# 40x30 pictures that are resized to 32 on the shorter side; 100 queries against some 27 tokens.
SMALL = {"scales": [32], "train_random_resize": [32], "train_random_crop_min": 32,
         "train_random_crop_max": 32, "test_random_resize": 32, "fixed_padding": False}  # fmt: skip
MODEL = {"num_queries": 100, "num_select": 100}


def spoiled(lab: Lab, **augmentation: Any) -> None:
    lab.spec["model"] = dict(MODEL)
    lab.spec["dataset"]["augmentation"] = augmentation


CASES = {
    "one size": ({"fixed_size": [32, 64]}, (
        "all images, 64x32 pixels by dataset.augmentation.fixed_size, give 43 tokens, fewer than "
        "model.num_queries = 100 (maps of 4x8 + 2x4 + 1x2 + 1x1)",)),
    "as they come": (SMALL, (
        "train 1.jpg and 5 more: 32x32 pixels by dataset.augmentation.scales, give 22 tokens",
        "validation 101.jpg and 2 more: 42x32 pixels by dataset.augmentation.test_random_resize",)),
    "validation alone": ({**SMALL, "scales": [128]}, ("validation 101.jpg and 2 more",)),
    "training alone": ({**SMALL, "test_random_resize": 128}, ("train 1.jpg and 5 more",)),
    "planned": ({**SMALL, "test_random_resize": 128, "planned_sizes": True}, (
        "train 1.jpg and 5 more: 32x32 pixels",)),
    "jitter": ({"fixed_random_crop": 64}, (
        "train 1.jpg and 5 more: 64x64 pixels by dataset.augmentation.fixed_random_crop",)),
}  # fmt: skip
NO_CASES = {
    "the defaults": {},
    "fixed padding": {**SMALL, "fixed_padding": True},
    "large enough": {**SMALL, "scales": [128], "test_random_resize": 128},
    "jitter": {"fixed_random_crop": 96},
}


@pytest.mark.parametrize("augmentation, said", CASES.values(), ids=CASES)
def test_images_that_are_too_small(
    lab: Lab, augmentation: dict[str, Any], said: tuple[str, ...]
) -> None:
    spoiled(lab, **augmentation)
    assert lab.run() == 65
    assert set(lab.findings) == {RULE}
    finding = lab.findings[RULE]
    assert len(finding["examples"]) == len(said)
    for example, part in zip(finding["examples"], said, strict=True):
        assert part in example
    assert finding["remedy"] == data_rule(RULE).remedy


@pytest.mark.parametrize("augmentation", NO_CASES.values(), ids=NO_CASES)
def test_images_that_are_not(lab: Lab, augmentation: dict[str, Any]) -> None:
    spoiled(lab, **augmentation)
    assert lab.run() == 0
    assert lab.findings == {}


def test_the_numbers_are_those_that_work(lab: Lab) -> None:
    """As many queries as it says there are tokens."""
    spoiled(lab, fixed_size=[32, 64])
    assert lab.run("model.num_queries=43", "model.num_select=43") == 0
    assert lab.run("model.num_queries=44", "model.num_select=43") == 65
    levels = ("model.num_feature_levels=5", "model.return_interm_indices=[0,1,2,3,4]")
    assert lab.run(*levels) == 0, "finer maps have more"


def test_a_small_image_among_large_ones_is_padded(lab: Lab) -> None:
    """Its batch has tokens enough; alone in the last batch it has not."""
    spoiled(lab, **{**SMALL, "scales": [256], "test_random_resize": 128})
    lab.spec["dataset"]["augmentation"]["random_resize_max_size"] = 400
    strip = lab.validation.image(2)
    strip.update(width=400, height=1)
    lab.validation.put(strip["file_name"], encoded(picture(1, (400, 1))))
    for box in lab.validation.coco["annotations"]:
        if box["image_id"] == strip["id"]:
            box["bbox"] = [10, 0, 10, 1]
    assert lab.run("dataset.batch_size=3") == 0
    assert lab.run("dataset.batch_size=2") == 65
    [example] = lab.findings[RULE]["examples"]
    assert example.startswith("validation 103.jpg: 400x1 pixels")


# ---- actions on a model -------------------------------------------------------------------------

GIVEN = {"num_classes": 3}


def for_action(lab: Lab, action: str, **changes: Any) -> int:
    data = lab.spec["dataset"]
    del data["train_data_sources"], data["val_data_sources"]
    data.update(GIVEN)
    if action == "inference":
        (lab.folder / "classes.txt").write_text("cell\ndot\n")
        data["infer_data_sources"] = {
            "image_dir": [str(lab.train.folder / "images")],
            "classmap": str(lab.folder / "classes.txt"),
        }
    elif action == "evaluate":
        data["test_data_sources"] = [lab.validation.source]
    lab.spec[action] = changes
    return lab.run(options=["--for", action])


SIDES = {"input_width": 64, "input_height": 32}


@pytest.mark.parametrize("action", ["evaluate", "inference", "export"])
def test_the_size_that_an_action_asks_for(action: str, lab: Lab) -> None:
    spoiled(lab)
    assert for_action(lab, action, **SIDES) == 65
    assert set(lab.findings) == {RULE}
    key = f"by {action}.input_height and input_width"
    assert f"all images, 64x32 pixels {key}" in lab.findings[RULE]["examples"][0]


@pytest.mark.parametrize("action, first", [("evaluate", "test 101.jpg"), ("inference", "1.jpg")])
def test_the_sizes_of_the_images(action: str, first: str, lab: Lab) -> None:
    spoiled(lab, **SMALL)
    assert for_action(lab, action) == 65
    assert set(lab.findings) == {RULE}
    assert lab.findings[RULE]["examples"][0].startswith(f"{first} and ")


@pytest.mark.parametrize("action", ["evaluate", "inference", "export"])
def test_what_a_checkpoint_may_say_itself_is_not_guessed(action: str, lab: Lab) -> None:
    spoiled(lab)
    del lab.spec["model"]["num_queries"]
    assert for_action(lab, action, **SIDES) == 0


def test_a_file_that_was_made_has_its_own_size(lab: Lab) -> None:
    spoiled(lab, fixed_size=[32, 64])
    made = lab.folder / "m.onnx"
    made.write_bytes(b"")  # it says nothing of itself
    assert for_action(lab, "evaluate", onnx_file=str(made)) == 0


# ---- the same numbers as the model and the training ---------------------------------------------

BACKBONES = ("resnet_18", "timm/tf_efficientnet_lite0", "swin_tiny_224_1k", "efficientvit_b0",
             "gc_vit_xxtiny", "timm/vit_tiny_patch16_224", "timm/convnext_atto")  # fmt: skip
LEVELS = ((0, 1, 2, 3, 4), (2, 4))
SIZES = ((225, 331), (64, 96), (33, 500))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_maps_are_the_models(backbone: str) -> None:
    """On the meta device: shapes without numbers."""
    for levels in LEVELS:
        with torch.device("meta"):
            model = build_dino(a_config(backbone, levels), 3).eval()
        for size in SIZES:
            maps = model._project(torch.zeros(1, 3, *size, device="meta"), None)
            shapes = tuple((m.shape[2], m.shape[3]) for m in maps)
            assert level_shapes(backbone, levels, size) == shapes
            count = sum(h * w for h, w in shapes)
            assert token_counts(backbone, levels, np.array([size])).tolist() == [count]


def a_config(backbone: str, levels: tuple[int, ...], queries: int = 1) -> DetectorConfig:
    """That of a small detector."""
    made = ExperimentSpec.model_validate(
        {
            "model": {
                "backbone": backbone,
                "num_feature_levels": len(levels),
                "return_interm_indices": list(levels),
                "hidden_dim": 32,
                "nheads": 1,
                "enc_layers": 1,
                "dec_layers": 1,
                "num_queries": queries,
            }
        }
    )
    return DetectorConfig.from_spec(made.model)


def test_the_sentence_is_that_of_the_model() -> None:
    model = build_dino(a_config("resnet_18", (1, 2), queries=100), 3)
    with pytest.raises(UnfitImages) as caught:
        model.locate(32, 64)
    said = too_few(level_shapes("resnet_18", (1, 2), (32, 64)), 100)
    assert str(caught.value) == f"These images {said}."


AUGMENTATIONS = (
    AugmentationConfig(),
    AugmentationConfig(**SMALL),
    AugmentationConfig(scales=[32, 64], random_resize_max_size=100, planned_sizes=True),
    AugmentationConfig(fixed_random_crop=64),
)


@pytest.mark.parametrize("config", AUGMENTATIONS, ids=range(len(AUGMENTATIONS)))
def test_no_picture_is_smaller_than_the_least(config: AugmentationConfig) -> None:
    sizes = [(30, 40), (400, 17), (1, 3000), (640, 480)]
    drawn = np.concatenate(
        [PlannedSizes(np.array(sizes), config, 0).of(epoch) for epoch in range(200)]
    )
    for size, made in zip(sizes * 200, drawn, strict=True):
        assert made.min() >= least_side(config, max(size) / min(size))


def test_a_canvas_is_the_largest_of_its_pictures() -> None:
    sizes = np.array([[10, 20], [30, 5], [7, 7]])
    small = AugmentationConfig(fixed_padding=False)
    assert eval_canvas(small).together(sizes, 2).tolist() == [[30, 20], [7, 7]]
    planned = AugmentationConfig(planned_sizes=True)
    assert train_canvas(planned).together(sizes, 3).tolist() == [[32, 32]]
    assert eval_canvas(AugmentationConfig()).each(sizes).tolist() == [
        [800, 1333], [1333, 800], [800, 1333],
    ]  # fmt: skip


def test_training_ends_where_preflight_says_so(tmp_path: Any) -> None:
    spec = spec_for(tmp_path, "train.num_epochs=1", "model.num_queries=300")
    with pytest.raises(UnfitImages, match=r"fewer than model\.num_queries = 300"):
        run(spec, Recorder())
