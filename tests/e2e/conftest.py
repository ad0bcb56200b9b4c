"""The cluster of fixtures.py, a job that waits beside all tests, and the data that is there."""

import pytest

from tests.e2e.bccd import BCCD
from tests.e2e.fixtures import (
    _small_data_is_there,
    dead_endpoint,
    lab,
    one_class,
    scenes,
    small_data,
    wrong_keys,
)
from tests.e2e.shared import refuse_company

__all__ = [
    "_small_data_is_there",
    "dead_endpoint",
    "lab",
    "one_class",
    "scenes",
    "small_data",
    "wrong_keys",
]

collect_ignore = [] if BCCD.is_dir() else ["test_photographs.py"]


def pytest_report_header() -> str:
    """Whether photographs add to what is shown on digits."""
    if BCCD.is_dir():
        return f"e2e: on digits, and test_photographs.py on {BCCD}"
    return f"e2e: on digits; no test_photographs.py, for there are no BCCD photographs at {BCCD}"


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that are to run alone do so."""
    refuse_company(item)
