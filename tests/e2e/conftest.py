"""The cluster of tests/e2e/fixtures.py."""

from tests.e2e.fixtures import _small_data_is_there, lab, small_data, wrong_keys

__all__ = ["_small_data_is_there", "lab", "small_data", "wrong_keys"]
