"""From a TAO experiment spec to a manifest, with what became of each key. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dino_api.actions import ACTIONS
from dino_api.base import Note, note_of
from dino_api.experiment.interpolation import MISSING, interpolated
from dino_api.experiment.paths import WEIGHTS, Loc, dotted, field_at, nearest, section_of
from dino_api.experiment.spec import OTHER_SECTIONS, ExperimentSpec
from dino_api.loading import unread
from dino_api.names import API_VERSION, KIND, TRAINS, Action
from dino_api.problem import render
from dino_api.search.checks.queries import BACKBONE
from dino_operator.admission import FieldError
from dino_operator.kubectl.tao_paths import NoBucket, OutputLocation, source
from dino_operator.plan.model import Object
from dino_operator.preview import refused

Did = Literal["taken", "moved", "changed", "dropped"]
KEPT: tuple[Did, ...] = ("taken", "changed")
"""What happened to keys that are in the experiment."""
SOURCES = {
    "train_data_sources": "train",
    "val_data_sources": "validation",
    "test_data_sources": "test",
    "quant_calibration_data_sources": "calibration",
}
ADVICE = {
    "dataset.eval_class_ids": "only these categories are scored; TAO's template has [1]",
    "dataset.augmentation.fixed_random_crop": "in place of all other augmentations; TAO's template "
    "has 1024, its code none",
}
EARLIER = dict.fromkeys(
    (f"gen_trt_engine.{leaf}" for leaf in ("input_channel", "input_width", "input_height")),
    "the ONNX file says it",
)
"""Keys of earlier releases of TAO, which its published specs still have."""
OF_THE_TEACHER = (
    "the teacher's structure comes with its checkpoint, spec.parent; TAO's say none, and are "
    "teachers where this key counts: without Kubernetes"
)
BACKBONE_WEIGHTS = "model.pretrained_backbone_path"


@dataclass(frozen=True)
class KeyOutcome:
    """What became of one key. why: where it went, or why it did not."""

    key: str
    did: Did
    why: str = ""


@dataclass(frozen=True)
class Translation:
    """added: what the manifest says and the spec did not. refused: what is still to be mended."""

    manifest: Object
    account: tuple[KeyOutcome, ...]
    added: tuple[str, ...]
    refused: tuple[FieldError, ...]


class NotTranslated(ValueError):
    """The spec cannot be read; the message has a line for each reason."""


def translate(
    given: Any, name: str, namespace: str = "", output: str = "", action: Action | None = None
) -> Translation:
    """The manifest of a DinoJob. output: in place of results_dir. Raises NotTranslated."""
    if not isinstance(given, Mapping) or not given:
        raise NotTranslated("It is no experiment spec: sections such as model, dataset and train.")
    does = action or action_of(given)
    resolved, problems = interpolated(given, does)
    if wrong := [render(each) for each in problems if each.severity == "error"]:
        wrong = [each for each in wrong if MISSING not in each]
        if wrong:
            raise NotTranslated("\n".join(wrong))
    try:
        places = OutputLocation.of(output, str(resolved.get("results_dir") or ""))
    except NoBucket as error:
        raise NotTranslated(str(error)) from error
    made = _Translator(given, resolved, does, places)
    made.all()
    return made.finished(name, namespace)


def action_of(given: Mapping[str, Any]) -> Action:
    """train where it has that section, distill where it has both; else the one whose it has."""
    own = [each for each in Action if each in given and each is not Action.TRAIN]
    distils = own == [Action.DISTILL] and given[Action.DISTILL]
    return own[0] if len(own) == 1 and ("train" not in given or distils) else Action.TRAIN


def leaves(node: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """Every key with what it holds; lists of sections by the keys in them."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from leaves(value, (*loc, str(name)))
    elif isinstance(node, list) and any(isinstance(each, Mapping) for each in node):
        for index, value in enumerate(node):
            yield from leaves(value, (*loc, index))
    else:
        yield loc, node


def _at(node: Any, loc: Loc) -> Any:
    """None where there is nothing."""
    for part in loc:
        held: Any = dict(enumerate(node)) if isinstance(node, list) else node
        if not isinstance(held, Mapping) or part not in held:
            return None
        node = held[part]
    return node


