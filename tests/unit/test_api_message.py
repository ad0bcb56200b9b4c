"""The last words of a pod: written in two lines, read as far as the kubelet has left them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from dino_api import result
from dino_api.base import REPORTED_URI, SHORT, TEXT
from dino_api.message import ESSENTIAL, FIRST, LIMIT
from dino_api.reported import ReportPart, shortened, without_middle
from dino_api.result import (
    MOST_CLASSES,
    Artifact,
    Checkpoint,
    Dataset,
    Failure,
    Line,
    Metrics,
    ModelComparison,
    ModelFile,
    Progress,
    Result,
    ScoredModel,
    Validation,
)
from tests.unit.termination import kept

FOLDER = "s3://models/cells/train"
EIGHT = 8


def side(**more: Any) -> ScoredModel:
    return ScoredModel(
        precision="int8", mAP=0.5123, mAP50=0.7123, latency_ms=12.25, bytes=1, **more
    )


def a_result(folder: str = FOLDER, **parts: Any) -> Result:
    """All that a training leaves, and all that a gate compares."""
    best = {"uri": f"{folder}/dino_model_best.pth", "sha256": "0" * 64, "bytes": 190_000_000}
    whole: dict[str, Any] = {
        "action": "train",
        "spec_digest": "d" * 64,
        "folder": folder,
        "metrics": Metrics.from_coco([n / 10_000 + 0.1111 for n in range(12)]),
        "checkpoint": Checkpoint(
            **best, latest_uri=f"{folder}/dino_model_latest.pth", epoch=24, metric=0.5123
        ),
        "model": ModelFile(**best, format="checkpoint", precision="bf16"),
        "artifacts": [
            Artifact(name=name, uri=f"{folder}/{name}", sha256="1" * 64, bytes=5)
            for name in ("dino_model_best.pth", "samples.jpg")
        ],
        "dataset": Dataset(num_classes=4, images=300, annotations=3000, class_names=["", "cell"]),
        "curve": [Validation(epoch=n, mAP50=0.5) for n in range(1, 4)],
    }
    return Result(**{**whole, **parts})


COMPARED = {
    "comparison": ModelComparison(
        reference=side(format="checkpoint"),
        candidate=side(format="onnx"),
        images=72,
        matched=0.9123,
        loss=0.0123,
        max_loss=0.005,
    )
}
DEEP = "s3://" + "b" * 63 + "/" + "deep/" * 190 + "train"
LONG: dict[str, dict[str, Any]] = {
    "as most are": {},
    "compared": COMPARED,
    "a long output": {"folder": DEEP},
    "a long output, compared": {"folder": DEEP, **COMPARED},
    "LVIS": {"dataset": Dataset(num_classes=1204, class_names=[f"class-{n}" for n in range(1204)])},
    "many warnings": {"dataset": Dataset(num_classes=4, warnings=["w" * 300] * 101)},
    "many artifacts": {"artifacts": [Artifact(name="a", uri=f"{FOLDER}/a")] * 60},
    "a long curve": {"curve": [Validation(epoch=n, mAP50=0.1234) for n in range(500)]},
    "long words": {
        "failure": Failure(reason="InternalError", message="\u20ac" * 4000, remedy="r" * 4000),
        "note": "n" * 4000,
    },
}


def whole(result: Result) -> dict[str, Any]:
    return result.to_dict()


@pytest.mark.parametrize("parts", LONG.values(), ids=LONG.keys())
def test_eight_containers_leave_what_a_job_is_judged_by(parts: dict[str, Any]) -> None:
    result = a_result(**parts)
    text = result.to_termination_message()
    first = text.partition("\n")[0]
    assert len(text.encode()) <= LIMIT
    assert len(first.encode()) <= FIRST
    told = Result.from_termination_message(kept(text, EIGHT))
    assert told is not None
    assert told.metrics
    assert result.metrics
    assert told.metrics.rounded().mAP50 == 0.1112
    assert told.model == result.model
    if result.failure:
        assert told.failure is not None
        assert told.failure.reason == result.failure.reason
        assert told.failure.message.startswith("\u20ac" * 20)
    if result.comparison and result.folder == DEEP:
        assert told.comparison or "comparison" in told.lost
    elif result.comparison:
        assert told.comparison is not None
        assert told.comparison.candidate.mAP == result.comparison.candidate.mAP
    if result.folder == FOLDER:
        assert told.metrics.rounded() == result.metrics.rounded()
        assert told.checkpoint is not None
        assert told.checkpoint.uri == f"{FOLDER}/dino_model_best.pth"
        assert told.folder == FOLDER


@pytest.mark.parametrize("containers", [1, 2, 3])
def test_up_to_three_containers_lose_nothing(containers: int) -> None:
    result = a_result(**COMPARED)
    told = Result.from_termination_message(kept(result.to_termination_message(), containers))
    assert told == result
    assert told is not None
    assert told.lost == frozenset()


def test_up_to_three_containers_lose_no_more_than_is_said_of_them() -> None:
    """Names, curve and artifacts give way, in this order, and nobody misses them as cut."""
    result = a_result(**LONG["LVIS"])
    told = Result.from_termination_message(kept(result.to_termination_message(), 3))
    assert told is not None
    assert told.lost == frozenset()
    assert told.dataset is not None
    assert told.dataset.num_classes == 1204
    assert (told.artifacts, told.curve) == (result.artifacts, result.curve)


@pytest.mark.parametrize("containers", [4, 5, 6, 7])
def test_what_was_cut_is_named(containers: int) -> None:
    names = [f"class {n} with a name of its own" for n in range(50)]
    result = a_result(dataset=Dataset(num_classes=50, class_names=names), **COMPARED)
    told = Result.from_termination_message(kept(result.to_termination_message(), containers))
    assert told is not None
    assert told.lost
    assert not told.lost & set(ESSENTIAL)
    assert told.dataset is not None
    assert told.dataset.num_classes == 50
    assert told.dataset.class_names in ([], names), "no list that looks whole and is not"


MEMBERS = ("metrics", "model", "checkpoint", "comparison", "failure")
UNICODE = Failure(reason="GateFailed", message="\U0001f600 mAP \u00fc" * 30, remedy="\u20ac" * 99)


def test_a_message_that_is_cut_anywhere_is_read_as_far_as_it_is_whole() -> None:
    """Also in the middle of a number, a name or a character. What is there is never another
    value, and what is missing is missed."""
    result = a_result(**COMPARED, failure=UNICODE)
    raw = result.to_termination_message().encode()
    best = -1
    for length in range(len(raw) + 1):
        told = Result.from_termination_message(raw[:length].decode(errors="replace"))
        if told is None:
            assert best < 1, "once read, more of it is read, too"
            continue
        found = [name for name in MEMBERS if name not in told.lost]
        for name in found:
            got, real = getattr(told, name), getattr(result, name)
            if name == "failure":  # the first line has the start of its texts
                assert got.reason == real.reason
                assert real.message.startswith(got.message.rstrip("…"))
            elif name == "metrics":  # and six digits
                assert got.rounded() == real.rounded()
            elif name == "checkpoint":  # and not the newest, which is not the best
                assert got.uri == real.uri
            else:
                assert got == real, f"{name} at {length}"
        assert len(found) >= best, "more of it never tells less"
        best = max(best, len(found))
        if told.metrics:
            given = result.metrics.rounded().to_dict() if result.metrics else {}
            assert told.metrics.rounded().to_dict().items() <= given.items()
    assert best == len(MEMBERS)


@pytest.mark.parametrize("containers", [10, 12, 16])
def test_many_containers_leave_the_most_important(containers: int) -> None:
    told = Result.from_termination_message(kept(a_result().to_termination_message(), containers))
    assert told is not None
    assert told.metrics == a_result().metrics
    assert told.model is not None or "model" in told.lost


def test_a_message_of_an_earlier_release_is_read_whole_or_cut() -> None:
    """One line, without a list of what it holds."""
    told = {"schema": 1, "action": "train", "metrics": {"mAP50": 0.5}, "checkpoint": {"uri": "u"}}
    text = json.dumps({**told, "artifacts": []}, separators=(",", ":"))
    old = Result.from_termination_message(text)
    assert old is not None
    assert (old.checkpoint, old.lost) == (Checkpoint(uri="u"), frozenset())
    cut = Result.from_termination_message(text[: text.index("checkpoint") + 15])
    assert cut is not None
    assert cut.metrics == Metrics(mAP50=0.5)
    assert "checkpoint" in cut.lost


# ---- no bound ends work that is done ------------------------------------------------------------

LONGEST = "s3://" + "\u20ac" * (REPORTED_URI - 5)
NAN, ENDLESS = float("nan"), float("inf")


def test_no_bound_of_a_report_is_an_error() -> None:
    text = "x" * 9999
    assert len(Checkpoint(uri=text, sha256=text, bytes=-1, epoch=-3).uri) == REPORTED_URI
    assert Checkpoint(uri="u", bytes=-1).bytes == 0
    assert len(Artifact(name=text, uri=text).name) == SHORT
    failure = Failure(reason=text, message=text, remedy=text, exit_code=1)
    assert (len(failure.message), failure.message[-1]) == (TEXT, "…")
    assert Metrics(mAP=NAN, mAP50=ENDLESS, mAP75=0.5).to_dict() == {"mAP75": 0.5}
    assert side(format="onnx").model_copy(update={"mAP": NAN}).to_dict().get("mAP") is None
    both = ModelComparison(
        reference=side(format="onnx"), candidate=side(format="onnx"), matched=1.0001
    )
    assert both.matched == 1
    assert Progress(percent=101, loss=NAN, eta_seconds=-1).to_dict() == {
        "percent": 100,
        "display": "100%",
        "etaSeconds": 0,
    }
    points = [Validation(epoch=n, mAP50=0.5) for n in range(300)]
    assert Progress(curve=points).curve == points[100:]


def test_lvis_has_its_names_and_more_warnings_are_counted() -> None:
    names = [f"class-{n}" for n in range(1204)]
    assert Dataset(class_names=names, num_classes=1204).class_names == names
    told = Dataset(warnings=[f"w{n}" for n in range(250)])
    assert len(told.warnings) == 100
    assert told.warnings[-1] == "and 151 more, in the report"
    assert Dataset(warnings=["w"] * 100).warnings == ["w"] * 100
    many = Dataset(class_names=["n"] * (MOST_CLASSES + 1), warnings=["first"])
    assert len(many.class_names) == MOST_CLASSES
    assert many.warnings == ["20001 classes: the names of the first 20000 are kept", "first"]


@pytest.mark.parametrize("most", [1, 2, 7, 8, 80, 81])
def test_long_texts_are_cut_to_what_is_asked(most: int) -> None:
    """At the end, or in the middle where start and end say most."""
    text = "".join(str(place % 10) for place in range(200))
    for cut in (shortened, without_middle):
        assert len(cut(text, most)) == most
        assert cut(text, most).count("…") == 1
        assert cut(text[:most], most) == text[:most]
    start, _, end = without_middle(text, most).partition("…")
    assert text.startswith(start)
    assert text.endswith(end)
    assert 0 <= len(start) - len(end) <= 1


def test_half_a_surrogate_is_replaced_and_two_halves_are_joined() -> None:
    odd = Result(note="a\ud83d", dataset=Dataset(class_names=["\ud83d\ude00", "b\ude00"]))
    odd = odd.model_copy(update={"note": "a\ud83d"})  # without validation
    told = Result.from_termination_message(odd.to_termination_message())
    assert told is not None
    assert told.note == "a\ufffd"
    assert told.dataset is not None
    assert told.dataset.class_names == ["\U0001f600", "b\ufffd"]


@pytest.mark.parametrize("odd", [{"classNames": 5}, {"warnings": 5}, {"class_names": True}])
def test_a_member_that_is_none_of_ours_is_left_out(odd: dict[str, Any]) -> None:
    """Anybody's program may end so in a pod, and the plan goes on."""
    told = Result.from_termination_message(json.dumps({"schema": 1, "note": "n", "dataset": odd}))
    assert told is not None
    assert (told.note, told.dataset, told.lost) == ("n", None, {"dataset"})


