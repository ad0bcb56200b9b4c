"""README's way into a cluster: what its first lines install is what its next lines use."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.chart.conftest import ROOT, Objects

INSTALL = (ROOT / "README.md").read_text().partition("## Install on your cluster\n")[2]
BLOCK = INSTALL.partition("\n    ")[2].partition("\n\n")[0].replace("REGISTRY", "registry")
SET = re.compile(r"--set (\S+)")


def env(objects: Objects) -> dict[str, str]:
    """The variables of the operator's container by which the chart configures it."""
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


def test_the_release_uses_the_images_and_the_secret_that_were_made(
    render: Callable[..., Objects],
) -> None:
    """The keys of a Secret that no value names would reach no pod."""
    objects = render(*SET.findall(BLOCK))
    pushed = set(re.findall(r"docker push (\S+)", BLOCK))
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert pushed == {container["image"], env(objects)["DINO_TRAINER_IMAGE"]}
    assert f"create secret generic {env(objects)['DINO_S3_SECRET']} " in BLOCK


def test_the_values_for_another_object_store_are_the_charts(
    render: Callable[..., Objects],
) -> None:
    (sentence,) = re.findall(r"Where S3 is not Amazon's, add `([^`]+)`", INSTALL)
    told = env(render(*SET.findall(sentence)))
    assert (told["DINO_S3_ENDPOINT"], told["DINO_S3_PATH_STYLE"]) == ("http://HOST:PORT", "true")
