"""The generated files are what the models say, and fit what Kubernetes and people need."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.actions import ACTIONS
from dino_api.base import note_of
from dino_api.experiment import ExperimentSpec
from dino_api.experiment.paths import walk
from dino_api.experiment.spec import OTHER_SECTIONS
from dino_api.generate.__main__ import main
from dino_api.generate.cel import literal
from dino_api.generate.crd import AUTOML, JOB, KINDS, CustomResource, crd, root_schema
from dino_api.generate.files import files
from dino_api.loading import load
from dino_api.names import (
    TRAINS,
    Action,
    ConditionReason,
    ConditionType,
    EventReason,
    FailureReason,
    Phase,
)
from dino_api.rules.catalogue import decided
from dino_api.rules.experiment import RULES
from dino_api.rules.resource.dinoautoml import AUTOML_RULES
from dino_api.rules.resource.dinojob import RESOURCE_RULES
from dino_api.schema.openapi import unbounded
from dino_api.search import searchable

ROOT = Path(__file__).resolve().parents[2]
FILES = files()
CRD_FILE = JOB.file
EMPTY = ("quantize", "layers")
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


def nodes(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below a schema, with its path."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from nodes(node[name], f"{path}[]")


UNTYPED = "x-kubernetes-preserve-unknown-fields"
QUANTITIES = ("resources.cpu", "resources.memory")
NODES = dict(nodes(root_schema()))
SEARCH_NODES = dict(nodes(root_schema(AUTOML)))


@pytest.mark.parametrize("path", FILES)
def test_a_generated_file_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == FILES[path], "run `make generate`"


def test_check_names_what_is_stale_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    (tmp_path / CRD_FILE).write_text("stale")
    capsys.readouterr()
    assert main(["--check"], tmp_path) == 1
    assert CRD_FILE in capsys.readouterr().err
    assert (tmp_path / CRD_FILE).read_text() == "stale"


@EACH_KIND
def test_the_crd_is_small_enough_for_client_side_apply(kind: CustomResource) -> None:
    """Which keeps it in an annotation of 256 KiB at most, beside what else is in there. Sections
    and rules of seven actions, and of the search over them, take less than half of it."""
    assert len(FILES[kind.file].encode()) < 112_000
    assert len(json.dumps(crd(kind))) < 112_000


@EACH_KIND
def test_the_file_of_a_crd_is_the_crd(kind: CustomResource) -> None:
    assert yaml.safe_load(FILES[kind.file]) == crd(kind)


def test_fields_of_a_resource_are_in_camel_case_but_for_an_experiment_s() -> None:
    """An experiment has TAO's keys, in snake_case: tests/unit/test_api_tao.py."""
    ours = [path for path in NODES | SEARCH_NODES if ".experiment." not in path]
    assert [path for path in ours if "_" in path] == []


@pytest.mark.parametrize("word", ["$ref", "default"])
def test_no_crd_has(word: str) -> None:
    assert not [path for path, node in (NODES | SEARCH_NODES).items() if word in node]


def test_only_drawn_values_whole_experiments_and_quantities_have_no_type() -> None:
    """A quantity is a text or any number, for which a CRD has no type."""
    untyped = [
        path
        for path, node in (NODES | SEARCH_NODES).items()
        if UNTYPED in node and not path.endswith(QUANTITIES)
    ]
    ends = ("choices[]", "when.values[]", ".parameters", ".specification", ".inherited.experiment")
    refused = ("_data_sources", "_data_sources[]", ".distill.teacher", ".quantize.layers[]")
    assert untyped
    assert all(path.endswith((*ends, *refused, ".quantize.backend_kwargs")) for path in untyped)


def test_what_has_no_type_and_is_of_the_experiment_is_refused_or_without_effect() -> None:
    start = ".spec.experiment."
    refused = {start + ".".join(path) for path, _ in decided()}
    dead = {start + ".".join(path) for path, field in walk() if note_of(field).dead}
    empty = {start + rule.path for rule in RULES if "must be empty" in rule.must}
    untyped = {path.removesuffix("[]") for path, node in NODES.items() if UNTYPED in node}
    assert {path for path in untyped if path.startswith(start)} <= refused | empty | dead