WORDS = ["", "x" * 99_999, "\ud83d" * 5000, "\U0001f600" * 5000, "a\0b\n"]
ODD: dict[str, list[Any]] = {
    "str": WORDS,
    "int": [NAN, ENDLESS, -ENDLESS, -7, 3.7, 1e308, 10**400, -(10**30), 0, True],
    "float": [NAN, ENDLESS, -ENDLESS, -7, 3.7, 1e308, 10**400, 0, True],
    "list": [WORDS * 60, [""] * 30_000, ["same"] * 300],
}
REPORTS = {
    Metrics: {},
    Validation: {"epoch": 1, "mAP50": 0.5},
    Progress: {},
    Checkpoint: {"uri": "u"},
    ModelFile: {"uri": "u", "format": "onnx"},
    ScoredModel: {"format": "onnx"},
    ModelComparison: {"reference": side(format="onnx"), "candidate": side(format="onnx")},
    Artifact: {"name": "a", "uri": "u"},
    Dataset: {},
    Failure: {"reason": "r", "message": "m"},
    Result: {},
}
KINDS = {str: "str", int: "int", float: "float"}
FIELDS = [
    (report, name, kind)
    for report in REPORTS
    for name, field in report.model_fields.items()
    for each in (field.annotation, *get_args(field.annotation))
    if (kind := KINDS.get(each) or ("list" if each == list[Line] else ""))
]


