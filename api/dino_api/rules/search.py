"""Rules about a search that need more than the API server knows of it.

`dino_api.search.resolve_search` applies them, in the operator and in `kubectl-dino render`. Those
that the API server applies as well have their words from `rules.resource.dinoautoml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dino_api.names import WEIGHTS_ALONE
from dino_api.problem import Problem, Severity
from dino_api.rules.resource.dinoautoml import SEARCH_CEL

_BY_ID_OF_CEL = {rule.id: rule for rule in SEARCH_CEL}


@dataclass(frozen=True)
class SearchRule:
    """One statement about a search.

    message: what has to hold, for the catalogue. remedy: what to write instead. admission: whether
    the API server applies it as well.
    """

    id: str
    message: str
    remedy: str
    severity: Severity = "error"
    admission: bool = False

    def problem(self, path: str, got: Any, must: str, remedy: str = "") -> Problem:
        """The problem of one search; remedy: where there is a better one than the rule's."""
        return Problem(path, got, must, remedy or self.remedy, self.severity, self.id)


def _of_admission(id: str) -> SearchRule:
    rule = _BY_ID_OF_CEL[id]
    path = ".".join(part for part in (rule.scope, rule.path) if part)
    remedy = f"{rule.remedy[0].upper()}{rule.remedy[1:]}."
    return SearchRule(id, f"{path} {rule.must}", remedy, admission=True)


SEARCH_RULES: tuple[SearchRule, ...] = (
    *map(
        _of_admission,
        (
            "range-or-choices",
            "range-order",
            "log-above-zero",
            "step-linear",
            "when-other",
            "when-searched",
            "search-once",
            "parallel-in-max",
            "profile-whole",
        ),
    ),
    SearchRule(
        "searched-and-set",
        "A key must not be searched and set in template.experiment as well",
        "Leave it out of one of the two; a searched key starts from its default.",
        admission=True,
    ),
    SearchRule(
        "path-unknown",
        "spec.search[].path must be a key of the experiment spec",
        "Write the whole dotted path, such as train.optim.lr.",
    ),
    SearchRule(
        "path-held",
        "spec.search[].path must be a single value that training reads and that changes the result",
        "Leave it out of the search; set it in template.experiment where it can be set.",
    ),
    SearchRule(
        "dead-knob",
        "A searched key must have an effect beside the others",
        "Set or search the key that switches it on, or leave it out.",
    ),
    SearchRule(
        "knob-sometimes-dead",
        "A searched key has no effect in some of the trials",
        "Add a when, so that it is drawn only where it counts.",
        severity="warning",
    ),
    SearchRule(
        "range-limits",
        "min and max must be within the limits of the key",
        "Narrow the range; `kubectl explain` shows the limits.",
    ),
    SearchRule(
        "range-whole",
        "min, max and step of a whole number must be whole numbers",
        "Round them.",
    ),
    SearchRule(
        "range-of-number",
        "Only numbers have a range",
        "List the values as choices.",
    ),
    SearchRule(
        "step-fits",
        "step must not exceed max - min, nor be less than a millionth of it",
        "Lower it, or leave the key out of the search.",
    ),
    SearchRule(
        "choice-value",
        "choices must be values that the key can hold",
        "Correct or remove it; `kubectl explain` shows what the key can hold.",
    ),
    SearchRule("choice-once", "choices must not repeat a value", "Remove the second one."),
    SearchRule(
        "value-refused",
        "Every value of the search must be one that an experiment accepts",
        "Narrow the range or remove the choice.",
    ),
    SearchRule(
        "when-value",
        "when.values must be values that the other parameter can have",
        "Name some of its choices, or values of its range.",
    ),
    SearchRule(
        "when-cycle", "when must not lead back to its own parameter", "Remove one of the whens."
    ),
    SearchRule(
        "grid-steps",
        "A grid needs the values of every parameter",
        "Add a step, or list choices.",
    ),
    SearchRule(
        "grid-size",
        "A grid must not have more combinations than maxTrials",
        "Raise maxTrials, search fewer keys, or use larger steps.",
    ),
    SearchRule(
        "cmaes-ranges",
        "cmaes searches ranges only, without choices and when",
        "Use tpe, or leave that key out.",
    ),
    SearchRule("cmaes-two", "cmaes needs two ranges or more", "Add another, or use tpe."),
    SearchRule(
        "search-empty",
        "There must be something to search",
        "Leave a key of the default space out of template.experiment, or name one in spec.search.",
    ),
    SearchRule(
        "trials-of-profile",
        "What the smoke profile decides must not be given beside it",
        "Leave it out, or add template.datasets, which replaces the profile as a whole.",
    ),
    SearchRule(
        "datasets-missing",
        "template.datasets must be given where anything else of the smoke profile is",
        "Add template.datasets, or leave out all that the profile decides.",
    ),
    SearchRule(
        "profile-unset",
        "The installation must have a smoke profile where a search uses it",
        "Add template.datasets, or set the Helm values automl.profile.trainUri and "
        "automl.profile.validationUri.",
    ),
    SearchRule(
        "template-value",
        "template.experiment must be an experiment that can be run",
        "Correct the named key.",
    ),
    SearchRule(
        "then-weights",
        f"quantize in spec.then must not have mode {WEIGHTS_ALONE}",
        "Leave quantize.mode and quantize.backend out, or quantize the winner by a DinoJob with "
        "spec.parent.",
    ),
    SearchRule(
        "monitor-other",
        "train.checkpointer.monitor is not the objective, so the kept checkpoint may not be that "
        "of the best mAP50",
        "Leave it out.",
        severity="warning",
    ),
    SearchRule(
        "validates-on-training-data",
        "template.datasets.validation is the training data: trials are compared by how well they "
        "learnt it by heart",
        "Name images that are not trained on.",
        severity="warning",
    ),
    SearchRule(
        "never-learns",
        "algorithm.startupTrials leaves tpe no trial to learn from",
        "Lower it below maxTrials - 1, or raise maxTrials.",
        severity="warning",
    ),
    SearchRule(
        "never-prunes",
        "pruning.startEpoch is not before the last epoch, so no trial is stopped early",
        "Lower it, raise train.num_epochs, or use pruning none.",
        severity="warning",
    ),
)

BY_ID = {rule.id: rule for rule in SEARCH_RULES}
