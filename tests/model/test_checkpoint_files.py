"""Files that strangers name as a checkpoint: read without running any of it, or named as they are.

Types of libraries that are not installed here are made up under the names that they have there.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import itertools
import pathlib
import pickle
import re
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dino_api.formats import PACKED
from dino_trainer.errors import TrainerError
from dino_trainer.model import (
    file_kind,
    inert,
    load_backbone_weights,
    load_checkpoint_weights,
    read_state,
)
from dino_trainer.model.weights import our_name
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.int8_weights import read_int8_weights
from dino_trainer.model_files.outline import outline_of, own_spec
from tests.model.small import a_detector

RAN: list[str] = []


def ran(said: str) -> str:
    """Notes that a file made something run; harmless, and never to be seen."""
    RAN.append(said)
    return said


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.fixture
def foreign() -> Iterator[Callable[..., type]]:
    """Makes a class under another module's name; gone from there before the file is read."""
    made: list[str] = []

    def make(module: str, name: str, *bases: type, **members: Any) -> type:
        parts = module.split(".")
        for package in (".".join(parts[: at + 1]) for at in range(len(parts))):
            made.append(package)
            sys.modules.setdefault(package, types.ModuleType(package))
        home = sys.modules[module]
        cls = type(name, bases or (object,), {"__module__": module, **members})
        setattr(home, name, cls)
        return cls

    yield make
    for module in set(made):
        sys.modules.pop(module, None)


def a_state() -> dict[str, Tensor]:
    return {
        "class_embed.0.bias": torch.arange(4.0),
        "transformer.level_embed": torch.arange(6, dtype=torch.float16).view(2, 3).t(),
        "half.turned": torch.arange(12.0, dtype=torch.bfloat16).view(3, 4)[1:, ::2],
        "counts": torch.tensor([1, 2], dtype=torch.int64),
        "nothing": torch.empty(0, 3),
        "flag": torch.tensor(True),
    }


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    """Equal names, kinds and numbers."""
    return found.keys() == wanted.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value)
        for name, value in wanted.items()
    )


