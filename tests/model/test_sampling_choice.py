"""Which sampler is taken, and that a kernel with wrong numbers or none at all never goes unsaid."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from dino_trainer.model import sampling_choice, sampling_cpu
from dino_trainer.model.sampling_choice import Case, problem_of, sampler_for, trusted

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HEADS, WIDTH, LEVELS, POINTS = 2, 4, 2, 3
CASE = Case(CPU, torch.float32, HEADS, WIDTH, LEVELS, POINTS)


@pytest.fixture(autouse=True)
def _nothing_checked_yet() -> Any:
    trusted.cache_clear()
    yield
    trusted.cache_clear()


def on_a_gpu() -> str:
    """What is chosen there for the case's inputs."""
    return sampling_choice._choose(GPU, torch.float32, HEADS, WIDTH, LEVELS, POINTS)


def as_if_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Let the check of a GPU run on the CPU, with the kernel there; note the checks."""
    checked = []
    plain = sampling_choice.problem_of

    def check(case: Case) -> str:
        checked.append(case)
        return plain(CASE)

    monkeypatch.setattr(sampling_choice, "problem_of", check)
    monkeypatch.setattr(sampling_choice, "name_of", lambda device: "NVIDIA Test")
    return checked


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_right_kernel_passes(dtype: torch.dtype) -> None:
    assert problem_of(Case(CPU, dtype, HEADS, WIDTH, LEVELS, POINTS)) == ""


def test_a_gpu_takes_the_kernel_once_it_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = as_if_on_a_gpu(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert on_a_gpu() == on_a_gpu() == "compiled"
    assert checked == [Case(GPU, torch.float32, HEADS, WIDTH, LEVELS, POINTS)]


def test_a_kernel_that_raises_is_named_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any) -> Tensor:
        raise RuntimeError("Failed to find C compiler.\nMore of it.")

    checked = as_if_on_a_gpu(monkeypatch)
    monkeypatch.setattr(sampling_cpu, "forward", no_compiler)
    with pytest.warns(RuntimeWarning) as said:
        assert on_a_gpu() == "grid_sample"
    assert [str(w.message) for w in said] == [
        "Deformable sampling on NVIDIA Test goes on with grid_sample, slower: the compiled kernel "
        "raised RuntimeError: Failed to find C compiler."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert on_a_gpu() == "grid_sample"  # for the rest of the process, said once
    assert len(checked) == 1


@pytest.mark.parametrize("name, place", [*zip(sampling_choice.NAMES, (None, 0, 1, 2), strict=True)])
def test_a_kernel_that_differs_is_named_and_left(
    name: str, place: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the output or in one gradient, by a thousandth in one place."""
    as_if_on_a_gpu(monkeypatch)
    function = "forward" if place is None else "backward"
    plain = getattr(sampling_cpu, function)

    def wrong(*arguments: Any) -> Any:
        found = plain(*arguments)
        tensor = found if place is None else found[place]
        tensor.view(-1)[tensor.abs().argmax()] *= 1.001
        return found

    monkeypatch.setattr(sampling_cpu, function, wrong)
    with pytest.warns(RuntimeWarning, match=rf"NVIDIA Test .* differ in {name} by 1.0e-03 of"):
        assert on_a_gpu() == "grid_sample"


def test_not_a_number_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sampling_cpu.forward
    monkeypatch.setattr(sampling_cpu, "forward", lambda *a: plain(*a) * float("nan"))
    assert "the output" in problem_of(CASE)


def test_the_check_is_apart_from_what_the_caller_does() -> None:
    kept = []
    before = torch.get_rng_state()
    with (
        torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None),
        torch.autocast("cpu", torch.bfloat16),
        torch.inference_mode(),
    ):
        assert trusted(CASE)
    assert not kept
    assert before.equal(torch.get_rng_state())


def test_the_check_is_no_break_of_a_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling_cpu, "available", lambda: trusted(CASE))
    value, locations = torch.ones(1, 2, 8), torch.zeros(1, 3, HEADS, LEVELS, POINTS, 2)

    def scaled(value: Tensor, locations: Tensor) -> Tensor:
        return value * (2 if sampler_for(value, locations) == "compiled" else 3)

    compiled = torch.compile(scaled, backend="eager", fullgraph=True)
    assert compiled(value, locations).equal(2 * value)


def test_what_a_user_asks_for_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    value, locations = torch.ones(1, 2, 8), torch.zeros(1, 3, HEADS, LEVELS, POINTS, 2)
    assert sampler_for(value, locations) == "compiled"
    monkeypatch.setenv("DINO_SAMPLING", "grid_sample")
    assert sampler_for(value, locations) == on_a_gpu() == "grid_sample"
    monkeypatch.setenv("DINO_SAMPLING", "fast")
    with pytest.raises(ValueError, match=r"DINO_SAMPLING is 'fast'\. Use grid_sample, or leave"):
        sampler_for(value, locations)


def test_deterministic_algorithms_leave_the_kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = as_if_on_a_gpu(monkeypatch)
    torch.use_deterministic_algorithms(True)
    try:
        assert on_a_gpu() == "grid_sample"
    finally:
        torch.use_deterministic_algorithms(False)
    assert not checked
