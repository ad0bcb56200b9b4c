"""Rules of the API server that come from the search: paths that may be searched, keys set twice."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from dino_api.rules.search import BY_ID
from dino_api.search.space import searchable

Schema = dict[str, Any]


def add_parameters(spec: Schema) -> None:
    """Adds the paths that may be searched, which a refusal lists; and a range or choices, not both.

    Choices may be of any type, so CEL does not see them.
    """
    parameter = spec["properties"]["search"]["items"]
    parameter["properties"]["path"]["enum"] = list(searchable())
    parameter["oneOf"] = [{"required": ["min", "max"]}, {"required": ["choices"]}]


def add_fixed(spec: Schema) -> None:
    """Refuses keys that are searched and set in template.experiment: one rule for each section.

    CEL cannot walk the fields of an object, so each key is asked for by its name. A rule for each
    key, or a sentence that joins the searched paths, would break the limits of size and of cost.
    """
    rules = spec.setdefault("x-kubernetes-validations", [])
    message = BY_ID["searched-and-set"].message
    for section, paths in groupby(sorted(searchable(), key=_section), _section):
        rules.append(
            {
                "rule": _apart(section, [path.rpartition(".")[2] for path in paths]),
                "message": f"{message}: leave it out of one of the two ({section}.*)",
                "fieldPath": ".search",
            }
        )


def _section(path: str) -> str:
    return path.rpartition(".")[0]


def _apart(section: str, keys: list[str]) -> str:
    """CEL that is true where none of the keys that the experiment sets is in the search."""
    path = ".".join(f"?{part}" for part in f"experiment.{section}".split("."))
    given = ", ".join(f'has(v.{key}) ? "{key}" : ""' for key in keys)
    return (
        f"!has(self.search) || self.template.{path}.optMap(v, [{given}].all(k, "
        f'!self.search.exists(p, p.path == "{section}." + k))).orValue(true)'
    )
