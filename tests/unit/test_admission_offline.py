"""What `kubectl dino validate` refuses, beside the tables of what the API server refused.

tests/api/test_validate.py compares both, manifest by manifest.
"""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.generate import crd
from dino_api.names import Action
from dino_api.rules.experiment import RULES
from dino_api.rules.experiment.rule import Rule
from dino_operator.admission import cel, keywords, refusals
from dino_operator.admission.cel_values import ABSENT, EvaluationError
from tests.api import test_admission_search as searches
from tests.api.admission_cases import BAD, BAD_OF, CHOICE, NULLS, Changes, changed, of
from tests.api.test_admission import GOOD
from tests.unit.api_rule_cases import CASES

Object = dict[str, Any]
WORDS = ("unknown field", "must be of type", "of type integer")
"""Of what is told in other words here: keys that nobody knows, and values of another type."""


def names_it(manifest: Object, field: str, part: str) -> None:
    found = refusals(manifest)
    named = [each.message for each in found if (each.field or each.message.split()[0]) == field]
    assert named, [str(each) for each in found]
    if not any(words in part or part in words for words in WORDS):
        assert any(part in said for said in named), named


@pytest.mark.parametrize(("path", "value", "field", "part"), BAD.values(), ids=BAD.keys())
def test_what_the_api_server_refuses(path: str, value: Any, field: str, part: str) -> None:
    names_it(changed((path, value)), field, part)


def test_a_choice_without_a_value_is_refused_as_the_api_server_refuses_it() -> None:
    """kubectl apply drops it before that; other clients do not."""
    names_it(changed(("spec.automlPolicy", None)), "spec.automlPolicy", "Unsupported value: null: ")


@pytest.mark.parametrize(("action", "changes", "field", "part"), BAD_OF.values(), ids=BAD_OF.keys())
def test_what_it_refuses_of_an_action(
    action: Action, changes: Changes, field: str, part: str
) -> None:
    names_it(of(action, *changes), field, part)


@pytest.mark.parametrize(
    ("changes", "field", "part"), searches.BAD.values(), ids=searches.BAD.keys()
)
def test_what_it_refuses_of_a_search(changes: Changes, field: str, part: str) -> None:
    names_it(changed(*changes, start=searches.SEARCH), field, part)


@pytest.mark.parametrize(("action", "changes"), GOOD.values(), ids=GOOD.keys())
def test_what_it_accepts(action: Action, changes: Changes) -> None:
    assert refusals(of(action, *changes)) == []


@pytest.mark.parametrize("path", [*NULLS, CHOICE])
def test_a_null_of_the_experiment_is_taken(path: str) -> None:
    assert refusals(changed((path, None))) == []
    below = path.replace("spec.", "spec.template.", 1)
    assert refusals(changed((below, None), start=searches.SEARCH)) == []


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.cel], ids=lambda rule: rule.id)
def test_every_rule_of_the_experiment_by_its_sentence(rule: Rule) -> None:
    case = CASES[rule.id]
    classes = [("spec.numClasses", case.classes)] if case.classes else []
    found = refusals(of(case.action, ("spec.experiment", case.broken), *classes))
    assert (f"spec.experiment.{rule.path}", rule.message) in [(e.field, e.message) for e in found]
    assert refusals(of(case.action, ("spec.experiment", case.fine), *classes)) == []


def rules(schema: Any) -> list[Object]:
    inner = schema.values() if isinstance(schema, dict) else schema
    own = schema.get("x-kubernetes-validations", []) if isinstance(schema, dict) else []
    below = [rules(each) for each in inner if isinstance(each, dict | list)]
    return [*own, *(rule for each in below for rule in each)]


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.kind)
def test_every_rule_of_the_crds_can_be_read(kind: crd.CustomResource) -> None:
    found = rules(crd.root_schema(kind))
    assert len(found) > 100
    for rule in found:
        cel.parsed(rule["rule"])


