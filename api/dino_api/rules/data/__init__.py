"""What can be wrong, or odd, with the data itself: the rules of `dino preflight`.

One flat list. The code that looks for each is in the trainer; `title` follows the form "Images that
…" so that a count and examples can come after it. To add a rule: add one entry to the list of its
subject, the line that finds it to the trainer's preflight, and a row to the table of its test.
"""

from __future__ import annotations

from dino_api.rules.data.annotations import BOX_RULES, CATEGORY_RULES, IMAGE_ENTRY_RULES
from dino_api.rules.data.images import IMAGE_RULES, MODEL_RULES, SOURCE_RULES, SPLIT_RULES
from dino_api.rules.data.rule import DataRule

DATA_RULES: tuple[DataRule, ...] = (
    *SOURCE_RULES,
    *IMAGE_ENTRY_RULES,
    *CATEGORY_RULES,
    *BOX_RULES,
    *IMAGE_RULES,
    *SPLIT_RULES,
    *MODEL_RULES,
)

_BY_ID = {rule.id: rule for rule in DATA_RULES}


def data_rule(id: str) -> DataRule:
    """The rule of this id. Raises KeyError for any other."""
    return _BY_ID[id]
