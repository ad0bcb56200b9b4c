"""`kubectl dino from-tao`: every key is accounted for, and the manifest is accepted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dino_api.command_line import parsed
from dino_api.names import Action
from dino_operator.kubectl import main, parser
from dino_operator.kubectl.from_tao import CHANGES
from dino_operator.kubectl.tao import NotTranslated, Translation, action_of, leaves, translate
from dino_operator.kubectl.validate import verdict_of
from dino_operator.plan.model import Settings

Object = dict[str, Any]
WHOLE: Object = yaml.safe_load((Path(__file__).parent / "api_tao_spec.yaml").read_text())
OUTPUT = "s3://bucket/results/cells"


def a_spec(**sections: Any) -> Object:
    """A short training in TAO's shape."""
    return {
        "results_dir": OUTPUT,
        "dataset": {
            "train_data_sources": [
                {
                    "image_dir": "s3://data/a/train/images.tar.gz",
                    "json_file": "s3://data/a/train/a.json",
                }
            ],
            "val_data_sources": [
                {"image_dir": "s3://data/a/val/images", "json_file": "s3://data/a/val/a.json"}
            ],
            "num_classes": 4,
            **sections.pop("dataset", {}),
        },
        "train": {"num_epochs": 12, **sections.pop("train", {})},
        **sections,
    }


def translated(spec: Object, action: Action | None = None, output: str = OUTPUT) -> Translation:
    return translate(spec, "cells", "team", output, action)


def said(made: Translation) -> dict[str, tuple[str, str]]:
    return {each.key: (each.did, each.why) for each in made.account}


def test_a_training_becomes_a_manifest() -> None:
    made = translate(a_spec(model={"backbone": "resnet_50"}), "cells", "team")
    assert made.manifest == {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoJob",
        "metadata": {"name": "cells", "namespace": "team"},
        "spec": {
            "action": "train",
            "automlPolicy": "Disabled",
            "datasets": {
                "train": [
                    {
                        "uri": "s3://data/a/train",
                        "format": "coco",
                        "images": "images.tar.gz",
                        "annotations": "a.json",
                    }
                ],
                "validation": [
                    {
                        "uri": "s3://data/a/val",
                        "format": "coco_raw",
                        "images": "images",
                        "annotations": "a.json",
                    }
                ],
            },
            "numClasses": 4,
            "output": {"uri": OUTPUT},
            "experiment": {"train": {"num_epochs": 12}, "model": {"backbone": "resnet_50"}},
        },
    }
    assert verdict_of("cells", made.manifest, Settings("trainer:1")).refused == ()


