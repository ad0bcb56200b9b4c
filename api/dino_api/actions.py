"""What each action is: one record, which everything that depends on the action reads.

A new action begins with its record here; CONTRIBUTING.md says what else it takes. No other module
may keep a table keyed by action (`tests/unit/test_api_actions.py` refuses it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from dino_api import names
from dino_api.formats import INT8
from dino_api.memory import NETWORK
from dino_api.names import TRAINS, Action


class DatasetSplit(StrEnum):
    """A part of spec.datasets. key: of the experiment's `dataset`. heading: before a list of it."""

    key: str
    heading: str

    def __new__(cls, value: str, key: str, heading: str) -> Self:
        member = str.__new__(cls, value)
        member._value_, member.key, member.heading = value, key, heading
        return member

    TRAIN = "train", "train_data_sources", "Training data"
    VALIDATION = "validation", "val_data_sources", "Validation data"
    TEST = "test", "test_data_sources", "Test data"
    CALIBRATION = "calibration", "quant_calibration_data_sources", "Calibration data"
    INFERENCE = "inference", "infer_data_sources", "Images"


@dataclass(frozen=True)
class ActionFacts:
    """What is to be known of one action.

    work: the noun, "training". verb: after "is needed to". less_memory: keys that need less of it
    where they are lower, besides the number of images at once.
    reads: the data it reads where it is given, in the order in which it is listed. needs: the part
    that it cannot do without; None: it reads data to compare, if any is given.
    takes: the key of its section for each format of model, or INT8, that it goes on from; the usual
    one first. leaves: the format, or INT8, of what it makes, and file: the name of that in its
    folder; None where it makes no model and hands on the one that it was given.
    writes: further keys of its section that name a place for a file.
    several: it may run in more than one process, on more than one node. says_gpus: its section has
    num_gpus. scores: its section has max_detections. also_reads: keys of another action's section
    that it reads.
    own_input: its section has batch_size, input_width and input_height. fixed_batch: its batch
    becomes part of the file, so that fewer images at once would be other work.
    follows: it may stand in spec.then of a search.
    """

    action: Action
    work: str
    verb: str
    less_memory: str
    reads: tuple[DatasetSplit, ...] = ()
    needs: DatasetSplit | None = None
    takes: Mapping[str, str] = field(default_factory=dict)
    leaves: str | None = None
    file: str = ""
    writes: tuple[str, ...] = ()
    several: bool = False
    says_gpus: bool = False
    scores: bool = False
    also_reads: tuple[str, ...] = ()
    own_input: bool = False
    fixed_batch: bool = False
    follows: bool = True

    @property
    def trains(self) -> bool:
        """Whether it saves checkpoints, and goes on from them."""
        return self.action in TRAINS

    @property
    def section(self) -> Action:
        """Whose section of the experiment says how it runs: `train` has that of all trainings."""
        return Action.TRAIN if self.trains else self.action

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections of the experiment that it reads."""
        return tuple(dict.fromkeys(("model", "dataset", self.section.value, self.action.value)))

    def reads_key(self, path: str) -> bool:
        """Whether it reads anything of a section, or a section's key, by its dotted path."""
        also = any(f"{key}.".startswith(f"{path}.") for key in self.also_reads)
        return also or path.partition(".")[0] in self.sections

    @property
    def model_keys(self) -> tuple[str, ...]:
        """The keys of its section that name the model it goes on from."""
        return tuple(dict.fromkeys(self.takes.values()))


def _at_size_of(action: Action) -> str:
    return f"{action}.input_width and {action}.input_height, or dataset.workers"


_LESS_TRAINING = f"{NETWORK}, or set train.activation_checkpoint: true"
_ANY_MODEL = MappingProxyType(
    {"checkpoint": "checkpoint", INT8: "checkpoint", "onnx": "onnx_file", "engine": "trt_engine"}
)

# A gate scores as evaluate does.
_GATE = ("evaluate.max_detections",)

