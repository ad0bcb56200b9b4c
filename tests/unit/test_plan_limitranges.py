"""What the operator requests by itself, within a namespace's LimitRanges."""

from __future__ import annotations

import pytest

from dino_operator.plan.job.decide import plan
from dino_operator.plan.rendered import quantities
from tests.builders import Object, a_job, around, later
from tests.statuses import CHECKED
from tests.unit.plan_cases import SETTINGS


def a_range(kind: str = "Container", **bounds: Object) -> Object:
    return {"spec": {"limits": [{"type": kind, **bounds}]}}


# spec.resources, whether the data is checked already, LimitRanges, requests.
CASES: dict[str, tuple[Object, bool, list[Object], Object]] = {
    "none": ({}, True, [], {"cpu": "3"}),
    "a default limit below ours": ({}, True, [a_range(default={"cpu": "250m"})], {"cpu": "250m"}),
    "one above it": ({}, True, [a_range(default={"cpu": "8"})], {"cpu": "3"}),
    "the lowest of several": (
        {},
        True,
        [a_range(default={"cpu": "2"}), a_range(default={"cpu": "1500m"})],
        {"cpu": "1500m"},
    ),
    "a maximum": ({}, True, [a_range(max={"cpu": "2"}, default={"cpu": "2"})], {"cpu": "2"}),
    "a maximum of pods": ({}, True, [a_range("Pod", max={"cpu": "1"})], {"cpu": "1"}),
    "a minimum": ({"gpus": 0}, True, [a_range(min={"cpu": "1"})], {"cpu": "1"}),
    "a ratio": (
        {"gpus": 0},
        True,
        [a_range(default={"cpu": "4"}, maxLimitRequestRatio={"cpu": "3"})],
        {"cpu": "1334m"},
    ),
    "what others are bound by": (
        {},
        True,
        [a_range("PersistentVolumeClaim", max={"storage": "1Gi"}), a_range(max={"memory": "1Gi"})],
        {"cpu": "3"},
    ),
    "what the user asks for stays": (
        {"cpu": "4", "memory": "8Gi"},
        True,
        [a_range(default={"cpu": "1", "memory": "1Gi"})],
        {"cpu": "4", "memory": "8Gi"},
    ),
    "the preflight": ({}, False, [a_range(default={"cpu": "100m"})], {"cpu": "100m"}),
    "the preflight, of a large training": (
        {"cpu": "16", "memory": "64Gi"},
        False,
        [a_range(default={"cpu": "100m"}, maxLimitRequestRatio={"cpu": "8", "memory": "4"})],
        {"cpu": "2000m", "memory": str(16 * 2**30)},
    ),
    "its memory": (
        {"memory": "8Gi"},
        False,
        [a_range(min={"memory": "2Gi"})],
        {"cpu": "500m", "memory": "2Gi"},
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_requests(sentence: str) -> None:
    resources, checked, ranges, expected = CASES[sentence]
    job = a_job().spec(resources=resources)
    job.status(CHECKED if checked else None)
    made = plan(job.obj(), around(limit_ranges=tuple(ranges)), later(0), SETTINGS)
    pod = made.creates[-1]["spec"]["template"]["spec"]
    requests = dict(pod["containers"][0]["resources"]["requests"])
    requests.pop("nvidia.com/gpu", None)
    assert requests == expected


@pytest.mark.parametrize(("text", "cpus"), [("100u", 1e-4), ("5000n", 5e-6), ("250m", 0.25)])
def test_amounts_as_the_api_server_writes_them(text: str, cpus: float) -> None:
    """0.0001 CPUs are 100u to it."""
    assert quantities.amount(text) == pytest.approx(cpus)