# key, what the spec says, what becomes of the key, part of why
BECOMES: dict[str, tuple[Object, str, str, str]] = {
    "a key of both": (a_spec(train={"seed": 7}), "train.seed", "taken", ""),
    "a template's trap": (
        a_spec(dataset={"eval_class_ids": [1]}),
        "dataset.eval_class_ids",
        "taken",
        "TAO's template has [1]",
    ),
    "classes": (a_spec(), "dataset.num_classes", "moved", "spec.numClasses"),
    "GPUs": (a_spec(train={"num_gpus": 4}), "train.num_gpus", "moved", "spec.resources.gpus: 4"),
    "devices": (a_spec(train={"gpu_ids": [0, 1]}), "train.gpu_ids", "moved", "gpus: 2"),
    "nodes": (
        a_spec(train={"num_nodes": 2}),
        "train.num_nodes",
        "moved",
        "spec.resources.nodes: 2",
    ),
    "a file of this machine": (
        a_spec(train={"pretrained_model_path": "/models/dino.pth"}),
        "train.pretrained_model_path",
        "changed",
        "s3://bucket/models/dino.pth",
    ),
    "a reference": (
        a_spec(train={"pretrained_model_path": "${results_dir}/old.pth"}),
        "train.pretrained_model_path",
        "changed",
        f"{OUTPUT}/old.pth, which the reference stands for",
    ),
    "a reference of a number": (
        a_spec(train={"validation_interval": "${train.num_epochs}"}),
        "train.validation_interval",
        "changed",
        "12, which the reference stands for",
    ),
    "a key without effect": (
        a_spec(model={"dilation": True}),
        "model.dilation",
        "dropped",
        "has no effect: TAO hands it to the backbone",
    ),
    "a section of another action": (
        a_spec(evaluate={"conf_threshold": 0.1}),
        "evaluate.conf_threshold",
        "dropped",
        "only `dino evaluate` reads it",
    ),
    "another service": (
        a_spec(wandb={"project": "x"}),
        "wandb.project",
        "dropped",
        "nothing is sent to Weights & Biases",
    ),
    "a key that nobody knows": (
        a_spec(train={"num_epoch": 3}),
        "train.num_epoch",
        "dropped",
        "there is no such key; did you mean train.num_epochs?",
    ),
    "a value that is still to be given": (
        a_spec(train={"pretrained_model_path": "???"}),
        "train.pretrained_model_path",
        "dropped",
        "still to be given",
    ),
    "an empty one": (a_spec(encryption_key=""), "encryption_key", "dropped", "as if left out"),
    "a null": (a_spec(model_name=None), "model_name", "dropped", "as if left out"),
    "a section that is null": (a_spec(export=None), "export", "dropped", "as if left out"),
    "where to resume from": (
        a_spec(train={"resume_training_checkpoint_path": "/r/last.pth"}),
        "train.resume_training_checkpoint_path",
        "dropped",
        "a job resumes from its own output",
    ),
    "a value that TAO takes and nothing can run": (
        a_spec(model={"backbone": "fan_small"}),
        "model.backbone",
        "dropped",
        "the default counts",
    ),
    "a strategy": (
        a_spec(train={"distributed_strategy": "fsdp"}),
        "train.distributed_strategy",
        "dropped",
        "must be ddp in this release",
    ),
    "a rate that TAO takes": (
        a_spec(train={"optim": {"lr": -1.0}}),
        "train.optim.lr",
        "dropped",
        "should be greater than 0",
    ),
    "a choice in small letters": (
        a_spec(train={"optim": {"optimizer": "adamw"}}),
        "train.optim.optimizer",
        "changed",
        "AdamW, as it is written here",
    ),
    "weights of a backbone that is not built": (
        a_spec(model={"backbone": "fan_small", "pretrained_backbone_path": "/models/fan.pth"}),
        "model.pretrained_backbone_path",
        "dropped",
        "which fit no other",
    ),
    "a list of which something is missing": (
        a_spec(model={"loss_types": ["labels", "???"]}),
        "model.loss_types",
        "dropped",
        "still to be given",
    ),
    "no GPU": (a_spec(train={"num_gpus": 0}), "train.num_gpus", "moved", "spec.resources.gpus: 0"),
    "no GPU of those that are named": (
        a_spec(train={"num_gpus": 0, "gpu_ids": [0]}),
        "train.gpu_ids",
        "dropped",
        "num_gpus is 0 beside it",
    ),
    "no node": (a_spec(train={"num_nodes": 0}), "train.num_nodes", "dropped", "no number of them"),
    "text for a number": (
        a_spec(train={"num_epochs": "ten"}),
        "train.num_epochs",
        "dropped",
        "must be a whole number",
    ),
}


@pytest.mark.parametrize(("spec", "key", "did", "why"), BECOMES.values(), ids=BECOMES.keys())
def test_what_becomes_of_a_key(spec: Object, key: str, did: str, why: str) -> None:
    made = translated(spec)
    found = said(made)[key]
    assert found[0] == did
    assert why in found[1]
    assert made.refused == ()
    assert verdict_of("cells", made.manifest, Settings("trainer:1")).refused == ()


def test_no_gpu_wins_over_the_devices_whichever_comes_first() -> None:
    for train in ({"num_gpus": 0, "gpu_ids": [0]}, {"gpu_ids": [0], "num_gpus": 0}):
        made = translated(a_spec(train=train))
        assert made.manifest["spec"]["resources"] == {"gpus": 0}
        assert said(made)["train.num_gpus"] == ("moved", "spec.resources.gpus: 0")


