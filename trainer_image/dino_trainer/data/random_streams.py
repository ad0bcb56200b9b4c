"""Random numbers as functions of a key, for code that must not need torch.

`Draws` gives the numbers that a `torch.Generator` of the same key gives, drawn one at a time, and
gives them several times as fast: both are the Mersenne twister, seeded in the same way.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

# What a random stream is for. Distinct purposes must never share a stream.
INIT, ORDER, AUGMENT, STEP = range(4)


def seed_of(*key: int) -> int:
    """A 63-bit seed from a tuple of integers; close keys give unrelated seeds."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Draws:
    """A stream of random numbers. Making one is slow, turning it to another key is not."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.MT19937()
        self._state = np.random.RandomState(self._bits)
        if key:
            self.turn(*key)

    def __reduce__(self) -> tuple[type["Draws"], tuple[()]]:
        return Draws, ()  # a copy in a loader's worker; its generator must be its state's

    def turn(self, *key: int) -> "Draws":
        """Go to the start of the stream of `key`; returns itself."""
        self._state.seed(seed_of(*key) & 0xFFFFFFFF)  # torch's CPU generator takes 32 bits too
        return self

    def uniform(self) -> float:
        """Draws from 0, included, to 1, excluded; as `torch.rand(())`."""
        return (self._bits.random_raw() & 0xFFFFFF) / 2**24

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included; as `torch.randint`."""
        return low + self._bits.random_raw() % (high - low + 1)

    def choose(self, values: Sequence[int]) -> int:
        """One of `values`."""
        return values[self.integer(0, len(values) - 1)]
