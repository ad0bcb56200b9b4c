"""The bench of preflight's annotations checks a file as preflight does, and finds it sound."""

from pathlib import Path

from tests.bench import preflight_annotations as bench


def test_the_benchs_file_is_read_and_has_no_flaw(tmp_path: Path) -> None:
    bench.write(tmp_path / "annotations.json", 30)
    train = bench.ours(tmp_path / "annotations.json")["splits"]["train"]
    assert (train["images"], train["boxes"]) == (30, 30 * bench.BOXES)
