"""README's way into a cluster: what its first lines install is what its next lines use."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

from charts import generate, quickstart
from demo.digits import WITH_TEST
from dino_operator.plan.model import Settings
from dino_operator.preview import preview
from dino_trainer.storage.s3_settings import S3Settings as StoreSettings
from tests.chart.conftest import ROOT, Objects

README = (ROOT / "README.md").read_text()
MANIFEST = yaml.safe_load(README.partition("```yaml\n")[2].partition("```")[0])
INSTALL = README.partition("## Install on your cluster\n")[2]
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


def test_it_can_be_read_at_one_sitting() -> None:
    assert len(README.splitlines()) <= 70


def test_its_manifest_is_taken_and_nothing_is_odd_about_it() -> None:
    """A newcomer's first training starts from weights, which the trainer has with it."""
    made = preview(MANIFEST, Settings("trainer:1"))
    assert [each["kind"] for each in made.objects].count("Job") == 2, "the check, the training"
    assert made.warnings == ()


def test_the_way_in_makes_what_its_manifest_needs() -> None:
    """The namespace, the Secret in it, the data where the manifest has it, and that very file."""
    meta, data = MANIFEST["metadata"], MANIFEST["spec"]["datasets"]
    assert f"kubectl create namespace {meta['namespace']} " in BLOCK
    assert f"kubectl -n {meta['namespace']} create secret generic" in BLOCK
    (to,) = re.findall(r"make sample-dataset TO=(\S+)", BLOCK)
    train, val, _ = (f"{to}/{split}" for split in WITH_TEST)
    assert data == {"train": [{"uri": train}], "validation": [{"uri": val}]}
    assert f"kubectl apply -f {meta['name']}.yaml" in BLOCK
    assert f"-n {meta['namespace']} wait --for=condition=Complete dinojob/{meta['name']}" in BLOCK
    count = sum(WITH_TEST.values())
    assert f"{count} images" in BLOCK


def test_the_variables_for_the_upload_are_the_trainers() -> None:
    (told,) = re.findall(r"for `make sample-dataset` set `([^`]+)`", INSTALL)
    env = dict(one.split("=", 1) for one in told.split())
    found = StoreSettings.from_env(env)
    assert (found.endpoint, found.path_style) == ("http://HOST:PORT", True)


def test_the_sites_quickstart_is_this_one() -> None:
    """Written once, here: every command and the manifest stand on the page as well."""
    page = (ROOT / "docs" / "quickstart.md").read_text()
    assert page == generate.files()["docs/quickstart.md"]
    commands = [line for line in README.splitlines() if line.startswith("    ")]
    assert [line for line in page.splitlines() if line.startswith("    ")] == commands
    assert yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0]) == MANIFEST
    sections = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert tuple(sections) == quickstart.SECTIONS


def test_the_quickstart_links_to_what_readme_names() -> None:
    named = quickstart.linked("See `docs/tao.md`, `docs/decisions/` and `examples/`.")
    title = "Coming from TAO: specs, checkpoints, resuming"
    assert named == f"See [{title}](tao.md), `docs/decisions/` and `examples/`."