ACTIONS: Mapping[Action, ActionFacts] = MappingProxyType(
    {
        Action.TRAIN: ActionFacts(
            Action.TRAIN,
            work="training",
            verb="train",
            less_memory=_LESS_TRAINING,
            reads=(DatasetSplit.TRAIN, DatasetSplit.VALIDATION),
            needs=DatasetSplit.TRAIN,
            takes={"checkpoint": "pretrained_model_path"},
            leaves="checkpoint",
            file=names.BEST_CHECKPOINT,
            several=True,
            says_gpus=True,
            scores=True,
        ),
        Action.EVALUATE: ActionFacts(
            Action.EVALUATE,
            work="evaluation",
            verb="evaluate",
            less_memory=_at_size_of(Action.EVALUATE),
            reads=(DatasetSplit.TEST,),
            needs=DatasetSplit.TEST,
            takes=_ANY_MODEL,
            several=True,
            says_gpus=True,
            scores=True,
            own_input=True,
        ),
        Action.INFERENCE: ActionFacts(
            Action.INFERENCE,
            work="inference",
            verb="find objects in images",
            less_memory=_at_size_of(Action.INFERENCE),
            reads=(DatasetSplit.INFERENCE,),
            needs=DatasetSplit.INFERENCE,
            takes=_ANY_MODEL,
            several=True,
            says_gpus=True,
            own_input=True,
            follows=False,
        ),
        Action.EXPORT: ActionFacts(
            Action.EXPORT,
            also_reads=_GATE,
            work="export",
            verb="export",
            less_memory="export.batch_size, export.input_width and export.input_height",
            reads=(DatasetSplit.TEST,),
            takes={"checkpoint": "checkpoint"},
            leaves="onnx",
            file=names.ONNX_FILE,
            writes=("onnx_file",),
            own_input=True,
            fixed_batch=True,
        ),
        Action.GEN_TRT_ENGINE: ActionFacts(
            Action.GEN_TRT_ENGINE,
            also_reads=_GATE,
            work="building of the engine",
            verb="build an engine",
            less_memory="gen_trt_engine.tensorrt.workspace_size and max_batch_size",
            reads=(DatasetSplit.CALIBRATION, DatasetSplit.TEST),
            takes={"onnx": "onnx_file"},
            leaves="engine",
            file=names.ENGINE_FILE,
            writes=("trt_engine", "timing_cache"),
            fixed_batch=True,
        ),
        Action.QUANTIZE: ActionFacts(
            Action.QUANTIZE,
            also_reads=_GATE,
            work="quantization",
            verb="quantize",
            less_memory="the size of the images (of an ONNX file, export.input_width and "
            "export.input_height of its export)",
            reads=(DatasetSplit.CALIBRATION, DatasetSplit.TEST),
            needs=DatasetSplit.CALIBRATION,
            takes={"onnx": "model_path"},
            leaves="onnx",
            file=names.QUANTIZED_FILE,
        ),
        Action.DISTILL: ActionFacts(
            Action.DISTILL,
            work="distillation",
            verb="distill",
            less_memory=_LESS_TRAINING,
            reads=(DatasetSplit.TRAIN, DatasetSplit.VALIDATION),
            needs=DatasetSplit.TRAIN,
            takes={"checkpoint": "pretrained_teacher_model_path"},
            leaves="checkpoint",
            file=names.BEST_CHECKPOINT,
            several=True,
            says_gpus=True,
            scores=True,
            follows=False,
        ),
    }
)
QUANTIZE_WEIGHTS = replace(
    ACTIONS[Action.QUANTIZE],
    needs=None,
    takes={"checkpoint": "model_path"},
    leaves=INT8,
    file=names.QUANTIZED_WEIGHTS,
)
"""`quantize` with mode weight_only_ptq: another model in, another out, and no value ranges."""


def facts_of(action: Action, weights: bool = False) -> ActionFacts:
    """The record of an action. weights: whether `quantize.mode` asks for the weights alone."""
    return QUANTIZE_WEIGHTS if weights and action is Action.QUANTIZE else ACTIONS[action]


def reading(part: DatasetSplit) -> tuple[Action, ...]:
    """The actions that read that data."""
    return tuple(each.action for each in ACTIONS.values() if part in each.reads)


def needing(part: DatasetSplit) -> tuple[Action, ...]:
    """Those that cannot do without it."""
    return tuple(each.action for each in ACTIONS.values() if each.needs is part)


def taking_only(model: str) -> tuple[Action, ...]:
    """Those that go on from models of that format and no other."""
    return tuple(each.action for each in ACTIONS.values() if tuple(each.takes) == (model,))
