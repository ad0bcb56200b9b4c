"""The cluster of tests/e2e/fixtures.py."""

import pytest

from tests.e2e.fixtures import _small_data_is_there, lab, small_data, wrong_keys
from tests.e2e.shared import refuse_company

__all__ = ["_small_data_is_there", "lab", "small_data", "wrong_keys"]


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that are to run alone do so."""
    refuse_company(item)
