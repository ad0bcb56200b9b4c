"""Keys without a value (`automlPolicy:`), which is null.

kubectl and the API server drop them without a word. Where a key that is left out means nothing, or
off, null says the same and is fine. Where it means something else, null is refused: who writes
`automlPolicy:` does not ask for a search. In the experiment null is as if left out, as TAO has it:
the CRDs let it in there, and a warning says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dino_api.experiment.paths import Loc

LEFT_OUT = {
    "datasets": "the data of the installation's smoke profile",
    "pruning": "median",
}
"""What sections mean that are left out, where it is neither nothing nor their own defaults."""


def misleading(value: Any, model: type[BaseModel], at: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """The place of each key that is null and may not be, and what leaving it out means."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for name, item in value.items() if isinstance(value, Mapping) else ():
        field = fields.get(name)
        if field is None:
            continue
        here = (*at, name)
        if item is None:
            if meant := LEFT_OUT.get(name) or _default(field):
                yield here, meant
        elif inner := _model(field.annotation):
            yield from _below(item, inner, here)


def _below(value: Any, model: type[BaseModel], at: Loc) -> Iterator[tuple[Loc, str]]:
    if not isinstance(value, list):
        yield from misleading(value, model, at)
        return
    for index, each in enumerate(value):
        yield from misleading(each, model, (*at, index))


def _default(field: FieldInfo) -> str:
    """What the key is where it is left out; empty for nothing, off, and sections."""
    if field.is_required():
        return ""
    default = field.get_default(call_default_factory=True)
    if not default or isinstance(default, BaseModel):
        return ""
    return default if isinstance(default, str) else json.dumps(default)


def _model(annotation: Any) -> type[BaseModel] | None:
    """What is below a key: the model in an annotation such as `Storage | None` or `list[When]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = (_model(part) for part in get_args(annotation))
    return next((model for model in models if model), None)