def saved(path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


def enclosed() -> dict[str, Any]:
    """What checkpoints hold beside their weights, of Python's and NumPy's own types."""
    return {
        "path": pathlib.PurePosixPath("/data"),
        "real path": Path("/data"),
        "windows path": pathlib.PureWindowsPath("C:/data"),
        "best": np.float64(0.5),
        "step": np.int64(3),
        "array": np.arange(3),
        "objects": np.array(["a", None], dtype=object),
        "texts": np.array(["a", "b"]),
        "generator": np.random.default_rng(1),
        "defaults": collections.defaultdict(list, a=[1]),
        "counter": collections.Counter("abca"),
        "deque": collections.deque([1, 2], 5),
        "ordered": collections.OrderedDict(a=1),
        "namespace": argparse.Namespace(lr=1e-4, inner=argparse.Namespace(a=1)),
        "simple": types.SimpleNamespace(a=1),
        "time": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        "delta": datetime.timedelta(1),
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "range": range(3),
        "slice": slice(1, 2),
        "bytes": b"\x00\xff",
        "bytearray": bytearray(b"ab"),
        "complex": 1j,
        "large": 1 << 70,
        "function": Calls(ran, "a function of the file"),
        "method": Calls(getattr, "abc", "upper"),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "generator of torch": torch.Generator().get_state(),
        "parameter": nn.Parameter(torch.ones(1)),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("new", [True, False], ids=["archive", "of torch before 1.6"])
@pytest.mark.parametrize("first", [True, False], ids=["weights first", "weights last"])
def test_weights_are_read_whatever_lies_beside_them(
    tmp_path: Path, protocol: int, new: bool, first: bool
) -> None:
    parts = [{"state_dict": a_state()}, {"hyper_parameters": enclosed()}]
    content = dict(itertools.chain(*(each.items() for each in parts[:: 1 if first else -1])))
    how = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": new}
    path = saved(tmp_path / "x.pth", content, **how)
    assert same(read_state(path), a_state())
    assert RAN == []


@pytest.mark.parametrize("kind", enclosed())
def test_each_kind_alone(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "x.pth", {"model": a_state(), "beside": {"it": enclosed()[kind]}})
    assert same(read_state(path), a_state())
    assert RAN == []


def test_a_checkpoint_of_lightning_with_omegaconfs_types(tmp_path: Path, foreign: Any) -> None:
    """With the shape that OmegaConf's have: objects that refer to each other, in circles."""
    kinds = {
        name: foreign(f"omegaconf.{module}", name)
        for module, name in [
            ("dictconfig", "DictConfig"),
            ("listconfig", "ListConfig"),
            ("base", "ContainerMetadata"),
            ("base", "Metadata"),
            ("nodes", "AnyNode"),
        ]
    }
    root, entry, about = kinds["DictConfig"](), kinds["AnyNode"](), kinds["ContainerMetadata"]()
    about.__dict__ |= {"ref_type": Any, "object_type": dict, "key_type": Any, "flags": {}}
    about.__dict__["resolver_cache"] = collections.defaultdict(dict)
    entry.__dict__ |= {"_metadata": kinds["Metadata"](), "_parent": root, "_val": 1e-4}
    root.__dict__ |= {"_metadata": about, "_parent": None, "_content": {"lr": entry}}
    callback = foreign("lightning.pytorch.callbacks", "Best", dict)
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.6.0",
        "callbacks": {"x": callback(path=Path("/a"))},
        "hyper_parameters": root,
        "state_dict": {f"model.model.{name}": value for name, value in a_state().items()},
    }
    path = saved(tmp_path / "x.ckpt", content)
    for module in [name for name in sys.modules if name.startswith(("omegaconf", "lightning"))]:
        sys.modules.pop(module)
    wanted = {f"model.model.{name}": value for name, value in a_state().items()}
    assert same(read_state(path), wanted)
    assert not [name for name in sys.modules if name.startswith(("omegaconf", "lightning"))]


def test_containers_of_other_types_and_whole_modules(tmp_path: Path, foreign: Any) -> None:
    """A dictionary of a library's own, and a model that was saved whole."""
    edict = foreign("easydict", "EasyDict", dict)
    path = saved(tmp_path / "x.pth", {"state_dict": edict(a_state())})
    sys.modules.pop("easydict")
    assert same(read_state(path), a_state())
    network = foreign("their.network", "Network", nn.Sequential)
    model = network(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    path = saved(tmp_path / "y.pth", {"model": model, "epoch": 1})
    wanted = dict(model.state_dict())
    sys.modules.pop("their.network")
    assert same(read_state(path), wanted)


def test_arrays_for_tensors(tmp_path: Path) -> None:
    """As Detectron2 has them, in a pickle without torch."""
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "c": np.float16([1]),
    }
    wanted = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "x"}, protocol))
        assert same(read_state(path), wanted)


@pytest.mark.parametrize(
    "name", ["x.pth", "x.pt", "x.bin", "x.safetensors", "x.ckpt", "x", "x.tlt"]
)
def test_the_content_says_what_it_is_and_not_the_ending(tmp_path: Path, name: str) -> None:
    state = {key: value.contiguous() for key, value in a_state().items()}
    save_file(state, tmp_path / name)
    assert same(read_state(tmp_path / name), state)
    saved(tmp_path / name, {"state_dict": state})
    assert same(read_state(tmp_path / name), state)
    saved(tmp_path / name, state, _use_new_zipfile_serialization=False)
    assert same(read_state(tmp_path / name), state)


@pytest.mark.parametrize(
    "content",
    [
        lambda state: state,
        lambda state: {"ema": state},
        lambda state: {"model": {"state_dict": {"module": state}}},
        lambda state: {"epoch": 1, "model_state_dict": state, "optimizer_state_dict": {"a": {}}},
        lambda state: {"model": None, "state_dict": state},
        lambda state: {"model": state, "ema": {k: v + 1 for k, v in state.items()}},
        lambda state: {"optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}, "params": state},
    ],
)
def test_weights_are_found_where_they_lie(content: Any) -> None:
    source, target = a_detector(seed=1), a_detector(seed=2)
    load_checkpoint_weights(target, content(source.state_dict()), strict=True)
    wanted = source.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in target.state_dict().items())


PARTS = ("_orig_mod.", "module.", "model.", "ema.", "_forward_module.")
ORDERS = ["".join(each) for n in range(4) for each in itertools.permutations(PARTS, n)]


def test_prefixes_in_any_order_and_within_names() -> None:
    names = ["decoder.norm.weight", "backbone.body.net.conv.weight", "level_embed"]
    assert len(ORDERS) == 86
    for prefix, name in itertools.product([*ORDERS, "model.model.", "module." * 4], names):
        assert our_name(prefix + name) == name
    inner = (
        "model.decoder._orig_mod.layers.3._checkpoint_wrapped_module.self_attn._orig_mod.in_proj"
    )
    assert our_name(inner) == our_name("decoder.layers.3.self_attn.in_proj")


