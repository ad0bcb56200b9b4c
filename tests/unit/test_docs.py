"""Documents name only files that exist."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import local
from dino_api import names
from dino_api.failures import TABLE
from dino_api.loading import load
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SearchParameter, SmokeProfile
from dino_api.search import default_space, in_lines, resolve_search
from dino_operator.kubectl import parser as kubectl_dino
from dino_operator.kubectl.validate import verdict_of
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.search.samplers.prior import Dimension
from dino_operator.preview import preview
from dino_trainer.command.cli import build_parser

LOCAL = "build/local"
ROOT = Path(__file__).resolve().parents[2]
SOURCES = "api|operator|runtime/dino_runtime|trainer_image|charts|devcluster|demo|tests"
TOP = f"{SOURCES}|crds|schemas|examples|docs|findings"
PATH = re.compile(rf"`((?:{TOP})/[\w./*-]*)`")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_named_path_exists(page: Path) -> None:
    named = PATH.findall(page.read_text())
    missing = [path for path in named if not any(ROOT.glob(path.rstrip("/")))]
    assert not missing


def test_no_page_has_what_a_merge_left() -> None:
    left = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
    tops = [top for top in ROOT.iterdir() if top.name not in {".venv", ".git", "build"}]
    paths = [*tops, *(path for top in tops if top.is_dir() for path in top.rglob("*"))]
    texts = [path for path in paths if path.suffix in {".md", ".yaml", ".yml", ".toml"}]
    assert len(texts) > 100
    assert [path for path in texts if left.search(path.read_text())] == []


def test_the_map_names_paths_at_all() -> None:
    assert len(PATH.findall((ROOT / "docs" / "architecture.md").read_text())) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_source_is_named_by_its_whole_path(page: Path) -> None:
    """Else no test would look for it. One page says below which folder its paths are."""
    named = re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|sh|lua))`", page.read_text())
    tops = [ROOT, ROOT / "operator/dino_operator"] if page.name == "reliability.md" else [ROOT]
    assert [each for each in named if not any((top / each).is_file() for top in tops)] == []


SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"(?:\$ )?(?:\w+=\S+ )*make (.*)")


def makes(text: str) -> Iterator[str]:
    """The words of each make that a page shows, in a block or within a sentence."""
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    lines += [line for block in SHELL.findall(text) for line in block.splitlines()]
    lines += re.findall(r"`((?:\w+=\S+ )*make [^`]+)`", text)
    for line in lines:
        for part in re.split(r" && |\$\(", line.partition("#")[0]):
            if found := MAKE.fullmatch(part.strip().rstrip(")")):
                yield from found[1].split()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_target_and_variable_of_make_that_documents_name_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"\$\((?:or \$\()?([A-Z]+)\)", makefile))
    words = [word for word in makes(page.read_text()) if not word.startswith("-")]
    assert {word for word in words if "=" not in word} <= targets
    assert {word.partition("=")[0] for word in words if "=" in word} <= variables


def test_documents_name_targets_and_variables_of_make() -> None:
    words = [word for page in PAGES for word in makes(page.read_text())]
    assert {"fuzz", "proof-operations", "EXAMPLES=500", "TO=s3://photos/digits"} <= set(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_our_modules_are_run_by_the_python_that_has_them(page: Path) -> None:
    """Neither the machine's Python has them, nor is uv in PATH where make has brought it."""
    ours = re.compile(rf"(?:\w+=\S+ )*(?:uv run .*|python -m (?:{SOURCES}|dino_\w+)[. ].*)")
    lines = (line.strip().removeprefix("$ ") for line in page.read_text().splitlines())
    assert [line for line in lines if ours.fullmatch(line)] == []


VARIABLE = re.compile(r"\bDINO_[A-Z0-9_]+")


def test_every_variable_that_documents_name_is_read_somewhere() -> None:
    sources = [path for top in SOURCES.split("|") for path in (ROOT / top).rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text())}
    named = {name for page in PAGES for name in VARIABLE.findall(page.read_text())}
    assert len(named) > 10
    assert named <= read


def test_nothing_is_to_be_installed_by_a_name_that_no_registry_has() -> None:
    """The package is that of a checkout or of a wheel, as long as nobody publishes it."""
    packages = [ROOT / top for top in ("operator", "runtime", "trainer_image")]
    told = [*PAGES, ROOT / "CHANGELOG.md"]
    told += [path for package in packages for path in package.rglob("*.py")]
    wrong = re.compile(r"(?:pip|tool) install ['\"]?dino[-_]operator\b(?!-VERSION)")
    assert [str(path) for path in told if wrong.search(path.read_text())] == []


WITHOUT = (
    (ROOT / "README.md").read_text().partition("## Without Kubernetes\n")[2].partition("\n## ")[0]
)


