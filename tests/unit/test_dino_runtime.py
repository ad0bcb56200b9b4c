"""`dino_runtime` finds what the trainer's detector finds; docs/runtime.md is run as it stands."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from dino_api.result import ModelFile
from dino_runtime import Detector, NotADetector
from dino_runtime import detector as runtime
from dino_runtime.exported_file import PREFIX, SCHEMA, described
from dino_trainer.data.loader import Batch
from dino_trainer.data.transforms import Geometry, apply
from dino_trainer.detectors import onnx_detector
from dino_trainer.detectors.torch_detector import TorchDetector, open_checkpoint
from dino_trainer.export.onnx_model import GraphForm, export_onnx
from dino_trainer.model_files import graph_metadata
from tests.unit.test_export_action import NAMES, SIZE, Pooled, a_checkpoint, opened, spec_of

PAGE = (Path(__file__).parents[2] / "docs" / "runtime.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(SERVED,) = [program for program in PROGRAMS if "HTTPServer" in program]
PROGRAMS.remove(SERVED)
WHOLE = (200, 300)  # of the picture


class Exported:
    """A detector of a few operations under the metadata of a real one."""

    def __init__(self, folder: Path) -> None:
        file = ModelFile(uri="model.pth", format="checkpoint")
        device = torch.device("cpu")
        info = open_checkpoint(a_checkpoint(folder), file, spec_of(folder), device).info
        torch.manual_seed(0)
        self.model, self.path = TorchDetector(Pooled().eval(), info), folder / "model.onnx"
        self.write(self.path)

    def write(self, path: Path, **options: Any) -> Path:
        form = GraphForm(
            **{"size": SIZE, "opset": 17, "batch": None, "end_to_end": False, **options}
        )
        export_onnx(self.model.model, self.model.info, path, form)  # type: ignore[arg-type]
        return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noise).resize(WHOLE[::-1], Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("kind", ["raw", "end_to_end"])
def test_it_finds_what_the_trainers_detector_finds(
    kind: str, made: Exported, photo: Path, tmp_path: Path
) -> None:
    path = made.path
    if kind == "end_to_end":
        path = made.write(tmp_path / "model.onnx", opset=18, batch=2, end_to_end=True)
    found = Detector.open(path).detect(photo, threshold=0.0)
    pixels = apply(Image.open(photo).convert("RGB"), Geometry(SIZE))[None].contiguous()
    batch = Batch((0,), pixels, None, [])
    (theirs,) = opened(path)(batch, torch.tensor([WHOLE]))
    named = [place for place, label in enumerate(theirs.labels.tolist()) if NAMES[label]]
    assert len(found) == len(named) > 3
    np.testing.assert_allclose(
        sorted(one.score for one in found), sorted(theirs.scores[named].tolist()), atol=0.01
    )
    best, other = found[0], named[0]
    assert best.name == NAMES[theirs.labels[other]] == NAMES[best.label]
    np.testing.assert_allclose(best.box, theirs.boxes[other].tolist(), atol=2)


def test_a_picture_an_array_and_a_file_are_one(made: Exported, photo: Path) -> None:
    detector = Detector.open(made.path)
    array = np.asarray(Image.open(photo).convert("RGB"))
    by_file, by_image, by_array = map(detector.detect, (photo, Image.open(photo), array), [0.0] * 3)
    assert by_file == by_image == by_array
    assert all(one.score >= by_file[0].score for one in detector.detect(photo, by_file[0].score))


def test_a_picture_is_turned_upright(made: Exported, photo: Path) -> None:
    detector, whole = Detector.open(made.path), Image.open(photo).convert("RGB")
    turned = photo.with_name("turned.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it to the right
    whole.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    assert detector.detect(turned, 0.0) == detector.detect(photo, 0.0)


def another_schema(path: Path, to: Path) -> Path:
    proto = onnx.load(path)
    for prop in proto.metadata_props:
        if prop.key == f"{PREFIX}schema":
            prop.value = "9"
    onnx.save(proto, to)
    return to


def foreign(path: Path, to: Path) -> Path:
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, to)
    return to


def broken(path: Path, to: Path) -> Path:
    to.write_bytes(path.read_bytes()[:100])
    return to


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_schema, "schema 9, and 1 is known"),
        (foreign, "does not say what it detects. Take a file that `dino export`"),
        (broken, "cannot be run by ONNX Runtime"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_words(
    change: Callable[[Path, Path], Path], said: str, made: Exported, tmp_path: Path
) -> None:
    with pytest.raises(NotADetector, match=said):
        Detector.open(change(made.path, tmp_path / "other.onnx"))


def test_what_both_packages_spell_is_one() -> None:
    assert (PREFIX, SCHEMA) == (graph_metadata.KEY_PREFIX, graph_metadata.GRAPH_SCHEMA)
    assert (runtime.INPUT, runtime.EXACT) == (graph_metadata.RAW_INPUT, onnx_detector.EXACT)
    assert tuple(runtime.RAW_OUTPUTS) == graph_metadata.RAW_OUTPUTS
    assert tuple(runtime.END_TO_END_OUTPUTS) == graph_metadata.END_TO_END_OUTPUTS
    assert (f"{PREFIX}quantization", "headroom") == (graph_metadata.NOTE, graph_metadata.HEADROOM)


def test_it_imports_nothing_of_the_project_and_no_torch() -> None:
    code = "import dino_runtime, json, sys; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(told.stdout)}
    assert not loaded & {"torch", "dino_trainer", "dino_api", "pydantic", "boto3"}


@pytest.mark.parametrize("program", PROGRAMS, ids=["package", "onnxruntime"])
def test_the_page_is_a_program_that_runs(
    program: str,
    made: Exported,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both say the same of a picture, as often as there is something to say."""
    monkeypatch.chdir(photo.parent)
    (photo.parent / "model.onnx").write_bytes(made.path.read_bytes())
    photo.rename("photo.jpg")  # Pillow goes by content
    exec(compile(program.replace("0.3", "0.001"), "docs/runtime.md", "exec"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = Detector.open("model.onnx").detect("photo.jpg", 0.001)
    wanted = sorted(
        (one.name, f"{one.score:.2f}", *(f"{side:.0f}" for side in one.box)) for one in found
    )
    said = {tuple(line) for line in lines if line[0] in NAMES}
    assert wanted
    assert {row[:2] for row in wanted} <= {row[:2] for row in said}


def said_to_be_large(side: int) -> bytes:
    """The beginning of a PNG of so many pixels a side, none of which is there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    length, checksum = struct.pack(">I", len(header) - 4), struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + length + header + checksum + struct.pack(">I", 9) + b"IDAT"


def test_the_service_of_the_page_answers_with_boxes(
    made: Exported, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", str(made.path))
    monkeypatch.setenv("THREADS", "1")
    service: dict[str, Any] = {"__name__": "service"}
    exec(compile(SERVED.replace("0.3", "0.001"), "docs/runtime.md", "exec"), service)
    with service["ThreadingHTTPServer"](("127.0.0.1", 0), service["Handler"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        with urlopen(address, photo.read_bytes()) as answer:
            found = json.load(answer)
        with urlopen(address) as answer:
            assert answer.status == 200, "the probe"
        with pytest.raises(HTTPError) as refused:
            urlopen(address, b"no picture")
        with pytest.raises(HTTPError, match="400") as too_large:
            urlopen(address, said_to_be_large(30_000))
        server.shutdown()
    wanted = Detector.open(made.path).detect(photo, 0.001)
    assert [each["name"] for each in found] == [one.name for one in wanted]
    assert found[0]["box"] == pytest.approx(wanted[0].box, abs=0.1)
    assert refused.value.code == 400
    assert "decompression bomb" in json.load(too_large.value)["error"]


def test_threads_are_limited_where_asked(made: Exported) -> None:
    """ONNX Runtime counts the machine's cores, not those that a container may use."""
    session = Detector.open(made.path, threads=2)._session
    assert session.get_session_options().intra_op_num_threads == 2


def test_the_plain_program_is_short() -> None:
    assert len([line for line in PROGRAMS[1].splitlines() if line]) <= 25


def test_tritons_configuration_is_that_of_a_file(made: Exported) -> None:
    graph = onnx.load(made.path).graph
    block = PAGE.partition("```protobuf\n")[2].partition("```")[0]
    told = {
        name: [int(side) for side in dims.split(",")]
        for name, dims in re.findall(
            r'name: "(\w+)", data_type: TYPE_FP32, dims: \[ (.*?) \]', block
        )
    }
    found = {
        each.name: [side.dim_value for side in each.type.tensor_type.shape.dim][1:]
        for each in (*graph.input, *graph.output)
    }
    assert told.keys() == found.keys()
    assert told["inputs"] == [3, *SIZE]
    assert all(len(told[name]) == len(found[name]) for name in found)
    assert told["pred_logits"][1] == len(NAMES)


ODD_PROPS = {
    "spec": "[" * 100_000, "input_size": "[1]", "batch_size": '"four"', "num_select": "Infinity",
    "preprocessing": "[]", "quantization": "[1]", "class_names": "7",
}  # fmt: skip


@pytest.mark.parametrize("key", ODD_PROPS)
def test_metadata_of_any_other_kind_is_refused_in_words(key: str, made: Exported) -> None:
    pairs = {one.key: one.value for one in onnx.load(made.path).metadata_props}
    described(pairs, "model.onnx")
    with pytest.raises(NotADetector, match=r"model.onnx says of itself what cannot be read: "):
        described({**pairs, f"{PREFIX}{key}": ODD_PROPS[key]}, "model.onnx")


def test_another_graph_under_the_metadata_is_refused(made: Exported, tmp_path: Path) -> None:
    """Else a label would stand for no class, or for another."""
    other = tmp_path / "other.onnx"
    for key, value, differs in (
        ("class_names", '["a"]', f"tells {len(NAMES)} classes, and names 1."),
        ("input_size", "[32, 32]", "takes images of 64x96, and says 32x32."),
        (
            "variant",
            '"end_to_end"',
            "has the graph inputs -> pred_logits, pred_boxes, and says inputs -> boxes, scores, "
            "labels.",
        ),
    ):
        proto = onnx.load(made.path)
        next(one for one in proto.metadata_props if one.key == PREFIX + key).value = value
        onnx.save(proto, other)
        with pytest.raises(NotADetector, match=re.escape(f"{other} {differs}")):
            Detector.open(other)