def test_data_of_a_machine_goes_to_the_bucket_of_the_output() -> None:
    spec = a_spec(
        dataset={
            "train_data_sources": [
                {"image_dir": "/data/train/images", "json_file": "/data/labels/train.json"},
                {
                    "image_dir": "aws://other/more/images.tar.gz",
                    "json_file": "aws://other/more/a.json",
                },
            ],
        }
    )
    made = translated(spec)
    assert made.manifest["spec"]["datasets"]["train"] == [
        {
            "uri": "s3://bucket/data",
            "format": "coco_raw",
            "images": "train/images",
            "annotations": "labels/train.json",
        },
        {
            "uri": "s3://other/more",
            "format": "coco",
            "images": "images.tar.gz",
            "annotations": "a.json",
        },
    ]
    account = said(made)
    assert account["dataset.train_data_sources[0].json_file"] == (
        "changed",
        "spec.datasets.train[0]: s3://bucket/data; upload the data there",
    )
    assert account["dataset.train_data_sources[1].json_file"][0] == "moved"


def test_a_spec_without_validation_names_the_training_data_and_says_so() -> None:
    spec = a_spec()
    del spec["dataset"]["val_data_sources"]
    made = translated(spec)
    assert (
        made.manifest["spec"]["datasets"]["validation"]
        == made.manifest["spec"]["datasets"]["train"]
    )
    assert any("spec.datasets.validation" in each for each in made.added)


AFTER: dict[Action, Object] = {
    Action.EVALUATE: {
        "dataset": {"test_data_sources": {"image_dir": "s3://d/t/images", "json_file": "s3://d/t/a.json"}},
        "evaluate": {"checkpoint": "s3://bkt/best.pth", "num_gpus": 2},
    },
    Action.INFERENCE: {
        "dataset": {"infer_data_sources": {"image_dir": ["s3://dd/n/images"], "classmap": "s3://dd/n/map.txt"}},
        "inference": {"checkpoint": "s3://bkt/best.pth", "conf_threshold": 0.4},
    },
    Action.EXPORT: {"export": {"checkpoint": "/results/best.pth", "onnx_file": "/results/m.onnx"}},
    Action.GEN_TRT_ENGINE: {
        "gen_trt_engine": {
            "onnx_file": "s3://bkt/m.onnx",
            "tensorrt": {"data_type": "FP16", "workspace_size": 4096},
        }
    },
    Action.QUANTIZE: {
        "dataset": {
            "quant_calibration_data_sources": {"image_dir": "s3://dd/c/images", "json_file": "s3://dd/c/a.json"}
        },
        "quantize": {"model_path": "s3://bkt/m.onnx", "backend": "modelopt.onnx"},
    },
    Action.DISTILL: {
        **a_spec(),
        "distill": {
            "teacher": {"backbone": "fan_large"},
            "pretrained_teacher_model_path": "s3://bkt/teacher.pth",
            "bindings": [
                {
                    "student_module_name": "pred_logits",
                    "teacher_module_name": "pred_logits",
                    "criterion": "KL",
                    "weight": 1.0,
                }
            ],
        },
    },
}  # fmt: skip
AFTER[Action.EVALUATE]["dataset"]["test_data_sources"] = {
    "image_dir": "s3://dd/t/images",
    "json_file": "s3://dd/t/a.json",
}


@pytest.mark.parametrize("action", AFTER)
def test_each_action_becomes_a_job_that_is_accepted(action: Action) -> None:
    spec = {"results_dir": OUTPUT, **AFTER[action]}
    made = translated(spec)
    assert made.manifest["spec"]["action"] == action
    assert made.manifest["spec"]["parent"]["uri"].startswith("s3://")
    assert [str(each) for each in made.refused] == []
    assert verdict_of("cells", made.manifest, Settings("trainer:1")).refused == ()
    accounted(spec, made)