def test_what_the_readme_runs_without_kubernetes_is_what_make_setup_leaves() -> None:
    """No program but make, which a fresh machine has not: all others lie in .venv."""
    lines = [line.split("#")[0].split() for line in WITHOUT.splitlines() if line.startswith("    ")]
    assert lines[0] == ["make", "setup"]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {line[0] for line in lines[1:]} <= {f".venv/bin/{name}" for name in (*scripts, "python")}
    for program, *words in lines[1:]:
        if program == ".venv/bin/python":
            assert importlib.util.find_spec(words[1]), "python -m"
        else:
            assert is_taken(words, build_parser()), words


def is_taken(words: list[str], parser: argparse.ArgumentParser) -> bool:
    """Whether the program knows all of them; --help ends with 0."""
    try:
        parser.parse_args(words)
    except SystemExit as end:
        return end.code == 0
    return True


PROGRAM = re.compile(r"(?:\.venv/bin/)?(dino|kubectl[ -]dino) (\S.*)")


def typed(text: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of a page that run one of our programs: which, and its words."""
    for line in text.splitlines():
        bare = re.split(r" {2,}| #", line.strip().removeprefix("$ "))[0].rstrip(" \\")
        for part in re.split(r" && | \|\| | \| ", bare):
            if found := PROGRAM.fullmatch(part.partition(" > ")[0].strip()):
                yield found[1], shlex.split(found[2])


WRITTEN = [page for page in PAGES if page.name != "commands.md"]
"""That page has the programs' own words, which are no commands alone."""


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_a_page_shows_is_one(page: Path) -> None:
    wrong = [
        (program, words)
        for program, words in typed(page.read_text())
        if not is_taken(words, build_parser() if program == "dino" else kubectl_dino({}))
    ]
    assert wrong == []


def test_pages_show_commands() -> None:
    shown = [each for page in WRITTEN for each in typed(page.read_text())]
    assert len(shown) > 40


def test_the_readmes_spec_is_written_where_it_says(tmp_path: Path) -> None:
    """The demo's training, on the three splits beside the spec, without a problem."""
    assert f"demo.local {LOCAL}" in WITHOUT
    assert set(re.findall(r"-e (\S+/spec\.yaml)", WITHOUT)) == {f"{LOCAL}/spec.yaml"}
    written, problems = load(local.spec(tmp_path))
    assert [p for p in problems if "test_data_sources" not in p.path] == []
    assert written.results_dir == str(tmp_path / "results")


def test_every_test_that_the_guide_to_actions_names_exists() -> None:
    """`file.py::test`, and `::test` of the file named before it."""
    text = (ROOT / "docs" / "actions.md").read_text()
    file, named = "", re.findall(r"`(test_\w+\.py)?::(test_\w+)`", text)
    assert len(named) > 25
    for given, name in named:
        file = given or file
        assert f"def {name}(" in (ROOT / "tests" / "unit" / file).read_text(), f"{file}::{name}"


OURS = (names.KIND, names.AUTOML_KIND)
WITH_TESTS_OF_THEIR_OWN = {"automl.md", "kubectl-dino.md"}


def whole_manifests() -> Iterator[Any]:
    """Every DinoJob and DinoAutoML that a page shows as a whole."""
    for page in PAGES:
        text = "" if page.name in WITH_TESTS_OF_THEIR_OWN else page.read_text()
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            for each in yaml.safe_load_all(block):
                if isinstance(each, dict) and each.get("kind") in OURS and "spec" in each:
                    yield pytest.param(each, id=f"{page.name}:{each['metadata']['name']}")


@pytest.mark.parametrize("manifest", list(whole_manifests()))
def test_every_manifest_of_a_page_is_taken_without_a_warning(manifest: Object) -> None:
    verdict = verdict_of("manifest", manifest, Settings("trainer:1"))
    assert (verdict.refused, verdict.warnings) == ((), ())


def test_there_are_manifests_on_pages() -> None:
    shown = {each.id.partition(":")[0] for each in whole_manifests()}
    assert {"README.md", "training.md", "actions.md", "tao.md"} <= shown


SEARCHES = (ROOT / "docs" / "automl.md").read_text()
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", SEARCHES, re.DOTALL)]
PROFILE = SmokeProfile(train_uri="s3://smoke/train", validation_uri="s3://smoke/val")
DATA = {"train": [{"uri": "s3://a/train"}], "validation": [{"uri": "s3://a/val"}]}


def block_id(block: Object) -> str:
    return str(block.get("kind") or next(iter(block)))


@pytest.mark.parametrize("block", BLOCKS, ids=block_id)
def test_every_manifest_of_the_guide_to_searches_is_accepted(block: Object) -> None:
    """Whole ones by the CRD's schema too, parts as a part of a spec."""
    if "kind" in block:
        assert preview(block, Settings("trainer:1", profile=PROFILE)).objects
    else:
        weights = {"model": {"pretrained_backbone_path": "s3://a/resnet50.pth"}}
        template = {"datasets": DATA, "output": {"uri": "s3://a/out"}, "experiment": weights}
        spec = DinoAutoMLSpec.model_validate({"template": template, **block})
        assert block.keys() <= spec.to_dict().keys()
        assert resolve_search(spec, PROFILE).warnings == []


def test_the_guide_shows_the_columns_of_kubectl_get() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "dino-operator.io_dinoautomls.yaml").read_text())
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    header = next(line for line in SEARCHES.splitlines() if line.strip().startswith("NAME "))
    assert re.split(r"\s{2,}", header.strip()) == ["NAME", *(c["name"].upper() for c in columns)]


