"""`make gpu-check`: one run of minutes that tells what a GPU does. pytest collects none of it.

A check is a generator of `Row`s in a module of its own, which runs in a process of its own: an
error of the device spoils a process for all that follows. A new check is listed in `checks.py`.
"""
