"""What preflight knows of the model that an action goes on from: its classes and its queries."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from dino_api.experiment import digest
from dino_api.experiment.model import IMAGENET, SHIPPED_BACKBONE
from dino_api.formats import PACKED, Format
from dino_api.loading import load
from dino_api.names import RESULT_FILE, Action
from dino_api.result import Failure, Result
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.outline import READERS, outline_of
from dino_trainer.spec.file import read_spec_file
from dino_trainer.storage import stored_file
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.s3 import S3Store
from tests.unit.preflight_lab import Lab, check, lab, preflight_without
from tests.unit.quantize_graphs import a_graph
from tests.unit.s3_server import BUCKET, S3Server

__all__ = ["lab"]
NAMES = ("", "cell", "dot")
WEIGHTS = ["quantize.mode=weight_only_ptq", "quantize.backend=torchao"]


def a_checkpoint(path: Path, names: tuple[str, ...] = NAMES, **model: Any) -> Path:
    """What a training leaves, without a detector: nobody opens it here."""
    spec = load({"model": model} if model else {})[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {f"layer{n}.weight": torch.randn(64, 1024) for n in range(40)}
    content = {"spec": spec.model_dump(mode="json"), "model": weights, "optim": {"step": 7}}
    checkpoint.write({**content, "class_names": list(names)}, path)
    return path


# ---- reading ------------------------------------------------------------------------------------


def test_a_checkpoint_says_what_it_is_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_checkpoint(tmp_path / "model.pth", num_queries=77, num_select=50)
    read, part = [], stored_file._RemoteFile.readinto

    def counted(self: Any, buffer: Any) -> int:
        read.append(part(self, buffer))
        return read[-1]

    monkeypatch.setattr(stored_file._RemoteFile, "readinto", counted)
    found = outline_of(str(path))
    assert found is not None
    assert found.class_names == NAMES
    assert (found.num_classes, found.spec.model.num_queries) == (3, 77)
    assert sum(read) < 600_000 < 10_000_000 < path.stat().st_size


def test_of_a_checkpoint_in_s3_its_words_alone_come_over(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not downloaded: a preflight may have no room for it."""
    base = f"s3://{BUCKET}/{tmp_path.name}"
    open_store(base).upload(a_checkpoint(tmp_path / "model.pth"), "model.pth")

    def fetched(*_: Any) -> None:
        raise AssertionError("the whole file was fetched")

    monkeypatch.setattr(S3Store, "download", fetched)
    monkeypatch.setattr(S3Store, "read_bytes", fetched)
    found = outline_of(f"{base}/model.pth")
    assert found is not None
    assert found.class_names == NAMES
    assert outline_of(f"{base}/another.pth") is None


def test_an_onnx_file_says_what_it_is(tmp_path: Path) -> None:
    found = outline_of(str(a_graph(tmp_path / "model.onnx")))
    assert found is not None
    assert found.class_names == ("", "red", "", "blue")
    assert found.input_size == (64, 96)


def test_the_description_of_an_engine_says_it(tmp_path: Path) -> None:
    import onnx

    props = onnx.load(a_graph(tmp_path / "model.onnx")).metadata_props
    content = {"props": {one.key: json.loads(one.value) for one in props}}
    (tmp_path / "model.engine.json").write_text(json.dumps(content))
    found = outline_of(str(tmp_path / "model.engine"))
    assert found is not None
    assert found.class_names == ("", "red", "", "blue")