def accounted(spec: Object, made: Translation) -> None:
    """Every key once, and none in the manifest that the spec does not have."""
    keys = [each.key for each in made.account]
    assert len(keys) == len(set(keys)) == len(list(leaves(spec)))
    kept = {each.key for each in made.account if each.did in ("taken", "changed")}
    for loc, _ in leaves(made.manifest["spec"].get("experiment", {})):
        assert not loc or ".".join(map(str, loc)).replace(".0.", "[0].") in kept
    assert all(each.why for each in made.account if each.did != "taken")


def test_a_spec_with_training_and_distillation_distils() -> None:
    """As TAO's own for it; one with an empty section does not."""
    trains = {"train": {"num_epochs": 1}}
    assert action_of({**trains, "distill": AFTER[Action.DISTILL]["distill"]}) is Action.DISTILL
    assert action_of({**trains, "distill": None}) is Action.TRAIN
    assert action_of({**trains, "distill": {"bindings": []}, "export": {}}) is Action.TRAIN


def test_an_engine_of_a_spec_that_leaves_much_open() -> None:
    """In the form of TAO's own: small letters, keys of earlier releases, places to be filled in."""
    engine = {
        "onnx_file": "s3://bkt/m.onnx",
        "trt_engine": "???",
        "input_width": 96,
        "tensorrt": {"data_type": "int8", "calibration": {"cal_image_dir": ["???"]}},
    }
    made = translated({"results_dir": "???", "gen_trt_engine": engine})
    tensorrt = made.manifest["spec"]["experiment"]["gen_trt_engine"]
    assert tensorrt == {"tensorrt": {"data_type": "INT8"}}
    assert "datasets" not in made.manifest["spec"]
    account = said(made)
    assert account["gen_trt_engine.input_width"] == ("dropped", "the ONNX file says it")
    type_ = account["gen_trt_engine.tensorrt.data_type"]
    assert type_ == ("changed", "INT8, as it is written here")
    assert account["gen_trt_engine.tensorrt.calibration.cal_image_dir"][0] == "dropped"


def test_a_source_of_which_only_the_class_map_is_known() -> None:
    source = {"image_dir": ["???"], "classmap": "s3://dd/n/map.txt"}
    dataset = {"infer_data_sources": source}
    made = translated({"dataset": dataset, "inference": {"checkpoint": "s3://bkt/b.pth"}})
    assert made.manifest["spec"]["datasets"]["inference"] == {
        "uri": "s3://dd/n",
        "format": "coco_raw",
        "images": "images",
        "classmap": "map.txt",
    }
    assert said(made)["dataset.infer_data_sources.image_dir"][0] == "dropped"


@pytest.mark.parametrize("action", Action)
def test_a_whole_spec_of_tao(action: Action) -> None:
    made = translated(WHOLE, action)
    accounted(WHOLE, made)
    asked = {each.field for each in made.refused}
    assert asked <= {
        "spec.parent",
        "spec.datasets.test",
        "spec.datasets.inference",
        "spec.datasets.calibration",
    }


KEYS = [loc for loc, _ in leaves(WHOLE)]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2000),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["", "???", "x", "/a/b.pth", "s3://bucket/a.pth", "resnet_50", "fp16"]),
    st.lists(st.integers(-1, 5), max_size=3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(st.sampled_from(range(len(KEYS))), VALUES, max_size=12),
    strange=st.dictionaries(st.sampled_from(["extra", "train_x", "lr"]), VALUES, max_size=2),
)
def test_no_key_is_lost_whatever_it_says(changes: dict[int, Any], strange: Object) -> None:
    spec = copy.deepcopy(WHOLE)
    for index, value in changes.items():
        node: Any = spec
        for part in KEYS[index][:-1]:
            node = node[part]
        node[KEYS[index][-1]] = value
    spec |= strange
    accounted(spec, translated(spec))