@dataclass
class _Translator:
    given: Mapping[str, Any]
    resolved: Mapping[str, Any]
    action: Action
    places: OutputLocation
    spec: Object = field(default_factory=dict)
    experiment: Object = field(default_factory=dict)
    account: dict[Loc, KeyOutcome] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)

    def all(self) -> None:
        """Decides about every key."""
        for loc, value in leaves(self.given):
            did, why = self._decided(loc, value)
            self.account[loc] = KeyOutcome(dotted(loc), did, why)

    def _decided(self, loc: Loc, value: Any) -> tuple[Did, str]:
        if _is_missing(value):
            return "dropped", f"is still to be given ({MISSING})"
        if value in (None, "", [], {}):
            return "dropped", "is empty, which is as if left out"
        path = tuple(str(part) for part in loc if isinstance(part, str))
        if path[0] in OTHER_SECTIONS:
            return "dropped", OTHER_SECTIONS[path[0]]
        note = _note(path)
        if note is None:
            return "dropped", EARLIER.get(dotted(path)) or _unknown(path)
        if why := self._other_action(path):
            return "dropped", f"{why}: for that, --action"
        if note.resource:
            return self._moved(path, loc, note)
        if note.dead:
            return "dropped", f"has no effect: {note.dead}"
        return self._taken(path, loc, value)

    def _other_action(self, path: tuple[str, ...]) -> str:
        """Why this action does not read it."""
        section: Any = ExperimentSpec
        for depth, name in enumerate(path, 1):
            if section is None or name not in section.model_fields:
                break
            field = section.model_fields[name]
            if why := unread(path[:depth], field, self.action):
                return why
            section = section_of(field.annotation)
        return ""

    def _taken(self, path: tuple[str, ...], loc: Loc, value: Any) -> tuple[Did, str]:
        end = next((at for at, part in enumerate(loc) if isinstance(part, int)), len(loc))
        held = _at(self.resolved, loc[:end])
        key, stood = ".".join(path), _at(self.resolved, loc)
        now = _spelt(key, stood) if end == len(loc) else stood
        if key in WEIGHTS and isinstance(now, str) and self.places.is_local(now):
            held = self.places.uri(now)
            _set(self.experiment, path, held)
            return "changed", f"{held}: no pod has the file of this machine; upload it there"
        _set(self.experiment, tuple(map(str, loc[:end])), now if end == len(loc) else held)
        if stood != value:
            return "changed", f"{now}, which the reference stands for"
        if now != stood:
            return "changed", f"{now}, as it is written here"
        return "taken", ADVICE.get(key, "")

    def _moved(self, path: tuple[str, ...], loc: Loc, note: Note) -> tuple[Did, str]:
        leaf, now = path[-1], _at(self.resolved, loc)
        if path == ("results_dir",):
            return self.places.results_entry(str(now))
        if path[0] == "dataset" and path[1] in SOURCES:
            return self._data(SOURCES[path[1]], loc)
        if path[:2] == ("dataset", "infer_data_sources"):
            return self._inference_data(leaf)
        if path == ("dataset", "num_classes"):
            self.spec["numClasses"] = now
            return "moved", "spec.numClasses"
        if leaf in ("num_gpus", "gpu_ids", "num_nodes", "num_processes"):
            return self._resources(path, now)
        if leaf == "cal_image_dir":
            return self._calibration(now)
        if note.resource.startswith("spec.parent"):
            return self._parent(path, now)
        return "dropped", f"is decided by {note.resource}"

    def _data(self, part: str, loc: Loc) -> tuple[Did, str]:
        given = _at(self.resolved, loc[:2])
        entries = given if isinstance(given, list) else [given]
        at = loc[2] if isinstance(loc[2], int) else 0
        made = source(_at(entries[at], ("image_dir",)), _at(entries[at], ("json_file",)))
        held = self.spec.setdefault("datasets", {}).setdefault(part, [])
        if len(held) <= at:
            held.append(self.places.placed(made))
        place = f"spec.datasets.{part}[{at}]: {held[at]['uri']}"
        if self.places.is_local(made["uri"]):
            return "changed", f"{place}; upload the data there"
        return "moved", place

    def _inference_data(self, leaf: str) -> tuple[Did, str]:
        given = _at(self.resolved, ("dataset", "infer_data_sources"))
        one = given[0] if isinstance(given, list) else given
        folders = one.get("image_dir")
        folder = folders[0] if isinstance(folders, list) and folders else folders
        made = source(folder, one.get("classmap"), "classmap")
        held = self.places.placed(made)
        self.spec.setdefault("datasets", {})["inference"] = held
        place = f"spec.datasets.inference: {held['uri']}"
        if leaf == "image_dir" and isinstance(folders, list) and len(folders) > 1:
            return "changed", f"{place}; one folder alone: put the others' images there"
        if self.places.is_local(made["uri"]):
            return "changed", f"{place}; upload the data there"
        return "moved", place

    def _calibration(self, folders: Any) -> tuple[Did, str]:
        listed = folders if isinstance(folders, list) else [folders]
        made = [self.places.placed(source(str(each), None)) for each in listed]
        self.spec.setdefault("datasets", {}).setdefault("calibration", made)
        return (
            "changed",
            "spec.datasets.calibration; annotations.json is expected beside the images",
        )

    def _resources(self, path: tuple[str, ...], now: Any) -> tuple[Did, str]:
        leaf, beside = path[-1], _at(self.resolved, (*path[:-1], "num_gpus"))
        if leaf == "gpu_ids" and beside == 0 and not isinstance(beside, bool):
            return "dropped", "num_gpus is 0 beside it, and asks for none of them"
        name = {"num_nodes": "nodes", "num_processes": "processes"}.get(leaf, "gpus")
        count = len(now) if isinstance(now, list) else now
        alone = not ACTIONS[self.action].several
        least = 0 if name == "gpus" else 1
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            return "dropped", f"{count} is no number of them"
        place = f"spec.resources.{name}"
        if alone and count > 1:
            return "dropped", f"{self.action} runs in one process"
        held = self.spec.setdefault("resources", {})
        held[name] = max(count, held.get(name, count))
        return "moved", f"{place}: {held[name]}"

    def _parent(self, path: tuple[str, ...], now: Any) -> tuple[Did, str]:
        if path[:2] == ("distill", "teacher"):
            return "dropped", OF_THE_TEACHER
        uri = self.places.uri(str(now))
        held = self.spec.setdefault("parent", {"uri": uri})
        if held["uri"] != uri:
            return "dropped", f"spec.parent is {held['uri']} already"
        if self.places.is_local(str(now)):
            return "changed", f"spec.parent.uri: {uri}; upload the file there"
        return "moved", "spec.parent.uri"

    def finished(self, name: str, namespace: str) -> Translation:
        """The manifest, without keys that are refused."""
        self._complete()
        while True:
            manifest = self._manifest(name, namespace)
            problems = refused(manifest)
            if not sum(map(self._refuse, problems)):
                return Translation(
                    manifest, tuple(self.account.values()), tuple(self.added), tuple(problems)
                )

    def _complete(self) -> None:
        data = self.spec.get("datasets", {})
        if self.action in TRAINS and data.get("train") and not data.get("validation"):
            data["validation"] = list(data["train"])
            why = "validation is asked for, and the spec names none: name images of their own"
            self.added.append(f"spec.datasets.validation, the training data itself: {why}")
        if self.action is Action.TRAIN:
            self.spec["automlPolicy"] = "Disabled"
            self.added.append(
                "spec.automlPolicy: Disabled, as TAO trains once; Auto searches first"
            )

    def _manifest(self, name: str, namespace: str) -> Object:
        meta = {"name": name} | ({"namespace": namespace} if namespace else {})
        order = ("automlPolicy", "parent", "datasets", "numClasses")
        spec: Object = {"action": self.action.value}
        spec |= {each: self.spec[each] for each in order if each in self.spec}
        spec["output"] = {"uri": self.places.output}
        spec |= {"resources": self.spec["resources"]} if "resources" in self.spec else {}
        spec |= {"experiment": self.experiment} if self.experiment else {}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec}

    def _refuse(self, refusal: FieldError) -> bool:
        """Takes out the key that it is about. Whether there was one."""
        about = refusal.field.removeprefix("spec.experiment.")
        if about == refusal.field:
            return False
        hit = [loc for loc, each in self.account.items() if _covers(each, about)]
        for loc in hit:
            _drop(self.experiment, tuple(part for part in loc if isinstance(part, str)))
            why = f"{refusal.message.rstrip('.')}; the default counts"
            self.account[loc] = KeyOutcome(dotted(loc), "dropped", why)
        if BACKBONE in map(dotted, hit):
            self._drop_weights()
        return bool(hit)

    def _drop_weights(self) -> None:
        """Of the backbone that was dropped."""
        loc = tuple(BACKBONE_WEIGHTS.split("."))
        if loc in self.account and self.account[loc].did in KEPT:
            _drop(self.experiment, loc)
            why = "has the weights of the backbone that was dropped, which fit no other"
            self.account[loc] = KeyOutcome(dotted(loc), "dropped", why)


