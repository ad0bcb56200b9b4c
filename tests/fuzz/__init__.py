"""Spoiled input for every reader of what others wrote: each ends in a value or in a named error.

A name of a reader is a folder of `corpus` and a row of `readers.py`; `harness.py` says what an end
is. It may use the builders of tests/unit.
"""