@EACH_KIND
def test_every_mapping_says_what_it_takes(kind: CustomResource) -> None:
    """The API server takes no key of one that says nothing, or drops it without a word."""
    says = {"properties", "additionalProperties", UNTYPED}
    mappings = {path for path, node in nodes(root_schema(kind)) if node.get("type") == "object"}
    silent = {path for path, node in nodes(root_schema(kind)) if not says & {*node}} & mappings
    assert silent <= {".metadata"}


@EACH_KIND
def test_every_text_list_and_map_has_a_cap(kind: CustomResource) -> None:
    assert unbounded(root_schema(kind)) == []


def test_a_search_knows_the_experiment_of_a_job() -> None:
    """The template is typed as in a DinoJob, key by key."""
    job, template = ".spec.experiment", ".spec.template.experiment"
    keys = {path.removeprefix(job): node for path, node in NODES.items() if path.startswith(job)}
    found = {path.removeprefix(template): node for path, node in SEARCH_NODES.items()}
    others = tuple(f".{each.action}" for each in ACTIONS.values() if not each.follows)
    for path, node in keys.items():
        told = {"x-kubernetes-validations", "properties"} & {*node}
        if (
            not told
            and not path.startswith(others)
            and not str(node.get("description")).startswith("Use ")
        ):
            assert found[path] == node
    assert not [path for path in found if path.startswith(others)]
    assert found[".train.num_gpus"]["description"] == "Use spec.template.resources.gpus."
    assert found[".export.checkpoint"]["description"] == "It is the winner of the search."


def test_the_paths_of_a_search_are_listed() -> None:
    assert SEARCH_NODES[".spec.search[].path"]["enum"] == list(searchable())


@pytest.mark.parametrize("rule", AUTOML_RULES, ids=lambda rule: f"{rule.scope}:{rule.id}")
def test_a_rule_of_a_search_is_in_its_crd(rule: Any) -> None:
    node = SEARCH_NODES["." + rule.scope if rule.scope else ""]
    assert rule.message in [one["message"] for one in node["x-kubernetes-validations"]]


@pytest.mark.parametrize("path", searchable())
def test_a_key_cannot_be_searched_and_set(path: str) -> None:
    """Each searchable key is asked for in the rule of its section."""
    section, _, leaf = path.rpartition(".")
    rules = SEARCH_NODES[".spec"]["x-kubernetes-validations"]
    (asked,) = [one["rule"] for one in rules if one["message"].endswith(f"({section}.*)")]
    assert f'has(v.{leaf}) ? "{leaf}" : ""' in asked


def test_every_number_of_the_experiment_has_a_range() -> None:
    numbers = {
        path: node
        for path, node in NODES.items()
        if path.startswith(".spec.experiment") and node.get("type") in ("integer", "number")
    }
    assert len(numbers) > 60
    bounded = ({"minimum", "maximum"} <= {*node} or "enum" in node for node in numbers.values())
    assert all(bounded)


def test_no_field_is_a_choice_of_types() -> None:
    assert not [path for path, node in NODES.items() if "anyOf" in node]


EXPERIMENTS = re.compile(r"\.spec(\.template)?\.experiment(\.[^\[]*)?")


def test_outside_the_experiment_only_choices_are_nullable_so_that_null_is_refused() -> None:
    nullable = {
        path: node
        for path, node in (NODES | SEARCH_NODES).items()
        if "nullable" in node and not EXPERIMENTS.fullmatch(path) and UNTYPED not in node
    }
    assert {".spec.automlPolicy", ".spec.engine", ".spec.pruning.name"} == {*nullable}
    assert all(None not in node["enum"] for node in nullable.values())


def test_values_without_a_type_may_be_null_as_no_status_could_be_written_otherwise() -> None:
    """The API server takes them of a new object, and refuses each later write of it."""
    anything = [
        node for node in (NODES | SEARCH_NODES).values() if {*node} <= {UNTYPED, "nullable"}
    ]
    assert anything
    assert all(node.get("nullable") for node in anything)