@pytest.mark.parametrize("ema_first", [True, False])
def test_an_average_beside_the_weights_does_not_stand_in_their_way(ema_first: bool) -> None:
    """As Lightning's state of everything has both, and the loss besides."""
    source, target = a_detector(seed=1), a_detector(seed=2)
    plain = {f"model.{name}": value for name, value in source.state_dict().items()}
    average = {f"ema.module.{name}": value + 1 for name, value in source.state_dict().items()}
    both = {**average, **plain} if ema_first else {**plain, **average}
    both |= {"ema.n_averaged": torch.tensor(3), "criterion.empty_weight": torch.ones(5)}
    report = load_checkpoint_weights(target, both, strict=True)
    assert report.skipped == ()
    wanted = source.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in target.state_dict().items())
    load_checkpoint_weights(target, average, strict=True)
    assert torch.equal(target.level_embed, source.level_embed + 1)


def test_a_backbone_behind_any_prefix(tmp_path: Path) -> None:
    source, target = a_detector(seed=1), a_detector(seed=2)
    body = source.backbone.body.state_dict()
    state = {f"_orig_mod.module.model.backbone.0.body.{name}": v for name, v in body.items()}
    load_backbone_weights(target, saved(tmp_path / "x.bin", {"hparams": Path("a"), "net": state}))
    assert all(torch.equal(v, body[name]) for name, v in target.backbone.body.state_dict().items())


DANGEROUS = {
    "posix.system": b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00false\x85R.",
    "os.execvp": b"\x80\x04\x8c\x02os\x8c\x06execvp\x93.",
    "__builtin__.eval": b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
    "subprocess.Popen": b"\x80\x02(isubprocess\nPopen\n.",
    "shutil.rmtree": b"\x80\x04\x8c\x06shutil\x8c\x06rmtree\x93.",
    "importlib.import_module": b"\x80\x02cimportlib\nimport_module\n.",
}


