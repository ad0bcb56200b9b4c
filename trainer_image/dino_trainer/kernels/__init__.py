"""Functions that numba compiles for the CPU, and what for. May import: numpy, numba.

No torch: an image's build compiles them, and imports nothing else to do so.
"""
