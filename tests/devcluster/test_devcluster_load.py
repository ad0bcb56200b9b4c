"""Loads of images beside each other, with garbage collections at every point.

DINO_LOAD_ROUNDS=200 runs as many rounds instead of a few.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from lib import doctor, images
from lib.containerd import Containerd

from tests.devcluster.private_containerd import Collecting, Workshop, opened

ROUNDS = int(os.environ.get("DINO_LOAD_ROUNDS", "3"))
ONE, OTHER = "localhost/one:1", "localhost/other:1"  # of three layers, the lower two in common

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.environ.get("CLUSTER") == "current", reason="about the dev cluster"),
    pytest.mark.skipif(os.geteuid() != 0, reason="containerd and mounts need root"),
]


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """Two images in buildah's storage, and a containerd without any."""
    doctor.ensure_packages({**doctor.NODE_NEEDS, **doctor.IMAGE_NEEDS})
    with pytest.MonkeyPatch.context() as patch, opened(patch) as made:
        made.build("localhost/low:1", "scratch", low=os.urandom(300_000), middle=b"middle")
        made.build(ONE, "localhost/low:1", one=os.urandom(2_000_000))
        made.build(OTHER, "localhost/low:1", other=os.urandom(1_000_000))
        yield made


def build_until_done(loads: list[Future[None]]) -> None:
    """Another buildah at work, as where one image is built while another is loaded."""
    while not all(load.done() for load in loads):
        images.buildah("images")


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_loads_beside_each_other_leave_whole_images(workshop: Workshop, number: int) -> None:
    pair = (ONE, ONE) if number % 4 == 3 else (ONE, OTHER)
    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(images.load, name) for name in pair]
        pool.submit(build_until_done, loads).result()
        for load in loads:
            load.result()
    workshop.check(*pair)
    images.load(ONE)  # again, which changes nothing
    workshop.check(*pair)
    workshop.forget()


class Interrupted(BaseException):
    """What Ctrl-C raises."""


def interrupt() -> None:
    raise Interrupted


def at(number: int, act: Callable[[], None]) -> Callable[[int], None]:
    """Have something done before the command of that number."""
    return staticmethod(lambda now: act() if now == number else None)


def commands_of_a_load(name: str, patch: pytest.MonkeyPatch) -> int:
    """How many commands a load gives."""
    numbers: list[int] = []
    patch.setattr(Collecting, "before", staticmethod(numbers.append))
    images.load(name)
    return len(numbers)


def test_a_load_that_was_interrupted_anywhere_is_done_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = commands_of_a_load(ONE, monkeypatch)
    assert count > 10
    workshop.forget()
    for number in range(count):
        monkeypatch.setattr(Collecting, "before", at(number, interrupt))
        with pytest.raises(Interrupted):
            images.load(ONE)
        monkeypatch.setattr(Collecting, "before", at(-1, interrupt))
        images.load(ONE)
        workshop.check(ONE)
        workshop.forget()


def test_layers_in_common_stay_while_the_image_that_brought_them_goes(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove() -> None:
        Containerd().remove_images([ONE])

    images.load(ONE)
    for number in range(commands_of_a_load(OTHER, monkeypatch)):
        monkeypatch.setattr(Collecting, "before", at(-1, interrupt))
        workshop.forget()
        images.load(ONE)
        monkeypatch.setattr(
            Collecting, "before", at(number, lambda: Containerd().remove_images([ONE]))
        )
        images.load(OTHER)
        workshop.check(OTHER)