def test_every_kind_of_report_is_walked() -> None:
    assert set(REPORTS) == {each for each in vars(result).values() if is_report(each)}
    assert len(FIELDS) > 60


def is_report(each: Any) -> bool:
    return isinstance(each, type) and issubclass(each, ReportPart) and each is not ReportPart


@pytest.mark.parametrize(
    "report, name, kind", FIELDS, ids=lambda it: getattr(it, "__name__", str(it))
)
def test_every_field_takes_what_is_odd(report: type[ReportPart], name: str, kind: str) -> None:
    """And what becomes of it is JSON, and within the bounds that the CRD has of it."""
    field = report.model_fields[name]
    bounds = {key: bound(field, key) for key in ("max_length", "ge", "le")}
    for odd in ODD[kind]:
        told = report(**{**REPORTS[report], name: odd}).to_dict()
        json.dumps(told, allow_nan=False, ensure_ascii=False).encode()
        found = told.get(field.alias or to_camel(name))
        if isinstance(found, str | list) and bounds["max_length"]:
            assert len(found) <= bounds["max_length"]
        if isinstance(found, int) and kind == "int":
            assert -(2**63) <= found < 2**63
        if isinstance(found, int | float):
            assert bounds["ge"] is None or found >= bounds["ge"]
            assert bounds["le"] is None or found <= bounds["le"]