def test_every_key_and_section_of_the_experiment_may_be_null_but_a_choice() -> None:
    """Of which the API server takes null never; an entry of a list is no key."""
    inside = [
        node for path, node in (*NODES.items(), *SEARCH_NODES.items()) if EXPERIMENTS.match(path)
    ]
    assert len(inside) > 400
    for path, node in (*NODES.items(), *SEARCH_NODES.items()):
        if EXPERIMENTS.match(path):
            may = bool(EXPERIMENTS.fullmatch(path)) and "enum" not in node
            assert node.get("nullable", False) == may, path


def test_every_field_is_described() -> None:
    bare = [p for p, node in NODES.items() if "description" not in node and not p.endswith("[]")]
    assert set(bare) <= {".apiVersion", ".kind", ".metadata"}


def test_the_crd_has_every_key_that_an_action_reads() -> None:
    whole = [path for path, field in walk() if note_of(field).resource]
    for path, _ in walk():
        below = any(path[: len(one)] == one and path != one for one in (*whole, EMPTY))
        if path[0] not in OTHER_SECTIONS and not below:
            assert any(
                known.replace("[]", "") == ".spec.experiment." + ".".join(path) for known in NODES
            ), path


def test_a_dead_key_says_so_and_a_live_one_says_its_default() -> None:
    for path, field in walk():
        node = NODES.get(".spec.experiment." + ".".join(path))
        if node is None or "properties" in node:
            continue
        if by := note_of(field).resource:
            assert node["description"] == f"Use {by}."
            continue
        if note_of(field).dead:
            assert "No effect: " in node["description"]
        default = field.get_default(call_default_factory=True)
        if default not in (None, {}):
            assert "Default: " in node["description"]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.cel], ids=lambda rule: rule.id)
def test_a_rule_is_in_the_crd_at_its_key(rule: Any) -> None:
    found = [
        path + one.get("fieldPath", "")
        for path, node in NODES.items()
        for one in node.get("x-kubernetes-validations", ())
        if one["message"] == rule.message
    ]
    assert f".spec.experiment.{rule.path}" in found


@pytest.mark.parametrize("rule", RESOURCE_RULES, ids=lambda rule: rule.id)
def test_a_resource_rule_is_in_the_crd(rule: Any) -> None:
    node = NODES["." + rule.scope if rule.scope else ""]
    assert rule.message in [one["message"] for one in node["x-kubernetes-validations"]]


def test_what_can_be_edited_is_judged_alone_when_it_is_edited() -> None:
    """A rule that an upgrade brings holds up no job that was created before it."""
    for one in NODES[".spec"]["x-kubernetes-validations"]:
        at_creation = one["rule"].startswith("oldSelf.hasValue() || (")
        assert at_creation == one.get("optionalOldSelf", False)
        assert at_creation != ("oldSelf" in one["rule"].removeprefix("oldSelf.hasValue()"))
        assert not (at_creation and "runPolicy" in one["rule"]), "it can be edited"


def test_no_placeholder_is_left_in_any_cel_rule() -> None:
    for node in NODES.values():
        for one in node.get("x-kubernetes-validations", ()):
            assert not re.search(r"\{[A-Za-z_.]+\}", one["rule"])
            assert len(one["message"]) < 400


def test_a_value_without_a_cel_literal_is_refused() -> None:
    with pytest.raises(TypeError, match="no CEL literal"):
        literal(None)


@pytest.mark.parametrize("action", Action)
def test_a_template_loads_and_has_the_defaults(action: Action) -> None:
    text = FILES[f"schemas/spec_template_{action}.yaml"]
    assert text.startswith(f"# dino {action} -e ")
    spec, warnings = load(yaml.safe_load(text), action=action)
    assert {one.path.partition(".")[0] for one in warnings} <= {"train", "model"}
    for name in (*ACTIONS[action].sections, *ACTIONS[action].also_reads):
        name = name.partition(".")[0]
        default = getattr(ExperimentSpec(), name)
        if name == "dataset":
            assert spec.dataset.augmentation == default.augmentation
        elif name == "distill":
            assert [one.criterion for one in spec.distill.bindings] == ["KL", "L1"]
        else:
            assert getattr(spec, name) == default