EXPRESSIONS: dict[str, Any] = {
    "1 + 2 * 3 == 7 && 7 % 4 == 3 && -7 % 4 == -3": True,
    "self.a.b > 1.5 ? 'more' : 'less'": "more",
    "self.?a.?b.orValue(9)": 2,
    "self.?a.?c.orValue(9)": 9,
    "self.?a.b.hasValue()": True,
    "has(self.a.c) || has(self.a.b)": True,
    "self.missing == 1 || true": True,
    "true || self.missing == 1": True,
    "self.missing == 1 && false": False,
    "self.list.all(x, x > 0) && self.list.exists_one(x, x == 2)": True,
    "self.list.map(x, x * 2)": [2, 4, 6],
    "self.list.isSorted() && self.list.indexOf(3) == 2 && size(self.list) == 3": True,
    "'a.b'.matches('^a[.]b$') && !'a.b\\n'.matches('b$') && 'A'.matches('(?i:a)')": True,
    "'b' in ['a', 'b'] && !(4 in self.list)": True,
    '"x" + self.word == "xy"': True,
    "self.?a.optMap(v, has(v.b)).orValue(false) && self.?z.optMap(v, v.b == 1).orValue(true)": True,
    "has(self.none) || self.?none.orValue(3) == 4 || self.?none.optMap(v, v).hasValue()": False,
}
GIVEN = {
    "self": {"a": {"b": 2}, "list": [1, 2, 3], "word": "y", "none": None},
    "oldSelf": ABSENT,
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression(text: str) -> None:
    assert cel.evaluate(text, GIVEN) == EXPRESSIONS[text]


@pytest.mark.parametrize("text", ["self.missing", "self.list[3] == 1", "1 / 0", "1 % 0"])
def test_an_expression_that_ends_in_an_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        cel.evaluate(text, GIVEN)


@pytest.mark.parametrize(
    "text", ["self.word.lowerAscii()", "self.a +", "1 $ 2", "(1", "matches(1)", "x", "1 2"]
)
def test_what_is_not_known_is_no_answer(text: str) -> None:
    with pytest.raises(cel.NotCel):
        cel.evaluate(text, GIVEN)


OTHERWISE: dict[str, tuple[Object, str]] = {
    "a whole number beyond 64 bits, which has no bounds here": (
        changed(("spec.podTemplate.tolerations", [{"tolerationSeconds": 2**63}])),
        "must be a whole number of 64 bits (given 9223372036854775808)",
    ),
    "a rule that ends in an error": (
        changed(("spec.experiment.dataset.augmentation.zoom_crop", [])),
        "spec.experiment.dataset.augmentation: index out of bounds: 0 evaluating rule: zoom_crop",
    ),
    "an apiVersion of another release": (
        changed(("apiVersion", "dino-operator.io/v1")),
        "is not for this operator",
    ),
    "a kind that is misspelt": (changed(("kind", "DinoJobs")), "Did you mean DinoJob?"),
    "a root key that is misspelt": (changed(("specs", {})), "specs is unknown. Did you mean spec?"),
    "a key of metadata": (
        changed(("metadata.label", {})),
        "metadata.label is unknown. Did you mean metadata.labels?",
    ),
    "a name in capitals": (changed(("metadata.name", "Cells")), "metadata.name: Invalid value"),
    "a label that is a sentence": (
        changed(("metadata.labels", {"team": "the red one"})),
        "metadata.labels: Invalid value",
    ),
    "a label that is a flag": (
        changed(("metadata.labels", {"gpu": True})),
        "metadata.labels.gpu: must be text",
    ),
    "a choice that is near": (
        changed(("spec.action", "trian")),
        'Unsupported value: "trian": supported values: "train", "evaluate"',
    ),
    "what hinders the rules is said": (
        changed(("spec.output.uri", "/x"), ("spec.action", "tune")),
        "some validation rules were not checked",
    ),
    "credentials' bundle in env": (
        changed(("spec.podTemplate.env", [{"name": "AWS_CA_BUNDLE", "value": "x"}])),
        "spec.podTemplate.env[0].name: name must not begin with DINO_ or AWS_",
    ),
}


@pytest.mark.parametrize(("manifest", "said"), OTHERWISE.values(), ids=OTHERWISE.keys())
def test_what_else_is_refused(manifest: Object, said: str) -> None:
    assert said in "\n".join(map(str, refusals(manifest)))


def test_of_a_text_that_is_too_long_nothing_else_is_said() -> None:
    found = refusals(of(Action.QUANTIZE, ("spec.experiment.quantize.device", "x" * 64)))
    device = [each.message for each in found if each.field.endswith("device")]
    assert device == ["Too long: may not be more than 63 bytes"]


def test_nor_of_one_that_is_too_short() -> None:
    """The API server's validator of a text ends with the first keyword that is broken."""
    known = {"type": "string", "minLength": 2, "pattern": "^a"}
    assert [each.message for each in keywords.broken("b", known, ("x",))] == [
        "should be at least 2 chars long"
    ]
    (pattern,) = keywords.broken("ba", known, ("x",))
    assert "should match '^a'" in pattern.message


@pytest.mark.parametrize(
    "manifest", [None, "x", [], {"kind": "DinoJob"}, {"kind": 1}, {"kind": []}]
)
def test_what_is_no_manifest_is_said_and_not_raised(manifest: Any) -> None:
    assert len(refusals(manifest)) == 1