def bound(field: FieldInfo, kind: str) -> Any:
    return next((getattr(one, kind) for one in field.metadata if hasattr(one, kind)), None)


TEXTS = st.text(st.characters(codec=None), max_size=99) | st.just(LONGEST) | st.just("\U0001f600")
NUMBERS = st.floats() | st.integers(-5, 10**18)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 40))
def test_whatever_is_reported_the_message_is_json_and_fits(data: Any, containers: int) -> None:
    text, number = lambda: data.draw(TEXTS), lambda: data.draw(NUMBERS)
    words = data.draw(st.lists(TEXTS, max_size=5)) * data.draw(st.integers(1, 300))
    result = Result(
        note=text(),
        folder=data.draw(st.sampled_from([FOLDER, DEEP, LONGEST])),
        metrics=Metrics(mAP=number(), mAP50=number()),
        checkpoint=Checkpoint(uri=text(), latest_uri=text(), metric=number()),
        model=ModelFile(uri=text(), format="onnx", precision=text()),
        comparison=ModelComparison(
            reference=ScoredModel(format="onnx", mAP=number()),
            candidate=ScoredModel(format="onnx", latency_ms=number()),
            matched=number(),
        ),
        failure=Failure(reason=text(), message=text(), remedy=text()),
        dataset=Dataset(class_names=words, warnings=words),
    )
    message = result.to_termination_message()
    assert len(message.encode()) <= LIMIT
    first, *rest = message.split("\n")
    assert len(first.encode()) <= FIRST
    for line in (first, *rest):
        json.loads(line, parse_constant=pytest.fail)
    json.dumps(result.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert Result.from_termination_message(kept(message, containers)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000,
        '{"schema":1,"x":' + "[" * 3000,
        '{"schema":1,"folder":5,"holds":"model","model":{"uri":"./a","format":"onnx"}}',
    ],
)
def test_the_end_of_a_log_is_no_error(text: str) -> None:
    """The kubelet leaves it where the trainer left no message."""
    told = Result.from_termination_message(text)
    assert told is None or told.model is not None


def test_a_first_line_that_is_whole_suffices_wherever_the_second_is_cut() -> None:
    """Six to eight containers: no Job need read what is there already."""
    result = a_result(**COMPARED)
    raw = result.to_termination_message().encode()
    for length in range(len(raw.partition(b"\n")[0]), len(raw) + 1):
        told = Result.from_termination_message(raw[:length].decode(errors="replace"))
        assert told is not None
        assert not told.lost & {"metrics", "model", "checkpoint", "comparison"}, length
        assert told.comparison is not None
        assert told.comparison.reference.mAP is not None
        assert told.comparison.candidate.mAP is not None
