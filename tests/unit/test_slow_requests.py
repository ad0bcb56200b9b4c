"""Which requests of the operator DINO_TEST_DELAYS slows down (tests/api/slow_requests.py)."""

from __future__ import annotations

import pytest

from tests.api.slow_requests import Delays

JOBS = "/apis/batch/v1/namespaces/lab/jobs"
STATUS = "/apis/dino-operator.io/v1alpha1/namespaces/lab/dinojobs/x/status"
EVENTS = "/api/v1/namespaces/lab/events"


@pytest.mark.parametrize(
    "text, verb, path, seconds",
    [
        ("", "PATCH", STATUS, 0),
        ("status=2", "PATCH", STATUS, 2),
        ("status=2", "GET", STATUS, 0),
        ("status=2", "POST", JOBS, 0),
        ("jobs=2", "POST", JOBS, 2),
        ("jobs=2", "DELETE", f"{JOBS}/x-train-1", 2),
        ("jobs=2", "PATCH", STATUS, 0),
        ("events=1", "POST", EVENTS, 1),
        ("all=0.3", "GET", JOBS, 0.3),
        ("all=0.3,status=2,writes=1", "PATCH", STATUS, 2.3),
        ("watch=1", "GET", JOBS, 0),
        ("answers=1", "POST", JOBS, 0),
    ],
)
def test_what_waits(text: str, verb: str, path: str, seconds: float) -> None:
    assert Delays.read(text).before(verb, path) == pytest.approx(seconds)


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"DINO_TEST_DELAYS: no pods; there are all, answers, "):
        Delays.read("pods=3")