@pytest.mark.parametrize("action", Action)
def test_a_template_has_the_keys_of_its_action_and_no_others(action: Action) -> None:
    given = yaml.safe_load(FILES[f"schemas/spec_template_{action}.yaml"])
    of_actions = {name for name in given if name in {*Action}}
    also = dict(path.split(".") for path in ACTIONS[action].also_reads)
    assert of_actions == {*ACTIONS[action].sections, *also} - {"model", "dataset"}
    assert all({*given[section]} == {key} for section, key in also.items())
    read = {"train_data_sources": TRAINS, "infer_data_sources": {Action.INFERENCE}}
    for name, actions in read.items():
        assert (name in given["dataset"]) == (action in actions)
    assert ("model" in given) == (action in TRAINS), "the file of a model says its structure"


@pytest.mark.parametrize("action", Action)
def test_a_template_explains_every_key_it_shows(action: Action) -> None:
    lines = FILES[f"schemas/spec_template_{action}.yaml"].splitlines()
    for before, line in pairwise(lines):
        if re.match(r" *([a-zA-Z_]+: .|# [a-z_]+: [\[\d])", line):
            assert before.lstrip().startswith("#"), line


def test_the_examples_in_comments_of_the_template_load_too() -> None:
    text = FILES["schemas/spec_template_train.yaml"]
    opened = re.sub(r"^( *)# ([a-zA-Z_]+: [\[\d])", r"\1\2", text, flags=re.MULTILINE)
    assert opened != text
    document = yaml.safe_load(opened)
    # The one that contradicts another example.
    assert document["dataset"]["augmentation"].pop("fixed_random_crop") == 1024
    spec, _ = load(document)
    assert spec.dataset.augmentation.zoom_crop == [0.7, 1.0]


def test_the_manifest_names_files_that_exist() -> None:
    manifest = json.loads(FILES["schemas/manifest.json"])
    assert [action["name"] for action in manifest["actions"]] == [*Action]
    for action in manifest["actions"]:
        assert f"schemas/{action['schema']}" in FILES
        assert f"schemas/{action['template']}" in FILES


def test_the_json_schema_has_defaults_and_no_python() -> None:
    schema = json.loads(FILES["schemas/train.schema.json"])
    levels = schema["$defs"]["ModelConfig"]["properties"]["return_interm_indices"]
    assert levels["default"] == [1, 2, 3, 4]
    assert '"note"' not in FILES["schemas/train.schema.json"]


def test_the_chart_wraps_the_crds_in_its_switches() -> None:
    text = FILES["charts/dino-operator/templates/crds.yaml"]
    assert text.startswith("{{- if .Values.crds.enabled }}\n")
    assert "helm.sh/resource-policy: keep" in text
    plain = re.sub(r"^ *\{\{-.*\}\}\n", "", text, flags=re.MULTILINE)
    for rendered, kind in zip(yaml.safe_load_all(plain), KINDS, strict=True):
        assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert rendered == yaml.safe_load(FILES[kind.file])


PAGES = {path: text for path, text in FILES.items() if path.startswith("docs/reference/")}


@EACH_KIND
def test_the_reference_has_a_row_for_every_field(kind: CustomResource) -> None:
    """But for those whose inside has a page of its own."""
    page = PAGES[f"docs/reference/{kind.kind.lower()}.md"]
    elsewhere = re.compile(r"^\.(spec\.experiment|spec\.template|status\.experiment)[.\[]")
    fields = {
        path.removeprefix(".")
        for path, _ in nodes(root_schema(kind))
        if path.startswith((".spec.", ".status.")) and not path.endswith("[]")
    }
    listed = set(re.findall(r"^(?:\| |### )`([\w.\[\]]+)`", page, re.M))
    assert listed == {path for path in fields if not elsewhere.match(f".{path}")}


def test_the_reference_has_a_row_for_every_key_of_an_experiment() -> None:
    listed = set(
        re.findall(r"^(?:\| |## )`([\w.\[\]]+)`", PAGES["docs/reference/experiment.md"], re.M)
    )
    assert listed == {
        path.removeprefix(".experiment.")
        for path, _ in nodes(root_schema()["properties"]["spec"])
        if path.startswith(".experiment.") and not path.endswith("[]")
    }


def test_the_reference_has_every_word_of_a_status() -> None:
    page = PAGES["docs/reference/status-words.md"]
    for words in (Phase, ConditionType, ConditionReason, FailureReason, EventReason):
        for word in words:
            assert f"| `{word.value}` | {word.when} |" in page