@pytest.mark.parametrize(
    "spec, words",
    [
        (None, "It is no experiment spec"),
        ([1], "It is no experiment spec"),
        ({"results_dir": "/results", "train": {"seed": 1}}, "--uri s3://bucket/path"),
        (a_spec(train={"pretrained_model_path": "${oc.env:HOME}/x"}), "oc.env"),
    ],
)
def test_what_cannot_be_translated(spec: Any, words: str) -> None:
    with pytest.raises(NotTranslated, match=words.replace("(", "[(]")):
        translate(spec, "x")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "My Spec.yaml"
    file.write_text(yaml.safe_dump(a_spec(model={"dilation": True})))
    assert main(["from-tao", str(file)]) == 0
    out, err = capsys.readouterr()
    (manifest,) = yaml.safe_load_all(out)
    assert manifest["metadata"] == {"name": "my-spec"}
    assert "dropped   model.dilation" in err
    assert "keys: " in err.splitlines()[-1]
    (tmp_path / "job.yaml").write_text(out)
    assert main(["validate", "-f", str(tmp_path / "job.yaml")]) == 0


def test_the_command_says_what_is_still_to_be_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump({"results_dir": OUTPUT, "evaluate": {"conf_threshold": 0.1}}))
    assert main(["from-tao", str(file)]) == 65
    assert "to mend: spec.datasets.test: datasets.test must be given" in capsys.readouterr().err
    assert main(["from-tao", str(tmp_path / "nowhere.yaml")]) == 66
    assert main(["from-tao", str(file), "--uri", "/here"]) == 64


def test_keys_beside_the_spec_are_those_of_taos_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cells.yaml"
    file.write_text(yaml.safe_dump(a_spec(train={"num_gpus": 1})))
    changes = ["train.num_gpus=4", "++model.num_queries=600", "~dataset.num_classes"]
    assert main(["from-tao", str(file), *changes]) == 0
    (manifest,) = yaml.safe_load_all(capsys.readouterr().out)
    assert manifest["spec"]["resources"] == {"gpus": 4}
    assert manifest["spec"]["experiment"]["model"] == {"num_queries": 600}
    assert "numClasses" not in manifest["spec"]
    assert main(["from-tao", str(file), "train.num_gpus"]) == 64
    assert "an override has the form key=value" in capsys.readouterr().err


def test_they_may_stand_behind_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cells.yaml"
    file.write_text(yaml.safe_dump(a_spec()))
    words = ["train.num_gpus=4", "--uri", "s3://bkt/r", "train.seed=7", "--name", "x"]
    assert main(["from-tao", str(file), *words, "train.seed=8"]) == 0
    (manifest,) = yaml.safe_load_all(capsys.readouterr().out)
    assert manifest["spec"]["resources"] == {"gpus": 4}
    assert manifest["spec"]["experiment"]["train"]["seed"] == 8, "the last one wins"
    assert (manifest["metadata"]["name"], manifest["spec"]["output"]["uri"]) == ("x", "s3://bkt/r")
    assert main(["from-tao", str(file), "--uri", "s3://bkt/r", "train.num_gpus=2"]) == 0
    (manifest,) = yaml.safe_load_all(capsys.readouterr().out)
    assert manifest["spec"]["resources"] == {"gpus": 2}


@pytest.mark.parametrize(
    "words, options",
    [
        (["cells", "--name", "x", "a=1"], {"job": "cells", "name": "x", "changes": ["a=1"]}),
        (["cells", "a=1", "--dry-run", "b=2"], {"dry_run": True, "changes": ["a=1", "b=2"]}),
        (["--name", "x", "cells", "a=1"], {"job": "cells", "changes": ["a=1"]}),
        (["cells", "--dry-run"], {"changes": []}),
    ],
)
def test_those_of_again_as_well(words: list[str], options: Object) -> None:
    found = vars(parsed(parser({}), ["again", *words], CHANGES))
    assert {key: found[key] for key in options} == options


@pytest.mark.parametrize(
    "words",
    [
        ["again", "cells", "--nmae", "x", "a=1"],
        ["again", "cells", "a=1", "--from-scratch", "-x"],
        ["validate", "-f", "x.yaml", "a=1"],
    ],
)
def test_what_no_command_has_is_refused(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 64
    assert "unrecognized arguments: " in capsys.readouterr().err
