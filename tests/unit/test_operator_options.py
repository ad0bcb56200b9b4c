"""The installation's settings: the same options of both commands, checked alike."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

import pytest

from dino_api.resources.dinoautoml import SmokeProfile
from dino_operator import kubectl, main, options
from dino_operator.plan.model import Settings

OTHER = {
    "--trainer-image": "other:1",
    "--tensorrt-image": "other-trt:1",
    "--image-pull-policy": "Never",
    "--cpu-per-process": "500m",
    "--s3-endpoint": "http://s3.example:7070",
    "--s3-region": "eu-central-1",
    "--s3-path-style": "true",
    "--s3-secret": "keys",
    "--cache-claim": "cache",
    "--trainer-pull-secrets": "one, two",
    "--trainer-env": '{"HTTPS_PROXY": "http://proxy:3128"}',
    "--ca-config-map": "private-ca",
    "--automl": "false",
    "--automl-trials": "7",
    "--automl-parallel-trials": "3",
    "--automl-profile": '{"epochs": 3}',
}
"""For each option on which rendered objects depend, another value than its default."""
WANTED = Settings(
    trainer_image="other:1",
    tensorrt_image="other-trt:1",
    image_pull_policy="Never",
    cpu_per_process="500m",
    s3_endpoint="http://s3.example:7070",
    s3_region="eu-central-1",
    s3_path_style=True,
    s3_secret="keys",
    cache_claim="cache",
    pull_secrets=("one", "two"),
    trainer_env=(("HTTPS_PROXY", "http://proxy:3128"),),
    ca_config_map="private-ca",
    automl=False,
    routed_trials=7,
    routed_parallel=3,
    profile=SmokeProfile(epochs=3),
)
ARGUMENTS = [word for pair in OTHER.items() for word in pair]
VARIABLES = {each.variable: OTHER[each.flag] for each in options.SETTINGS if each.rendered}


def rendering(arguments: list[str], environ: dict[str, str] | None = None) -> argparse.Namespace:
    return kubectl.parser(environ or {}).parse_args(["render", "-f", "-", *arguments])


def operating(arguments: list[str], environ: dict[str, str] | None = None) -> argparse.Namespace:
    return main.parser(environ or {}).parse_args(arguments)


@pytest.mark.parametrize("parsed", [rendering, operating])
def test_both_commands_take_what_is_rendered(parsed: object) -> None:
    assert callable(parsed)
    assert options.settings(parsed(ARGUMENTS)) == WANTED
    assert options.settings(parsed([], VARIABLES)) == WANTED


def test_defaults_are_those_of_the_settings() -> None:
    assert options.settings(operating([])) == Settings(trainer_image="")
    plugin = options.settings(rendering([]))
    assert plugin.trainer_image.startswith("localhost/dino-trainer:")
    assert replace(plugin, trainer_image="") == Settings(trainer_image="")


def test_searches_are_turned_off_shortly() -> None:
    assert options.settings(rendering(["--no-automl"])).automl is False
    assert options.settings(rendering([], {"DINO_AUTOML": "false"})).automl is False


@pytest.mark.parametrize(
    ("flag", "bad"),
    [
        ("--automl-profile", "{"),
        ("--automl-profile", '{"epoch": 1}'),
        ("--cpu-per-process", "many"),
        ("--image-pull-policy", "Sometimes"),
        ("--s3-path-style", "maybe"),
        ("--automl-trials", "0"),
        ("--trainer-env", "HTTPS_PROXY=x"),
        ("--trainer-env", '["x"]'),
        ("--trainer-env", '{"PORT": 1}'),
        ("--trainer-env", '{"DINO_DEBUG": "1"}'),
    ],
)
def test_the_plugin_refuses_what_the_operator_refuses(
    flag: str, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for parsed, status in ((operating, 2), (rendering, 64)):
        with pytest.raises(SystemExit) as ended:
            parsed([flag, bad])
        assert ended.value.code == status
        assert f"argument {flag}: " in capsys.readouterr().err


def test_every_setting_is_one_of_the_plan() -> None:
    known = {each.name for each in fields(Settings)}
    assert {each.name for each in options.SETTINGS} <= known
    assert {each.flag for each in options.SETTINGS if each.rendered} == set(OTHER)