def _covers(entry: KeyOutcome, about: str) -> bool:
    """Whether a key that is in the experiment is the one of a refusal, or in it, or around it."""
    if entry.did not in KEPT:
        return False
    key, other = entry.key.replace("[", ".["), about.replace("[", ".[")
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _is_missing(value: Any) -> bool:
    """Whether somebody has to write it still; a list lacks something where one of it does."""
    return value == MISSING or (isinstance(value, list) and MISSING in value)


def _unknown(path: tuple[str, ...]) -> str:
    near = nearest(dotted(path))[:1]
    return f"there is no such key{f'; did you mean {near[0]}?' if near else ''}"


def _spelt(key: str, value: Any) -> Any:
    """One of a key's choices as it is written here: TAO's own specs have int8 for INT8."""
    try:
        choices = get_args(field_at(key).annotation)
    except KeyError:  # within a mapping, whose keys are free
        return value
    meant = [each for each in choices if str(each).lower() == str(value).lower()]
    return meant[0] if isinstance(value, str) and len(meant) == 1 else value


def _note(path: tuple[str, ...]) -> Note | None:
    """What the key means: of the outermost section that has something to say. None: unknown."""
    section: Any = ExperimentSpec
    note = Note()
    for name in path:
        if section is None:
            return note
        if name not in section.model_fields:
            return note if note.resource or note.dead else None
        note = note_of(section.model_fields[name])
        if note.resource or note.dead:
            return note
        section = section_of(section.model_fields[name].annotation)
    return note


def _set(node: Object, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        node = node.setdefault(name, {})
    node[path[-1]] = value


def _drop(node: Object, path: tuple[str, ...]) -> None:
    """The key, and sections that are empty then. A key of a list's entry takes the list along."""
    name, *rest = path
    if name not in node:
        return
    if rest and isinstance(node[name], dict):
        _drop(node[name], tuple(rest))
        if node[name]:
            return
    del node[name]
