"""How the bench of pods reads a command, deals images and takes a core."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.inference_pods import PODS, PodLab, on_core, seconds_of


def test_a_command_takes_from_its_first_line_of_images_to_its_last() -> None:
    lines = [
        (1.0, "Starting DINO inference.\n"),
        (3.0, "Looking for objects in 32 images on the CPU with 1 thread(s).\n"),
        (9.0, "step 20/32\n"),
        (13.5, "0 objects in 32 images, 32 of them without any.\n"),
        (14.0, "done\n"),
    ]
    assert seconds_of(lines) == 10.5
    assert seconds_of(lines[:3]) is None
    assert seconds_of([]) is None  # of all pods but the first


def test_pods_share_the_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in "abcde":
        (images / name).touch()
    lab = PodLab(tmp_path, images, {})
    shares = [sorted(path.name for path in lab.share(pod).iterdir()) for pod in range(PODS)]
    assert shares == [["a", "c", "e"], ["b", "d"]]


def test_what_is_started_on_a_core_leaves_the_others_as_they_were() -> None:
    before = os.sched_getaffinity(0)
    with on_core(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
