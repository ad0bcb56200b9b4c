"""The `dino` command and the real action on data that cannot be used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.patience import LONG
from tests.unit.coco_builders import an_archive
from tests.unit.s3_server import BUCKET, S3Server, free_port
from tests.unit.trainer_command import Command

DINO = [
    sys.executable,
    "-c",
    "import sys; from dino_trainer.command.cli import main; sys.exit(main())",
]


# From here on the real action runs, up to the point where the data is found wanting.
# changes to the data source, exit code, words
DATA: dict[str, tuple[dict[str, str], int, str]] = {
    "no such folder": ({"image_dir": "{data}/pictures"}, 66, "no folder or archive"),
    "no such annotations": ({"json_file": "{data}/no.json"}, 66, "There is no file"),
    "not COCO": ({"json_file": "{data}/not_coco.json"}, 65, "'images' is missing"),
    "a truncated archive": ({"image_dir": "{data}/cut.tar.gz"}, 65, "ends early"),
    "S3 without the object": ({"image_dir": f"s3://{BUCKET}/no.tar.gz"}, 66, f"bucket {BUCKET}"),
    "S3 without the bucket": ({"json_file": "s3://gone/a.json"}, 66, "no bucket gone"),
    "a scheme of another world": ({"json_file": "aws://b/a.json"}, 64, "s3://"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_used(case: str, command: Command, s3_server: S3Server) -> None:
    changes, code, words = DATA[case]
    data = command.folder / "data"
    (data / "not_coco.json").write_text('{"shapes": []}')
    whole = an_archive(data / "whole.tar.gz").read_bytes()
    (data / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    [source] = command.spec["dataset"]["train_data_sources"]
    source.update({key: value.format(data=data) for key, value in changes.items()})
    assert command.run() == code
    assert words in command.err
    assert command.reported is not None
    assert command.reported.failure is not None
    assert command.reported.failure.exit_code == code
    assert command.reported.failure.remedy


def test_credentials_that_are_refused(
    command: Command, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dino_trainer.storage import s3

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3._client.cache_clear()
    command.spec["results_dir"] = f"s3://{BUCKET}/out"
    assert command.run() == 77
    s3._client.cache_clear()
    assert "spec.storage.secretName" in command.err
    assert command.reported is not None


def test_a_stop_while_the_server_is_away(command: Command) -> None:
    """As the pod's own process: the signal arrives while nothing can be downloaded."""
    source = command.spec["dataset"]["train_data_sources"][0]
    source["json_file"] = f"s3://{BUCKET}/annotations.json"
    env = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    process = subprocess.Popen(
        [*DINO, "train", "-e", str(command.spec_path)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Trying again" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=LONG)
    assert process.returncode == 143, error
    assert "SIGTERM: finishing this step" in error
    assert "Preempted: Stopped while staging the data." in error
