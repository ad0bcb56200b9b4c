"""`dino weights`: from where weights are published to where a training reads them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from dino_api.experiment import ModelConfig
from dino_trainer.command import weights
from dino_trainer.command.cli import main
from dino_trainer.model import build_dino, load_backbone_weights
from dino_trainer.model.backbone_names import RESNETS, TAO
from dino_trainer.model_files import published_weights
from dino_trainer.model_files.published_weights import PublishedWeights, published

PAGE = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
NOT_PUBLISHED = "vit_large_nvdinov2"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """A server of the files in hub/."""
    (tmp_path / "hub").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "hub")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def resnet(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of weights that stand for torchvision's, named by their digest as those are."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file = tmp_path / "hub" / "w.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    file.rename(file.with_name(f"resnet18-{digest}.pth"))
    return f"{hub}/resnet18-{digest}.pth"


def publish(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    found = PublishedWeights("resnet_18", urls, "bsd-3-clause")
    monkeypatch.setattr(weights, "published", lambda backbone: replace(found, backbone=backbone))


def test_what_is_fetched_is_what_a_training_loads(
    tmp_path: Path, resnet: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first place does not answer, the second does."""
    publish(monkeypatch, f"{resnet}.gone", resnet)
    out = tmp_path / "out"
    assert main(["weights", "fetch", "resnet_18", "--output", str(out)]) == 0
    (file,) = out.iterdir()
    assert f"    pretrained_backbone_path: {file}\n" in capsys.readouterr().out
    model = build_dino(ModelConfig(backbone="resnet_18"), 2)
    skipped = load_backbone_weights(model, file).skipped
    assert {name for name, _ in skipped} == {"fc.weight", "fc.bias"}, "of the classifier"


def test_a_machine_that_reaches_no_hub_is_told_what_to_do(
    tmp_path: Path, resnet: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = "http://127.0.0.1:9/resnet18.pth"
    publish(monkeypatch, f"{resnet}.gone", nobody)
    assert main(["weights", "fetch", "resnet_18", "--output", str(tmp_path / "out")]) == 69
    said = capsys.readouterr().err
    assert f"{resnet}.gone (HTTP 404)" in said
    assert f"{nobody} (" in said
    assert "dino weights put FILE s3://bucket/folder --backbone resnet_18" in said
    assert "Traceback" not in said
    assert list((tmp_path / "out").glob("*")) == []


def test_a_file_that_was_changed_on_its_way_is_not_kept(
    tmp_path: Path, resnet: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served = tmp_path / "hub" / resnet.rpartition("/")[2]
    served.write_bytes(served.read_bytes() + b"x")
    publish(monkeypatch, resnet)
    assert main(["weights", "fetch", "resnet_18", "--output", str(tmp_path / "out")]) == 69
    assert "another SHA-256" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*")) == []


def test_a_file_of_another_network_is_refused(
    tmp_path: Path, resnet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (served,) = (tmp_path / "hub").iterdir()
    out = tmp_path / "out"
    assert main(["weights", "put", str(served), str(out), "--backbone", "resnet_34"]) == 64
    assert "does not fit the backbone resnet_34" in capsys.readouterr().err
    assert not out.exists()
    assert main(["weights", "put", str(served), str(out), "--backbone", "resnet_18"]) == 0
    assert [file.name for file in out.iterdir()] == [served.name]


def test_what_is_shipped_is_not_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "timm/tf_efficientnet_lite0"]) == 0
    assert "pretrained_backbone_path: imagenet\n" in capsys.readouterr().out


def test_a_backbone_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "resnet_51"]) == 64
    assert "Did you mean resnet_50" in capsys.readouterr().err


def test_weights_that_nobody_publishes_openly_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", NOT_PUBLISHED]) == 64
    assert "NGC" in capsys.readouterr().err


def test_a_mirror_takes_the_place_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert published("efficientvit_b0").urls[0].startswith("https://mirror.example/timm/")


@pytest.mark.parametrize("backbone", sorted({*RESNETS, *TAO} - {NOT_PUBLISHED}))
def test_the_page_says_where_they_are(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = published(backbone)
    assert f"| `{backbone}` | {' or '.join(found.urls)} | {found.licence} |\n" in PAGE


def test_the_page_has_all_others_too() -> None:
    assert f"| `{NOT_PUBLISHED}` | {published_weights._ELSEWHERE[NOT_PUBLISHED]}" in PAGE
