"""Where the weights of a backbone are published, and fetching them from there.

Only `dino weights fetch` comes here: a training reads files that are named to it, and none else.
"""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model.backbone import check_backbone
from dino_trainer.model.backbone_names import RESNETS, recipe_of
from dino_trainer.storage.files import named, replacing, sha256_of

_HUB = "https://huggingface.co"
_SECONDS, _BLOCK = 60.0, 1 << 20
# TAO's names say which images the weights have seen; timm's own choice would be tuned further.
_TAGS = {
    "swin_base_224_22k": "ms_in22k",
    "swin_base_384_22k": "ms_in22k",
    "swin_large_224_22k": "ms_in22k",
    "swin_large_384_22k": "ms_in22k",
}
# Published by nobody whose files may be fetched without an account.
_ELSEWHERE = {"vit_large_nvdinov2": "NVIDIA's NGC catalogue has its weights, for an account there"}
_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.pth$")


@dataclass(frozen=True)
class PublishedWeights:
    """The weights of one backbone. urls: where they lie, to be tried in this order. licence: as
    their library names it; empty where it does not."""

    backbone: str
    urls: tuple[str, ...]
    licence: str = ""

    def file(self, url: str) -> str:
        """Under which name they are kept: that of the backbone."""
        return f"{self.backbone.replace('/', '_')}{Path(url).suffix}"


def published(backbone: str) -> PublishedWeights:
    """Where the weights of `model.backbone` are published. Raises InvalidSpec where nowhere."""
    try:
        check_backbone(backbone)
    except ValueError as error:
        raise invalid_spec(str(error)) from error
    if backbone in RESNETS:
        return _of_torchvision(backbone)
    if backbone in _ELSEWHERE:
        remedy = (
            "Upload the file that you get there, and name it in model.pretrained_backbone_path."
        )
        raise invalid_spec(f"{backbone}: {_ELSEWHERE[backbone]}.", remedy)
    return _of_timm(backbone)


def _of_torchvision(backbone: str) -> PublishedWeights:
    """Those of the first recipe, which published detectors start from."""
    from torchvision.models import get_model_weights

    weights = get_model_weights(backbone.replace("_", ""))["IMAGENET1K_V1"]
    return PublishedWeights(backbone, (weights.url,), "bsd-3-clause")


def _of_timm(backbone: str) -> PublishedWeights:
    from timm.models import get_pretrained_cfg

    name = recipe_of(backbone).timm
    tag = _TAGS.get(backbone)
    config = get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    urls: list[str] = []
    if config is not None and config.hf_hub_id:
        hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
        urls.append(f"{hub}/{config.hf_hub_id}/resolve/main/model.safetensors")
    if config is not None and config.url:
        urls.append(str(config.url))
    if config is None or not urls:
        remedy = "Name weights of your own in model.pretrained_backbone_path, or another backbone."
        raise invalid_spec(f"timm knows no published weights of {backbone}.", remedy)
    return PublishedWeights(backbone, tuple(urls), config.license or "")


def fetch_published(weights: PublishedWeights, folder: Path) -> Path:
    """Copies them into `folder`; returns the file.

    Raises:
        TrainerError: DiskFull; StorageUnavailable where no place answers, with what to do then.
    """
    failed = []
    for url in weights.urls:
        path = folder / weights.file(url)
        try:
            with named(path), replacing(path) as aside:
                _download(url, aside)
            return path
        except _DownloadError as error:
            failed.append(f"{url} ({error})")
    raise _unreachable(weights, failed)


class _DownloadError(Exception):
    """Nothing came, or not what was published. Not an OSError: the disk is not to blame."""


def _download(url: str, path: Path) -> None:
    with path.open("wb") as out:
        for block in _blocks(url):
            out.write(block)
    digest = _DIGEST.search(url)
    if digest and not sha256_of(path).startswith(digest[1]):
        raise _DownloadError("what came has another SHA-256 than its name says")


def _blocks(url: str) -> Iterator[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": "dino-operator"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            while block := answer.read(_BLOCK):
                yield block
    except urllib.error.HTTPError as error:
        raise _DownloadError(f"HTTP {error.code}") from error
    except (OSError, HTTPException) as error:
        raise _DownloadError(str(getattr(error, "reason", "") or error)) from error


def _unreachable(weights: PublishedWeights, failed: Sequence[str]) -> TrainerError:
    return TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"The weights of {weights.backbone} cannot be fetched here: {'; '.join(failed)}.",
        "Fetch the file on a machine that reaches one of these, or through a proxy (HTTPS_PROXY) "
        "or a mirror of the hub (HF_ENDPOINT); then `dino weights put FILE s3://bucket/folder "
        f"--backbone {weights.backbone}` checks and uploads it.",
    )