@pytest.mark.parametrize("name", DANGEROUS)
def test_what_would_run_programs_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only names: the bytes ask for nothing that could do harm, and nothing is looked up at all."""
    for target in ("os.system", "subprocess.Popen", "shutil.rmtree", "importlib.import_module"):
        monkeypatch.setattr(target, ran)
    path = tmp_path / "x.pkl"
    path.write_bytes(DANGEROUS[name])
    with pytest.raises(ValueError, match="runs programs") as caught:
        read_state(path)
    assert f"it names {name}, " in str(caught.value)
    assert RAN == []


def test_nothing_but_the_readers_own_functions_is_ever_called(tmp_path: Path) -> None:
    """Whatever a file names is looked up in one table."""
    for path, known in inert._KNOWN.items():
        ours = isinstance(known, inert._Maker | torch.dtype) or known.__module__ in (
            "builtins",
            "collections",
        )
        assert ours, path
        if isinstance(known, inert._Maker):
            with pytest.raises(pickle.UnpicklingError):
                known.__setstate__({"_make": ran})
    for module in ("os.path", "torch.hub", "torch.nn.functional", "numpy", "builtins", __name__):
        for name in ("getattr", "load", "join", "ran", "print", "array"):
            found = inert._Unpickler(io.BytesIO(), lambda *_: None).find_class(module, name)
            assert issubclass(found, inert.Inert), (module, name)


def archive(path: Path, names: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in names.items():
            file.writestr(name, content)
    return path.read_bytes()


def tarred(path: Path) -> bytes:
    with tarfile.open(path, "w") as file:
        file.add(__file__, "a.pth")
    return path.read_bytes()


def scripted() -> bytes:
    made = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), made)
    return made.getvalue()


def onnx_file() -> bytes:
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    return bytes(helper.make_model(graph).SerializeToString())


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 190820000\n" % (b"0" * 64)
NAMED: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "it is empty. "),
    "a Git LFS pointer": (LFS, "a Git LFS pointer for 190,820,000 bytes, not the file itself. Run"),
    "HTML": (b"\n<!DOCTYPE html><html><head><title>Sign in", "an HTML page: what a server answers"),
    "HTML in capitals": (b"\xef\xbb\xbf<HTML><BODY>404", "an HTML page"),
    "S3's error": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML text"),
    "an index": (b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}', "a JSON text"),
    "text": ("Häuser\n".encode() * 200, "it is a text. "),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "an HDF5 file, as Keras and TAO's"),
    "an engine": (b"ftrt\0\0\0\0" + b"\x01" * 99, "a TensorRT engine. Name it where engines are"),
    "ONNX": (onnx_file, "an ONNX file. Name it where ONNX files are taken (such as evaluate.onnx"),
    "TorchScript": (scripted, "a TorchScript program. Save the weights alone"),
    "gzip": (b"\x1f\x8b\x08" + b"x" * 99, "compressed with gzip. Unpack it"),
    "a tar archive": (tarred, "a tar archive. Unpack it, and name the file of weights within."),
    "a zip archive": (
        lambda at: archive(at, {"m/a.pth": b"x", "b": b""}),
        "(m/a.pth, b). Unpack it",
    ),
    "npz": (lambda at: archive(at, {"a.npy": b"x"}), "an archive of NumPy arrays"),
    "NumPy": (b"\x93NUMPY\x01\x00v", "a NumPy array"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "it is a PNG image. Name a checkpoint."),
    "zeros": (b"\0" * 4096, "full of zero bytes: its copy or download was never finished"),
    "macOS's": (b"\x00\x05\x16\x07\x00\x02", "what macOS puts beside a file"),
    "noise": (bytes(range(128, 256)) * 9, "of no kind that is known here: it may be encrypted"),
    "half an archive": (b"PK\x03\x04" + b"x" * 300, "cut off or damaged: it begins as an archive"),
    "half a pickle": (
        b"\x80\x02}q\x00X\x05",
        "its content is damaged or cut off. Copy or download",
    ),
    "half of safetensors": (
        (200).to_bytes(8, "little") + b'{"a": {"dtype": "F32"',
        "its content is damaged or cut off",
    ),
}


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_what_is_no_checkpoint_is_named_as_what_it_is(
    tmp_path: Path, kind: str, ending: str
) -> None:
    content, said = NAMED[kind]
    if callable(content):
        content = (
            content(tmp_path / "made")
            if content in (tarred,)
            or kind
            in (
                "a zip archive",
                "npz",
            )
            else content()
        )
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    told = refusal(path)
    assert told.startswith(f"{path} is not a readable checkpoint: ")
    assert said in told


def refusal(path: Path) -> str:
    """A whole sentence, or several, for people."""
    with pytest.raises(ValueError, match=r".") as caught:
        read_state(path)
    told = str(caught.value)
    assert told.endswith(".")
    assert told.isprintable(), "no terminal code, no second line"
    assert not any(word in told for word in ("weights_only", "Unpickl", "GLOBAL", "Traceback"))
    return told


def test_what_tao_encrypts(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "x.pth",
        {"state_dict": b"\x8f\x00", "state_dict_encrypted": True, "pytorch-lightning_version": "2"},
    )
    assert "is a model that TAO has encrypted with a key. Save it without" in refusal(path)
    for ending in ("tlt", "hdf5"):
        path = tmp_path / f"x.{ending}"
        path.write_bytes(bytes(range(128, 256)) * 9)
        assert "it is a model that TAO has encrypted with a key." in refusal(path)


def test_a_checkpoint_cut_anywhere_ends_in_a_sentence(tmp_path: Path) -> None:
    """No tensor is empty here. The older format writes storages in the order of their addresses.

    Where the empty one comes last, torch reads a file cut in its eight bytes: nothing is lost then.
    """
    full = {name: value for name, value in a_state().items() if value.numel()}
    content = {"hyper_parameters": {"path": Path("a")}, "state_dict": full}
    for new in (True, False):
        whole = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=new).read_bytes()
        for end in (*range(1, len(whole), max(1, len(whole) // 60)), len(whole) - 1):
            (tmp_path / "cut.pth").write_bytes(whole[:end])
            refusal(tmp_path / "cut.pth")


def test_a_damaged_checkpoint_is_read_or_ends_in_a_sentence(tmp_path: Path) -> None:
    """One byte after another of what a file of torch before 1.6 says, changed."""
    content = {"hyper_parameters": enclosed(), "state_dict": {"a": torch.ones(2)}}
    whole = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=False).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 300).tolist():
        broken = bytearray(whole)
        broken[place] = int(rng.integers(0, 256))
        (tmp_path / "broken.pth").write_bytes(broken)
        if told := refused_or_read(tmp_path / "broken.pth"):
            assert told.endswith(".")
            assert told.isprintable()
    assert RAN == []


def refused_or_read(path: Path) -> str:
    try:
        read_state(path)
    except ValueError as error:
        return str(error)
    return ""


def test_what_refers_to_itself_is_read_once(tmp_path: Path) -> None:
    """A mapping within itself, and one that is there in 2^45 ways."""
    inner: dict[str, Any] = {"a": torch.ones(2)}
    inner["b"] = inner
    assert read_state(saved(tmp_path / "x.pth", {"model": inner})).keys() == {"a"}
    for within, said in ((1, "holds no tensors"), (torch.ones(1), "more than 100,000 tensors")):
        made: dict[str, Any] = {"t": within}
        for _ in range(45):
            made = {"a": made, "b": made}
        assert said in refusal(saved(tmp_path / "x.pth", {"model": made}))


def test_modules_that_hold_one_another(tmp_path: Path, foreign: Any) -> None:
    """Torch's own modules, of a type that is not known here."""
    module = foreign("odd.modules", "Net")()
    module.__dict__.update(_parameters={}, _buffers={}, _modules={"a": module, "b": module})
    assert "is not a readable checkpoint" in refusal(saved(tmp_path / "x.pth", {"model": module}))