@pytest.mark.parametrize("one", default_space({}), ids=lambda one: one.path)
def test_the_guide_has_the_default_space(one: SearchParameter) -> None:
    values = in_lines([one])[0].partition(": ")[2]
    assert f"| `{one.path}` | {values} |" in SEARCHES


def test_kubectl_explain_names_the_default_space() -> None:
    told = DinoAutoMLSpec.model_fields["search"].description or ""
    named = re.findall(r"\b(?:train|model)(?:\.\w+)+", told)
    assert named == [one.path for one in default_space({})]


def test_the_guide_says_where_most_learning_rates_are_drawn() -> None:
    rate = Dimension(default_space({})[0])
    low, high = rate.value(0.05), rate.value(0.95)
    assert (f"{float(low):.0e}", f"{float(high):.0e}") == ("8e-05", "4e-04")
    assert "Nine of ten learning rates of the default range lie between 0.00008 and 0.0004" in (
        SEARCHES
    )


OTHERS = {
    "Auto", "Pruned", "TRIALS", "Succeeded", "Detector", "List", "Recreate", "DINO_CACHE_DIR",
    "CRDValidationRatcheting",
}  # fmt: skip
"""What is no word of a status: choices, columns, classes, other programs' words."""
OF_STATUSES = (
    "actions", "automl", "clusters", "concepts", "gitops", "images", "install", "katib", "kueue",
    "training", "troubleshooting", "upgrading",
)  # fmt: skip
"""Pages that say what a status says."""
KINDS = (
    names.ConditionType,
    names.ConditionReason,
    names.EventReason,
    names.FailureReason,
    names.Phase,
)


@pytest.mark.parametrize("page", OF_STATUSES)
def test_every_condition_and_reason_that_a_page_names_exists(page: str) -> None:
    known = {value.value for kind in KINDS for value in kind}
    named = set(re.findall(r"`([A-Z]\w+)`", (ROOT / "docs" / f"{page}.md").read_text()))
    assert not named - known - OTHERS


def test_the_guide_to_searches_names_the_failures_of_parameters_and_of_all_trials() -> None:
    guide = (ROOT / "docs" / "automl.md").read_text()
    rows = {row.split("|")[2].strip(): row for row in guide.splitlines() if row.startswith("| ")}
    blamed = next(row for text, row in rows.items() if text.startswith("its parameters' fault"))
    fatal = next(row for text, row in rows.items() if text.startswith("every other trial would"))
    named = (set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in (blamed, fatal))
    wanted = (
        {rule.reason.value for rule in TABLE if rule.blames_parameters},
        {rule.reason.value for rule in TABLE if rule.fails_every_trial},
    )
    assert tuple(named) == wanted


HOW_TO = {"CONTRIBUTING.md": 8, "docs/add-an-augmentation.md": 12, "docs/architecture.md": 25}
"""Pages for contributors, and how many names each has at least."""


def named_in_files(text: str) -> list[tuple[str, str]]:
    """`NAME` in `path`: functions, tables and classes of the code, and where they are."""
    return re.findall(rf"`([\w.-]+)` in `((?:{TOP})/[\w./-]*\.py)`", text)


@pytest.mark.parametrize("page", HOW_TO)
def test_what_a_page_for_contributors_names_is_where_it_says(page: str) -> None:
    named = named_in_files((ROOT / page).read_text())
    assert len(named) >= HOW_TO[page]
    missing = [(word, path) for word, path in named if word not in (ROOT / path).read_text()]
    assert missing == []


def test_the_three_values_pass_as_many_files_as_the_map_says() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    values = text.partition("## Three values, from end to end\n")[2].partition("\n## ")[0]
    items = values.split("\n- ")[1:]
    assert len(items) == 3
    for item in items:
        (count,) = re.findall(r"\*\*, (\d+) files:", item)
        assert len(set(PATH.findall(item))) == int(count), item
