"""Where the model of an action lies, and what kind of file it is by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from dino_api import formats
from dino_api.actions import ACTIONS, facts_of
from dino_api.experiment import ExperimentSpec
from dino_api.formats import Format
from dino_api.names import LATEST_CHECKPOINT, ONNX_FILE, WEIGHTS_ALONE, Action
from dino_api.result import ModelFile
from dino_trainer.errors import invalid_spec
from dino_trainer.spec.sections import key_path, section_of, uri_at
from dino_trainer.storage.files import sha256_of
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import split

# An engine is described by a file beside it, of its name and this.
ENGINE_METADATA_SUFFIX = ".json"
# What is named for a model and holds none that could be read here.
_OTHERS = {
    ".etlt": "an encrypted export of TAO: name the .pth or .onnx of the same training",
    ".hdf5": "a file of Keras, or one that TAO has encrypted: name a .pth of a DINO detector",
    ".h5": "a file of Keras: name a .pth of a DINO detector",
    ".keras": "a file of Keras: name a .pth of a DINO detector",
    ".zip": "an archive: unpack it, and name the file within",
    ".tar": "an archive: unpack it, and name the file within",
    ".gz": "compressed: unpack it, and name the file within",
    ".trt": "an engine that another program built: build one by `dino gen_trt_engine`",
    ".plan": "an engine that another program built: build one by `dino gen_trt_engine`",
}


def model_uri(spec: ExperimentSpec, action: Action) -> str:
    """The URI of the model that an action works on.

    What its section names; else what a training, or an export, in the same results_dir leaves:
    `<results_dir>/train/dino_model_latest.pth`, `<results_dir>/export/dino_model.onnx`.

    Raises:
        TrainerError: InvalidSpec where two are named, or none and nothing can stand in.
    """
    section, keys = section_of(spec, action), ACTIONS[action].model_keys
    named = {key: uri for key in keys if (uri := uri_at(section, key))}
    if len(named) > 1:
        both = " and ".join(f"{key_path(action, key)} ({uri})" for key, uri in named.items())
        raise invalid_spec(f"Two models are named: {both}.", "Name one of them.")
    if named:
        return next(iter(named.values()))
    if action == Action.DISTILL or not spec.results_dir:
        raise invalid_spec(
            f"{key_path(action, keys[0])} is not set.",
            "Name the teacher's checkpoint." if action == Action.DISTILL else "Name a model.",
        )
    return f"{spec.results_dir.rstrip('/')}/{stand_in(spec, action)}"


def stand_in(spec: ExperimentSpec, action: Action) -> str:
    """What an action takes that names no model, below `results_dir`."""
    from_checkpoint = "checkpoint" in takes(spec, action)
    return f"train/{LATEST_CHECKPOINT}" if from_checkpoint else f"export/{ONNX_FILE}"


def takes(spec: ExperimentSpec, action: Action) -> Mapping[str, str]:
    """The formats of models that an action takes by this spec."""
    return facts_of(action, spec.quantize.mode == WEIGHTS_ALONE).takes


def model_format(uri: str) -> Format:
    """What kind of file it is, by its extension. Raises InvalidSpec for any other."""
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix in _OTHERS:
        what, _, remedy = _OTHERS[suffix].partition(": ")
        raise invalid_spec(
            f"{uri} is no model file, but {what}.", f"{remedy[0].upper()}{remedy[1:]}."
        )
    known = formats.format_of(uri)
    if known is None:
        ends = ", ".join(formats.ENDINGS)
        raise invalid_spec(f"{uri} is no model file.", f"Name a file that ends in {ends}.")
    return known


def file_at(path: Path, uri: str) -> ModelFile:
    """The file at `path`, which is known as `uri`."""
    size = path.stat().st_size
    return ModelFile(uri=uri, format=model_format(uri), sha256=sha256_of(path), bytes=size)


def refuse_existing(key: str, uri: str, suffix: str) -> None:
    """Refuses a place for another copy of a model that is no such file, or that is taken.

    key: the dotted key that names it; an empty `uri` asks for none. Raises InvalidSpec.
    """
    if not uri:
        return
    folder, name = split(uri)
    if not name.endswith(suffix):
        raise invalid_spec(f"{key} is {uri}.", f"Name a file that ends in {suffix}.")
    if open_store(folder).exists(name):
        raise invalid_spec(f"{key} {uri} exists.", "Delete it, or name another file.")