def test_a_pickle_that_is_too_deep(tmp_path: Path) -> None:
    for levels in (60, 400, 5000):
        text = b"}X\x05\0\0\0model" * levels + b"}" + b"s" * levels
        (tmp_path / "x.pkl").write_bytes(b"\x80\x02" + text + b".")
        assert "is not a readable checkpoint" in refusal(tmp_path / "x.pkl")


def test_numbers_that_are_said_many_times_are_not_written_out(tmp_path: Path) -> None:
    """A terabyte in a file of a kilobyte."""
    path = saved(tmp_path / "x.pth", {"model": {"a": torch.ones(1).expand(1 << 38)}})
    assert "its tensors are of 1,099,511,627,776 bytes, and the file of" in refusal(path)
    packed = {"codes": {"a": torch.ones(1, 1, dtype=torch.int8).expand(1 << 40, 1)}, "kept": {}}
    packed["scales"] = {"a": torch.ones(1).expand(1 << 40)}
    with pytest.raises(ValueError, match="a has no codes with a scale each"):
        read_int8_weights({PACKED: packed})


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_archive_that_is_packed(tmp_path: Path, how: int) -> None:
    """Torch packs nothing: a sound one is small, a broken one ends in the words of the others."""
    whole = saved(tmp_path / "x.pth", {"model": a_state()})
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", how) as new:
        for each in old.namelist():
            new.writestr(each, old.read(each))
    place = path.read_bytes().index(b"data.pkl") + 20
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert "is not a readable checkpoint" in refusal(path)
    assert outline_of(str(path)) is None


def test_an_archive_that_unpacks_to_very_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_kind, "_LEAST", 1 << 20)
    path = tmp_path / "x.pth"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made,
        made.open("x/data.pkl", "w") as inner,
    ):
        for _ in range(3):
            inner.write(bytes(1 << 20))
    assert "it is an archive that unpacks to 3,145,728 bytes, of " in refusal(path)
    with pytest.raises(ValueError, match="it is an archive that unpacks to 3,145,728 bytes"):
        checkpoint.read(path)


def test_an_archive_with_a_key_has_no_outline(tmp_path: Path) -> None:
    """The mark of an encrypted member, which one wrong bit sets."""
    path = saved(tmp_path / "x.pth", {"spec": {}, "class_names": []})
    content = bytearray(path.read_bytes())
    for found in re.finditer(rb"PK\x01\x02", path.read_bytes()):
        content[found.start() + 8] |= 1
    path.write_bytes(content)
    assert outline_of(str(path)) is None


def test_what_a_checkpoint_of_ours_says_may_be_anything() -> None:
    assert own_spec({"spec": 5, "class_names": ["a"]}, "x.pth")[1] == ("a",)
    dataset = {"num_classes": 30_000}  # as an earlier release took it
    many = {"spec": {"dataset": dataset}, "class_names": [""] * 30_000}
    with pytest.raises(TrainerError, match=r"x\.pth has 30,000 classes, of 20,000 at most"):
        own_spec(many, "x.pth")
