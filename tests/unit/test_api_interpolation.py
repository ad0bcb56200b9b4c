"""`${a.b}` and `???`: what OmegaConf 2.3 and 2.4 make of the same texts was read off and is here.

Where we refuse what OmegaConf takes (resolvers, lists within a text), the sentence says so.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.interpolation import LONGEST, interpolated
from dino_api.loading import load
from dino_api.names import Action
from dino_api.problem import SpecErrors, render
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import spec_file
from tests.builders import a_job

AROUND: dict[str, Any] = {
    "a": {"b": 1, "l": [1, 2, "x${a.b}"], "t": True, "n": None, "f": 1e-5, "rel": "${..r}"},
    "r": "out",
    "p": "${r}/x",
    "k": "b",
    "same": "${a}",
}

RESOLVED = {
    "text around": ("${r}/train", "out/train"),
    "alone, with its type": ("${a.b}", 1),
    "a reference to a reference": ("${p}/y", "out/x/y"),
    "two of them": ("${a.b}-${k}", "1-b"),
    "spaces": ("${ r }", "out"),
    "a list's entry": ("${a.l[2]}", "x1"),
    "in another spelling": ("${a.l.0}", 1),
    "from the end": ("${a.l[-1]}", "x1"),
    "a key in brackets": ("${a[b]}", 1),
    "one within another": ("${a.${k}}", 1),
    "a flag within a text": ("v${a.t}", "vTrue"),
    "null within a text": ("v${a.n}", "vNone"),
    "a number within a text": ("v${a.f}", "v1e-05"),
    "a section": ("${a.l}", [1, 2, "x1"]),
    "behind a section that is one": ("${same.b}", 1),
    "a list behind it": ("${same.l[0]}", 1),
    "beside the key": ("${.r}", "out"),
    "further out, in a list": (["${..r}", "${.0}"], ["out", "out"]),
    "relative, elsewhere": ("${a.rel}", "out"),
    "its meaning taken away": (r"\${r}/x", "${r}/x"),
    "a backslash before it": (r"\\${r}/x", r"\out/x"),
    "three of them": (r"\\\${r}", r"\${r}"),
    "backslashes elsewhere": (r"a\b${r}\\c", r"a\bout\\c"),
    "braces elsewhere": ("x $ {r} ${r}}", "x $ {r} out}"),
    "a default": ("${train.num_epochs}", 10),
    "a default's section": ("${train.ema}", {"enabled": False, "decay": 0.9997}),
    "dollars in names": ("s3://b/_$folder$", "s3://b/_$folder$"),
    "question marks in names": ("/x/???", "/x/???"),
}


@pytest.mark.parametrize(("text", "wanted"), RESOLVED.values(), ids=RESOLVED.keys())
def test_a_reference_stands_for_what_the_key_says(text: Any, wanted: Any) -> None:
    made, problems = interpolated({**AROUND, "x": text}, Action.TRAIN)
    assert (made["x"], problems) == (wanted, [])
    assert type(made["x"]) is type(wanted)


REFUSED = {
    "a resolver": ("${oc.env:HOME}/x", "asks for the resolver oc.env"),
    "another": ("${now:%Y-%m-%d}", "asks for the resolver now"),
    "a resolver of TAO's own": ("${eval:'2*${a.b}'}", "asks for the resolver eval"),
    "a variable with a default": ("${HOME:-/tmp}", "asks for the resolver HOME"),
    "a variable": ("${HOME}", "refers to HOME, and the spec has no such key"),
    "a misspelt key": ("${train.num_epoch}", "Did you mean train.num_epochs?"),
    "itself": ("${x}/y", "refers to itself (x -> x)"),
    "itself, by way of another": ("${y}", "refers to itself (x -> y -> x)"),
    "a section that it is in": ("${same.deep}", "refers to itself"),
    "a list within a text": ("v${a.l}", "has ${a.l} within a text, and that is a list"),
    "a section within a text": ("v${a}", "and that is a section"),
    "what is missing": ("${m}/x", "refers to m, which is ???: its value is still missing"),
    "missing": ("???", "is ???: its value is still missing"),
    "not closed": ("${r/x", "has a ${ without its }"),
    "nothing": ("${}", "which names no key"),
    "dots in a row": ("${a..b}", "which names no key"),
    "out of the spec": ("${....r}", "which names no key"),
    "a template": ("{{ results_dir }}/x", "holds {{ results_dir }}, a template that nobody"),
    "Jinja's statement": ("{% if x %}a", "holds {% if x %}, a template"),
    "ERB": ("<%= x %>", "holds <%= x %>, a template"),
    "a parameter of a pipeline": ("$(params.x) $(DATA)/x", "holds $(DATA), a template"),
    "a shell's variable": ("$RESULTS/x", "holds $RESULTS, and variables are not read"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_stands_for_nothing_is_refused_by_name(text: str, said: str) -> None:
    around = {**AROUND, "m": "???", "y": "${x}", "same": "${same}" if "deep" in text else "${a}"}
    with pytest.raises(SpecErrors) as caught:
        load({**around, "x": text})
    told = [render(each) for each in caught.value.problems if each.path == "x"]
    assert len(told) == 1
    assert said in told[0]


def test_a_list_is_named_by_its_entry_and_nothing_follows_from_it() -> None:
    entry = {"image_dir": "${results_dir}/${oc.env:X}", "json_file": "b"}
    with pytest.raises(SpecErrors) as caught:
        load({"dataset": {"train_data_sources": [entry]}})
    (told,) = [each for each in caught.value.problems if each.severity == "error"]
    assert told.path == "dataset.train_data_sources[0].image_dir"


def test_a_key_that_is_null_stands_for_its_default() -> None:
    spec = {"model": {"num_queries": None, "num_select": "${model.num_queries}"}}
    given = {**spec, "results_dir": None, "model_name": "of ${results_dir}/x"}
    found, problems = interpolated(given, Action.TRAIN)
    assert problems == []
    assert found["model"]["num_select"] == 300
    assert found["model_name"] == f"of {ExperimentSpec().results_dir}/x"


def test_what_the_action_does_not_read_may_be_missing() -> None:
    """As in TAO, where a value is missing only once it is read: its templates are full of it."""
    spec = {
        "encryption_key": "???",
        "evaluate": {"checkpoint": "???", "results_dir": "${oc.env:HOME}"},
        "dataset": {"test_data_sources": [{"image_dir": "???", "json_file": "x"}]},
        "wandb": {"name": "${oc.env:NAME}"},
    }
    read, notes = load(spec)
    assert read.evaluate.checkpoint == ""
    assert len([each for each in notes if each.id in ("missing-value", "interpolation")]) == 5
    with pytest.raises(SpecErrors) as caught:
        load(spec, action=Action.EVALUATE)
    wrong = {each.path for each in caught.value.problems if each.severity == "error"}
    assert wrong == {
        "evaluate.checkpoint",
        "evaluate.results_dir",
        "dataset.test_data_sources[0].image_dir",
    }


def test_references_do_not_make_a_spec_without_end() -> None:
    lists: dict[str, Any] = {f"a{n}": [f"${{a{n - 1}}}"] * 9 for n in range(1, 12)}
    texts = {f"b{n}": f"${{b{n - 1}}}${{b{n - 1}}}" for n in range(1, 40)}
    chain = {f"c{n}": f"${{c{n - 1}}}" for n in range(1, 200)}
    many = {"a0": ["x"] * 9, **lists, "b0": "x" * 9, **texts, "c0": 1, **chain}
    made, problems = interpolated(many, Action.TRAIN)
    said = "\n".join(each.rule for each in problems)
    assert "makes the spec longer than" in said
    assert all(len(each) <= LONGEST for each in made.values() if isinstance(each, str))


PIECES = ["${", "}", "a", ".", "b", "\\", "[0]", ":", "$", " ", "???", "{{", "r", "x"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_every_text_is_resolved_or_refused(text: str) -> None:
    made, problems = interpolated({**AROUND, "x": text}, Action.TRAIN)
    assert ("x" in made) != any(each.path == "x" for each in problems)
    if "$" not in text and "{" not in text and text != "???":
        assert made["x"] == text


def test_a_job_and_the_command_read_it_alike() -> None:
    """The pod gets the text as it is written, and resolves it as the operator did."""
    weights = "${results_dir}/../before/${model.backbone}.pth"
    job = DinoJob(a_job().experiment(train={"pretrained_model_path": weights}).obj())
    told = spec_file.read_spec(job)
    content = yaml.safe_load(told.content)
    again, _ = load(content)
    uri = job.spec["output"]["uri"]
    assert again.train.pretrained_model_path == f"{uri}/../before/resnet_50.pth"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("???", "spec.experiment.train.pretrained_model_path: is ???: its value is still missing."),
        (
            "${oc.env:X}",
            "spec.experiment.train.pretrained_model_path: asks for the resolver oc.env",
        ),
        ("{{ x }}", "spec.experiment.train.pretrained_model_path: holds {{ x }}, a template"),
    ],
)
def test_a_job_refuses_it_by_its_own_path(value: str, said: str) -> None:
    with pytest.raises(spec_file.InvalidSpec) as caught:
        spec_file.read_spec(
            DinoJob(a_job().experiment(train={"pretrained_model_path": value}).obj())
        )
    assert caught.value.problems[0].startswith(said)
