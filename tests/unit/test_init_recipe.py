"""What `dino init` decides: a function of the data's facts and of the machine, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dino_api.tokens import count
from dino_trainer.machine import inventory
from dino_trainer.machine.inventory import Gpu, Machine, cpu_instructions, memory, trainable
from dino_trainer.new_spec.coco_folder import FolderFacts, FolderSplit
from dino_trainer.new_spec.recipe import recipe_for

GIB = 1 << 30
LAPTOP = Machine(4, 16 * GIB, frozenset({"avx2"}))
SMALL_GPU = Machine(8, 32 * GIB, frozenset(), (Gpu("GTX 1080", 8 * GIB, (6, 1)),))
GPU = Machine(16, 64 * GIB, frozenset(), (Gpu("RTX 4090", 24 * GIB, (8, 9)),))
LARGE_GPU = Machine(26, 200 * GIB, frozenset(), (Gpu("H200", 140 * GIB, (9, 0)),) * 2)
MACHINES = [LAPTOP, SMALL_GPU, GPU, LARGE_GPU]


def facts(images: int = 400, boxes: int = 5, **changes: object) -> FolderFacts:
    """Photographs of 640x480 with a few objects of middle size."""
    split = FolderSplit(Path("t/images"), Path("t/annotations.json"), images, images * 3)
    usual = FolderFacts({"train": split}, {1: "cell", 2: "dot"}, (640, 480), True, boxes, 60.0)
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "machine, size, batch, precision, gpus, layers",
    [
        (LAPTOP, (256, 320), 4, "fp32", 0, 2),
        (replace(LAPTOP, instructions=frozenset({"amx_bf16"})), (256, 320), 4, "bf16", 0, 2),
        (replace(LAPTOP, instructions=frozenset({"asimd", "bf16"})), (256, 320), 4, "bf16", 0, 2),
        (replace(LAPTOP, instructions=frozenset()), (256, 320), 4, "fp32", 0, 2),
        (replace(LAPTOP, memory=2 * GIB), (256, 320), 2, "fp32", 0, 2),
        (SMALL_GPU, (480, 640), 1, "fp32", 1, 6),
        (GPU, (480, 640), 8, "bf16", 1, 6),
        (LARGE_GPU, (480, 640), 16, "bf16", 1, 6),
    ],
    ids=[
        "laptop",
        "bf16 in the CPU",
        "bf16 of ARM",
        "nothing listed",
        "2 GiB",
        "8 GiB, before Ampere",
        "24 GiB",
        "two of 140 GiB",
    ],
)
def test_the_machine_decides_batch_precision_and_depth(
    machine: Machine,
    size: tuple[int, int],
    batch: int,
    precision: str,
    gpus: int,
    layers: int,
) -> None:
    made = recipe_for(facts(), machine)
    assert (made.size, made.batch_size, made.precision) == (size, batch, precision)
    assert (made.num_gpus, made.layers) == (gpus, layers)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("boxes", [0, 1, 40, 2000])
@pytest.mark.parametrize("size", [(40, 30), (320, 240), (6000, 4000), (300, 3000)])
def test_no_recipe_asks_for_what_cannot_be(
    machine: Machine, boxes: int, size: tuple[int, int]
) -> None:
    """Queries have tokens to be chosen from, and sizes are steps of 32."""
    small = 4.0 if boxes else 0.0
    made = recipe_for(facts(most_boxes=boxes, size=size, small_side=small), machine)
    assert 1 <= made.num_queries <= min(900, count(made.backbone, made.levels, *made.size))
    assert made.num_select <= made.num_queries
    assert all(side % 32 == 0 and side >= 64 for side in made.size)


def test_of_one_class_fewer_are_selected_than_asked() -> None:
    """The only one has the id 0: num_classes is 1, and num_select must be below num_queries."""
    made = recipe_for(facts(classes={0: "cell"}), LAPTOP)
    assert made.num_select == made.num_queries - 1


def test_small_boxes_take_larger_images_and_finer_maps() -> None:
    usual = recipe_for(facts(), LAPTOP)
    made = recipe_for(facts(size=(2000, 1500), small_side=20.0), LAPTOP)
    assert made.size[0] * made.size[1] > 3 * usual.size[0] * usual.size[1]
    assert (usual.levels, made.levels) == ((2, 3, 4), (1, 2, 3, 4))


def test_images_are_not_enlarged() -> None:
    assert recipe_for(facts(size=(320, 256), small_side=5.0), GPU).size == (256, 320)


def test_images_of_many_forms_become_squares() -> None:
    height, width = recipe_for(facts(alike=False), LAPTOP).size
    assert height == width


@pytest.mark.parametrize(
    "images, epochs, steps", [(3, 100, 100), (40, 60, 600), (400, 6, 600), (40_000, 3, 30_000)]
)
def test_few_images_are_seen_more_often(images: int, epochs: int, steps: int) -> None:
    made = recipe_for(facts(images), LAPTOP)
    assert (made.num_epochs, made.steps) == (epochs, steps)
    assert made.batch_size <= images
    assert 0.9 <= made.ema_decay < 1


@pytest.mark.parametrize(
    "name, flip",
    [("7", 0.0), ("seven", 0.0), ("Q", 0.0), ("left_arrow", 0.0), ("bright", 0.5), ("cell", 0.5)],
)
def test_classes_that_a_mirror_changes_are_not_mirrored(name: str, flip: float) -> None:
    assert recipe_for(facts(classes={1: "other", 2: name}), LAPTOP).flip == flip


def test_queries_follow_the_fullest_image() -> None:
    assert recipe_for(facts(boxes=70), GPU).num_queries == 300
    assert recipe_for(facts(boxes=5), GPU).num_queries == 100


def test_memory_is_the_control_groups_where_it_is_smaller(tmp_path: Path) -> None:
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    assert memory(proc, tmp_path) == 16_000_000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(proc, tmp_path) == 16_000_000 * 1024
    (tmp_path / "memory.max").write_text("4294967296\n")
    assert memory(proc, tmp_path) == 4 * GIB
    assert memory(tmp_path / "none", tmp_path / "none") == 0


def test_instructions_are_those_of_the_first_core(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor : 0\nflags\t\t: fpu avx512_bf16 amx_bf16\n\nflags : other\n")
    assert cpu_instructions(listed) == {"fpu", "avx512_bf16", "amx_bf16"}
    listed.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\nCPU implementer\t: 0x41\n")
    assert cpu_instructions(listed) == {"fp", "asimd", "bf16"}
    assert cpu_instructions(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    "capability, built, runs",
    [
        ((8, 9), ["sm_80", "sm_90"], True),
        ((8, 0), ["sm_86"], False),
        ((6, 1), ["sm_75", "sm_90", "sm_120"], False),
        ((6, 1), ["sm_60"], True),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((8, 0), ["compute_90"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((9, 4), ["gfx942"], True),
        ((9, 0), [], True),
    ],
)
def test_a_gpu_trains_where_pytorch_was_compiled_for_it(
    capability: tuple[int, int], built: list[str], runs: bool
) -> None:
    gpu = Gpu("one", 24 * GIB, capability)
    assert trainable([gpu], built) == ((gpu,) if runs else ())


def test_only_the_first_gpus_count_since_trainings_take_those() -> None:
    old, new = Gpu("P40", 24 * GIB, (6, 1)), Gpu("L4", 23 * GIB, (8, 9))
    assert trainable([new, old, new], ["sm_80"]) == (new,)
    assert trainable([old, new], ["sm_80"]) == ()


def test_gpus_that_do_not_begin_to_work_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> tuple[Gpu, ...]:
        raise RuntimeError("CUDA driver initialization failed.")

    monkeypatch.setattr(inventory, "gpus", fails)
    assert inventory.this_machine().gpus == ()
