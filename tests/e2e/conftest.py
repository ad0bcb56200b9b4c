"""The cluster of tests/e2e/fixtures.py, and a job that waits beside all tests."""

from tests.e2e.fixtures import _small_data_is_there, dead_endpoint, lab, small_data, wrong_keys

__all__ = ["_small_data_is_there", "dead_endpoint", "lab", "small_data", "wrong_keys"]