class _Harm:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def with_bytes(path: Path, *parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, part in enumerate(parts):
            archive.writestr(f"model{number}/data.pkl", part)
    return path


def with_pickle(path: Path, content: Any) -> Path:
    return with_bytes(path, pickle.dumps(content, protocol=2))


def test_nothing_that_a_file_names_is_called(tmp_path: Path) -> None:
    harm = _Harm(tmp_path / "made")
    spec = load({})[0].model_dump(mode="json")
    path = with_pickle(tmp_path / "a.pth", {"spec": spec, "class_names": ["x"], "harm": harm})
    found = outline_of(str(path))
    assert found is not None
    assert found.class_names == ("x",)
    assert not harm.folder.exists()


def cut(path: Path) -> Path:
    whole = a_checkpoint(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def of_another_program(path: Path) -> Path:
    torch.save({"state_dict": {"a": torch.zeros(3)}}, path)
    return path


def of_another_release(path: Path) -> Path:
    return with_pickle(path, {"spec": {"model": {"num_queries": "many"}}, "class_names": []})


def oddly(content: Any) -> Callable[[Path], Path]:
    return lambda path: with_pickle(path, content)


def bytes_of(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


SILENT: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "nothing there": ("model.pth", lambda path: None),
    "a folder": ("model.pth", lambda path: path.mkdir()),
    "no bytes": ("model.pth", bytes_of(b"")),
    "cut off": ("model.pth", cut),
    "another program's": ("model.pth", of_another_program),
    "another release's": ("model.pth", of_another_release),
    "a list": ("model.pth", oddly([1])),
    "a spec that is none": ("model.pth", oddly({"spec": 3, "class_names": 4})),
    "no names": ("model.pth", oddly({"spec": {}})),
    "names that are numbers": ("model.pth", oddly({"spec": {}, "class_names": 4})),
    "a name that is none": ("model.pth", oddly({"spec": {}, "class_names": ["", None]})),
    "names by label": ("model.pth", oddly({"spec": {}, "class_names": {"1": "cell"}})),
    "a number beyond all": (
        "model.pth",
        oddly({"spec": {"model": {"num_queries": 10**400}}, "class_names": []}),
    ),
    "a pickle of marks": ("model.pth", lambda path: with_bytes(path, b"\x80\x02" + b"(" * 99_999)),
    "two pickles": ("model.pth", lambda path: with_bytes(path, b"x", b"y")),
    "a link to itself": ("model.pth", lambda path: path.symlink_to(path)),
    "an archive without it": ("model.pth", lambda path: zipfile.ZipFile(path, "w").close()),
    "safetensors": ("model.safetensors", bytes_of(b"\x08\0\0\0\0\0\0\0{}      ")),
    "no protobuf": ("model.onnx", bytes_of(b"\xff" * 40)),
    "ONNX of others": ("model.onnx", bytes_of(b"\x08\x09\x12\x03abc")),
    "metadata that are no text": ("model.onnx", bytes_of(b"\x72\x04\x0a\x02\xff\xfe")),
    "metadata without a key": ("model.onnx", bytes_of(b"\x72\x00")),
    "an engine alone": ("model.engine", bytes_of(b"ftrt")),
    "no ending of a model": ("model.txt", bytes_of(b"")),
}


@pytest.mark.parametrize(("name", "make"), SILENT.values(), ids=SILENT)
def test_what_says_nothing_is_left_to_who_opens_it(
    name: str, make: Callable[[Path], Any], tmp_path: Path
) -> None:
    make(tmp_path / name)
    assert outline_of(str(tmp_path / name)) is None


# ---- classes and queries, by action -------------------------------------------------------------


def given(lab: Lab, action: Action) -> None:
    """The lab's validation data as what the action scores, and no number of queries."""
    data = lab.spec["dataset"]
    if action == Action.DISTILL:
        return
    lab.spec["model"] = {}
    del data["train_data_sources"], data["val_data_sources"], data["augmentation"]
    data["test_data_sources"] = [lab.validation.source]
    if action in (Action.QUANTIZE, Action.GEN_TRT_ENGINE):
        data["quant_calibration_data_sources"] = [lab.train.source]


def model_for(lab: Lab, action: Action, names: tuple[str, ...] = NAMES, **model: Any) -> None:
    """The file that the action goes on from."""
    if action == Action.DISTILL:
        few = {"num_queries": 43, "num_select": 43}  # as the student
        path = a_checkpoint(lab.folder / "teacher.pth", names, **few | model)
        lab.spec["distill"] = {"pretrained_teacher_model_path": str(path)}
        return
    results = lab.folder / "results"
    if action in (Action.QUANTIZE, Action.GEN_TRT_ENGINE):
        (results / "export").mkdir(parents=True)
        a_graph(results / "export/dino_model.onnx")
    else:
        a_checkpoint(results / "train/dino_model_latest.pth", names, **model)


def rename(lab: Lab, names: dict[int, str]) -> None:
    for side in lab.sides:
        side.coco["categories"] = [{"id": id, "name": name} for id, name in names.items()]
        for box in side.coco["annotations"]:
            box["category_id"] = sorted(names)[box["category_id"] - 1]


ACTIONS = [Action.EVALUATE, Action.EXPORT, Action.QUANTIZE, Action.GEN_TRT_ENGINE, Action.DISTILL]


def own_names(action: Action) -> dict[int, str]:
    """Those of the file that `model_for` gives it."""
    of_graph = action in (Action.QUANTIZE, Action.GEN_TRT_ENGINE)
    return {1: "red", 3: "blue"} if of_graph else {1: "cell", 2: "dot"}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_same_classes_pass(action: Action, lab: Lab) -> None:
    given(lab, action)
    model_for(lab, action)
    rename(lab, own_names(action))
    assert check(lab, action) == 0, lab.findings
    assert set(lab.findings) <= {"calibration-few", "category-gaps"}


@pytest.mark.parametrize("action", ACTIONS)
def test_other_names_are_refused_with_both_lists(action: Action, lab: Lab) -> None:
    given(lab, action)
    model_for(lab, action)
    first, second = own_names(action)
    rename(lab, {first: "horse", second: own_names(action)[second]})
    assert check(lab, action) == 65
    finding = lab.findings["class-names-differ"]
    split = "train" if action == Action.DISTILL else "test"
    names = own_names(action)
    assert finding["examples"] == [
        f"{first} is 'horse' in {split} and {names[first]!r} in the model. The model has "
        f"{first} ({names[first]}), {second} ({names[second]}); the {split} data "
        f"{first} (horse), {second} ({names[second]})."
    ]
    assert "same ids and names" in finding["remedy"]


def test_a_name_in_another_form_of_its_letters_is_the_same(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    model_for(lab, Action.EVALUATE, ("", "Käfer", "dot"), num_queries=43, num_select=43)
    rename(lab, {1: "Ka\u0308fer", 2: "dot"})
    assert check(lab, Action.EVALUATE) == 0
    rename(lab, {1: "käfer", 2: "dot"})
    assert check(lab, Action.EVALUATE) == 65


@pytest.mark.parametrize("action", ACTIONS)
def test_more_classes_are_refused(action: Action, lab: Lab) -> None:
    given(lab, action)
    model_for(lab, action)
    rename(lab, own_names(action))
    for side in lab.sides:
        side.coco["categories"].append({"id": 9, "name": "horse"})
    assert check(lab, action) == 65
    count = 4 if 3 in own_names(action) else 3
    assert any(
        f"9 'horse' (the model has {count} classes: 1 (" in text
        for text in lab.findings["class-unknown"]["examples"]
    )


def test_a_class_map_is_read_beside_the_model(lab: Lab) -> None:
    given(lab, Action.INFERENCE)
    model_for(lab, Action.INFERENCE)
    (lab.folder / "classes.txt").write_text("a\nb\nc\nd\n")
    lab.spec["dataset"] = {
        "infer_data_sources": {
            "image_dir": [str(lab.train.folder / "images")],
            "classmap": str(lab.folder / "classes.txt"),
        }
    }
    assert check(lab, Action.INFERENCE) == 65
    assert "has 4 lines" in lab.findings["classmap-unusable"]["examples"][0]


MANY = {"num_queries": 500, "num_select": 500, "return_interm_indices": [3],
        "num_feature_levels": 1}  # fmt: skip
SMALL = {"test_random_resize": 32, "fixed_padding": False, "random_resize_max_size": 64}


def test_an_export_without_a_size_has_tokens_for_the_checkpoints_queries(lab: Lab) -> None:
    given(lab, Action.EXPORT)
    model_for(lab, Action.EXPORT, **MANY)
    assert check(lab, Action.EXPORT) == 65
    [example] = lab.findings["queries-over-tokens"]["examples"]
    assert example == (
        "all images, 640x640 pixels by the export, whose input_height and input_width are left "
        "out, give 400 tokens, fewer than the checkpoint's num_queries = 500 (maps of 20x20)"
    )
    assert "Lower model.num_queries" not in lab.findings["queries-over-tokens"]["remedy"]
    larger = ("export.input_height=736", "export.input_width=736")
    assert check(lab, Action.EXPORT, *larger) == 0


@pytest.mark.parametrize("action", [Action.EVALUATE, Action.QUANTIZE])
def test_images_that_are_scored_have_tokens_for_the_checkpoints_queries(
    action: Action, lab: Lab
) -> None:
    given(lab, action)
    model_for(lab, Action.EVALUATE, num_queries=100, num_select=100)
    weights = []
    if action == Action.QUANTIZE:
        weights = WEIGHTS
        del lab.spec["dataset"]["quant_calibration_data_sources"]
    assert check(lab, action, *weights) == 0, "they are padded as the training pads"
    lab.spec["dataset"]["augmentation"] = SMALL
    assert check(lab, action, *weights) == 65
    [example] = lab.findings["queries-over-tokens"]["examples"]
    assert example.startswith("test 101.jpg and 2 more: 42x32 pixels by dataset.augmentation.test")
    assert "fewer than the checkpoint's num_queries = 100" in example


def test_images_have_tokens_for_the_teachers_queries(lab: Lab) -> None:
    """The student has 43, as many as there are tokens."""
    given(lab, Action.DISTILL)
    model_for(lab, Action.DISTILL, num_queries=44, num_select=43)
    assert check(lab, Action.DISTILL) == 65
    [example] = lab.findings["queries-over-tokens"]["examples"]
    assert "give 43 tokens, fewer than the teacher's num_queries = 44" in example
    model_for(lab, Action.DISTILL)
    assert check(lab, Action.DISTILL) == 0


def test_images_of_more_boxes_than_the_checkpoint_gives_detections(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    model_for(lab, Action.EVALUATE, num_queries=30, num_select=10)
    boxes = lab.validation.coco["annotations"]
    boxes += [{**boxes[0], "id": 50 + n, "bbox": [n, 1, 4, 4], "area": 16} for n in range(9)]
    assert check(lab, Action.EVALUATE) == 0
    [example] = lab.findings["boxes-over-select"]["examples"]
    assert example == "test 101.jpg (11 boxes, 10 detections)"
    assert check(lab, Action.EVALUATE, "model.num_select=11") == 0
    assert lab.findings == {}


def test_a_model_is_read_without_torch(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    model_for(lab, Action.EVALUATE)
    check(lab, Action.EVALUATE)
    preflight_without(lab, {"torch", "onnx", "boto3"}, "--for", "evaluate")


# ---- files that the spec names ------------------------------------------------------------------

NAMED: dict[str, tuple[Action, str]] = {
    "a model": (Action.EVALUATE, "evaluate.checkpoint"),
    "an ONNX file": (Action.EVALUATE, "evaluate.onnx_file"),
    "an engine": (Action.INFERENCE, "inference.trt_engine"),
    "an export's": (Action.EXPORT, "export.checkpoint"),
    "a quantization's": (Action.QUANTIZE, "quantize.model_path"),
    "a teacher": (Action.DISTILL, "distill.pretrained_teacher_model_path"),
    "a backbone": (Action.TRAIN, "model.pretrained_backbone_path"),
    "weights": (Action.TRAIN, "train.pretrained_model_path"),
    "weights of a student": (Action.DISTILL, "train.pretrained_model_path"),
    "a checkpoint to resume from": (Action.TRAIN, "train.resume_training_checkpoint_path"),
}
ENDS = {"onnx_file": ".onnx", "trt_engine": ".engine", "model_path": ".onnx"}


def prepared(lab: Lab, action: Action) -> None:
    """Data for the action, and a teacher where it needs one."""
    if action == Action.DISTILL:
        model_for(lab, action)
    elif action == Action.INFERENCE:
        (lab.folder / "classes.txt").write_text("a\n")
        lab.spec["dataset"] = {
            "infer_data_sources": {
                "image_dir": [str(lab.train.folder / "images")],
                "classmap": str(lab.folder / "classes.txt"),
            }
        }
    elif action != Action.TRAIN:
        given(lab, action)


@pytest.mark.parametrize("where", ["here", "in S3"])
@pytest.mark.parametrize(("action", "key"), NAMED.values(), ids=NAMED)
def test_a_file_that_is_not_there_ends_the_preflight_by_its_key(
    lab: Lab, s3_server: S3Server, action: Action, key: str, where: str
) -> None:
    prepared(lab, action)
    base = str(lab.folder) if where == "here" else f"s3://{BUCKET}/{lab.folder.name}"
    uri = f"{base}/lost{ENDS.get(key.rpartition('.')[2], '.pth')}"
    assert check(lab, action, f"{key}={uri}") == 66
    assert f"{key}: There is no file {uri}." in lab.err
    assert f"Name a file that is there as {key}." in lab.err
    assert not (lab.folder / "work/data").exists(), "data was staged before"


def test_a_folder_in_a_files_place_is_told_with_the_key(lab: Lab) -> None:
    assert check(lab, Action.TRAIN, f"train.pretrained_model_path={lab.folder}") == 66
    assert f"train.pretrained_model_path: {lab.folder} is a folder" in lab.err
    assert "Name the file within it" in lab.err


def test_files_that_are_there_and_shipped_weights_pass(lab: Lab) -> None:
    path = a_checkpoint(lab.folder / "mine.pth")
    assert check(lab, Action.TRAIN, f"train.pretrained_model_path={path}") == 0
    shipped = (f"model.backbone={SHIPPED_BACKBONE}", f"model.pretrained_backbone_path={IMAGENET}")
    assert check(lab, Action.TRAIN, *shipped) == 0


def test_a_training_that_goes_on_needs_no_weights_to_begin_with(lab: Lab) -> None:
    lost = "train.pretrained_model_path=/lost.pth"
    assert check(lab, Action.TRAIN, lost) == 66
    latest = a_checkpoint(lab.folder / "results/train/dino_model_latest.pth")
    assert check(lab, Action.TRAIN, lost) == 0
    latest.unlink()
    other = a_checkpoint(lab.folder / "other.pth")
    assert check(lab, Action.TRAIN, lost, f"train.resume_training_checkpoint_path={other}") == 0


def test_a_model_that_is_none_by_its_ending_is_refused(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    (lab.folder / "model.etlt").touch()
    assert check(lab, Action.EVALUATE, f"evaluate.checkpoint={lab.folder}/model.etlt") == 64
    assert "an encrypted export of TAO" in lab.err


@pytest.mark.parametrize("action", ACTIONS)
def test_another_structure_than_the_spec_describes_is_refused(action: Action, lab: Lab) -> None:
    """By the sentence of the action; what is said of a student says nothing of its teacher."""
    given(lab, action)
    model_for(lab, action)
    rename(lab, own_names(action))
    whose = "distill.teacher" if action == Action.DISTILL else "model"
    assert check(lab, action, f"{whose}.hidden_dim=128") == 64
    assert "is of another model than the spec describes: model.hidden_dim is 128" in lab.err
    assert "the file itself says what it is" in lab.err
    assert check(lab, action, f"{whose}.hidden_dim=256") == 0


def test_other_classes_than_the_spec_says_are_refused(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    model_for(lab, Action.EVALUATE)
    assert check(lab, Action.EVALUATE, "dataset.num_classes=7") == 64
    assert "dataset.num_classes is 7, the model's 3" in lab.err


def test_weights_in_int8_are_refused_where_they_are_made_into_something_else(lab: Lab) -> None:
    given(lab, Action.EVALUATE)
    path = a_checkpoint(lab.folder / "model.pth")
    checkpoint.write({**checkpoint.read(path), PACKED: {}}, path)
    assert check(lab, Action.EVALUATE, f"evaluate.checkpoint={path}") == 0
    assert check(lab, Action.EXPORT, f"export.checkpoint={path}") == 64
    assert f"{path} holds weights in INT8, which only evaluate and inference take" in lab.err


@pytest.mark.parametrize(
    ("action", "key", "ending"),
    [
        (Action.EXPORT, "export.onnx_file", ".onnx"),
        (Action.GEN_TRT_ENGINE, "gen_trt_engine.trt_engine", ".engine"),
    ],
)
def test_a_place_that_is_taken_is_refused(action: Action, key: str, ending: str, lab: Lab) -> None:
    given(lab, action)
    model_for(lab, action)
    rename(lab, own_names(action))
    taken = lab.folder / f"taken{ending}"
    taken.touch()
    assert check(lab, action, f"{key}={taken}") == 64
    assert f"{key} {taken} exists." in lab.err
    assert check(lab, action, f"{key}={lab.folder}/free{ending}") == 0


@pytest.mark.parametrize("failed", [False, True])
def test_a_job_that_is_made_again_needs_no_files_to_report_its_result(
    failed: bool, lab: Lab
) -> None:
    """Its first run has left the copy that is in the way, and the checkpoint was tidied away."""
    given(lab, Action.EXPORT)
    copy, gone = lab.folder / "mine.onnx", lab.folder / "gone.pth"
    copy.touch()
    keys = (f"export.onnx_file={copy}", f"export.checkpoint={gone}")
    assert check(lab, Action.EXPORT, *keys) == 66
    spec, _ = read_spec_file(lab.folder / "spec.yaml", keys, Action.EXPORT)
    failure = Failure(reason="GateFailed", message="x") if failed else None
    result = Result(action=Action.EXPORT, spec_digest=digest(spec, Action.EXPORT), failure=failure)
    folder = Path(spec.results_dir) / "export"
    folder.mkdir(parents=True)
    (folder / RESULT_FILE).write_text(result.to_termination_message())
    assert check(lab, Action.EXPORT, *keys) == (66 if failed else 0)
    assert check(lab, Action.EXPORT, *keys, "export.opset_version=18") == 66, "another spec"


def test_every_format_says_of_itself_what_it_is() -> None:
    assert set(READERS) == set(get_args(Format))
