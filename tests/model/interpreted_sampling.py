"""What the Triton kernels compute, run by Triton's interpreter on a CPU.

Not collected by name: ``test_sampling_triton.py`` runs it in a process of its own, since Triton
reads TRITON_INTERPRET when it is imported.
"""

from __future__ import annotations

import math
import os

import pytest
import torch

from dino_trainer.model import sampling_choice, sampling_cpu, sampling_triton

assert os.environ.get("TRITON_INTERPRET") == "1"
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "dtype, m, e, v, p, vectors, queries",
    [
        (torch.float64, 2, 4, 2, 3, True, 131),
        (torch.float32, 1, 32, 2, 4, True, 19),
        (torch.float32, 2, 32, 1, 2, False, 7),  # as before compute capability 9.0
        (torch.bfloat16, 3, 5, 3, 1, True, 65),  # neither heads nor channels a power of two
        (torch.float16, 1, 33, 2, 2, False, 3),
        (torch.float32, 1, 160, 1, 1, False, 2),  # more channels than threads
    ],
)
def test_the_check_of_a_gpu_passes(
    dtype: torch.dtype,
    m: int,
    e: int,
    v: int,
    p: int,
    vectors: bool,
    queries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Output and gradients against grid_sample, through the operator and autograd."""
    monkeypatch.setattr(sampling_cpu, "forward", sampling_triton.forward)
    monkeypatch.setattr(sampling_cpu, "backward", sampling_triton.backward)
    monkeypatch.setattr(sampling_triton, "adds_vectors", lambda device: vectors)
    monkeypatch.setattr(sampling_triton, "VECTOR", 4 if vectors else 1)
    monkeypatch.setattr(sampling_choice, "QUERIES", queries)
    assert sampling_choice.problem_of(sampling_choice.Case(CPU, dtype, m, e, v, p)) == ""


def test_on_and_beyond_borders_the_kernels_do_what_the_cpu_kernel_does() -> None:
    """Level borders, the ends of the outermost cells' reach, infinity, and not a number."""
    shapes = [1, 1, 3, 4]
    ends = [-1 - 1 / 4, -1 - 1 / 3, -2.0, -1.0, 0.0, 1.0, 2.0, 1 + 1 / 4, 1 + 1 / 3]
    places = torch.tensor([*ends, 0.3, 1e30, math.inf, -math.inf, math.nan])
    torch.manual_seed(0)
    pairs = torch.cartesian_prod(places, places)  # [q, 2]
    q = len(pairs)
    value, grad = torch.randn(1, 13, 8), torch.randn(1, q, 8)
    locations = pairs.view(1, q, 1, 1, 1, 2).expand(1, q, 2, 2, 1, 2)  # not contiguous
    weights = torch.rand(1, q, 2, 2).softmax(-1)
    ours = sampling_triton.forward(value, shapes, locations, weights)
    torch.testing.assert_close(
        ours, sampling_cpu.forward(value, shapes, locations, weights), equal_nan=True
    )
    assert ours[0, pairs.isnan().any(1)].isnan().all()
    assert not ours[0, ~pairs.isnan().any(1)].isnan().any()
    found = sampling_triton.backward(grad, value, shapes, locations, weights)
    expected = sampling_cpu.backward(grad, value, shapes, locations, weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_gradients_have_the_types_of_what_they_belong_to() -> None:
    value, grad = torch.randn(1, 4, 4).bfloat16(), torch.randn(1, 3, 4).bfloat16()
    locations, weights = torch.zeros(1, 3, 2, 1, 1, 2), torch.ones(1, 3, 2, 1)
    found = sampling_triton.backward(grad, value, [2, 2], locations, weights)
    assert [g.dtype for g in found] == [torch.bfloat16, torch.float32, torch.float32]
    assert sampling_triton.forward(value, [2, 2], locations, weights).dtype == torch.bfloat16


def test_many_parts_of_a_gradient_are_summed_in_float32() -> None:
    """300 queries of bfloat16 look at one cell; bfloat16 itself stops counting at 256."""
    value, grad = torch.zeros(1, 1, 2).bfloat16(), torch.ones(1, 300, 2).bfloat16()
    locations, weights = torch.zeros(1, 300, 1, 1, 1, 2), torch.ones(1, 300, 1, 1)
    to_value = sampling_triton.backward(grad, value, [1, 1], locations, weights)[0]
    assert to_value.tolist() == [[[300.0, 300.0]]]


def test_no_query_is_no_launch() -> None:
    locations, weights = torch.zeros(1, 0, 2, 1, 1, 2), torch.zeros(1, 0, 2, 1)
    out = sampling_triton.forward(torch.ones(1, 4, 4), [2, 2], locations, weights)
    assert out.shape == (1, 0, 4)
