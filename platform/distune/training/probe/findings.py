"""The findings of a probe, and the causes that follow from the path of a parameter. Pure values and functions."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from typing import Any

from distune.config.paths import get_path, leaf_paths
from distune.records import ParameterValue
from distune.training.probe.comparison import WEAK_FRACTION, Change

EVALUATION_ONLY = (
    "student.evaluated_proposals",
    "training.ema.decay",
    "training.ema.every_steps",
    "training.ema.warmup_steps",
)
"""Settings that have no effect in training, but change what the student detects: scores, proposals, average."""
TRAINED_WEIGHTS = {
    "student.min_proposal_score": "it is for scores of a trained network, and a probe starts from random weights",
}
"""Settings that need trained weights to have an effect, with the reason."""

_FILTER_WEIGHT = "distillation.filter.weight"
_MAX_CAUSES = 3


class Verdict(enum.StrEnum):
    """The effect of a parameter on training."""

    EFFECT = "has an effect"
    WEAK = "hardly any effect"  # less than 0.1% of every loss and gradient
    CONDITIONAL = "conditional effect"  # only with other values of another searched parameter
    EVALUATION = "only in evaluation"  # training does not use it
    NO_EFFECT = "no effect"
    FAILS = "fails"  # a value raises an error
    NOT_PROBED = "not probed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """The finding of a probe about one parameter.

    Attributes:
        path: of the parameter.
        values: the two values that were compared.
        verdict: its effect.
        change: the value of training that changed most; None if none did.
        remark: the condition of the effect, the cause if there is none, or the reason why it was not probed; may be
            empty.
    """

    path: str
    values: tuple[ParameterValue, ParameterValue]
    verdict: Verdict
    change: Change | None = None
    remark: str = ""

    @property
    def is_problem(self) -> bool:
        """True when a study with this parameter should not be launched."""
        return self.verdict in (Verdict.NO_EFFECT, Verdict.FAILS)

    @property
    def is_weak(self) -> bool:
        """True when a search over this parameter is unlikely to find anything."""
        return self.verdict is Verdict.WEAK

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        change = None if self.change is None else self.change.to_dict()
        return {**dataclasses.asdict(self), "verdict": str(self.verdict), "change": change}


def verdict_of(change: Change) -> Verdict:
    """Return the verdict on a parameter whose largest change is this one."""
    return Verdict.EFFECT if change.fraction >= WEAK_FRACTION else Verdict.WEAK


def reason_not_to_probe(path: str, values: tuple[ParameterValue, ...]) -> str | None:
    """Return the reason why a parameter cannot be probed; None if it can."""
    section, _, name = path.partition(".")
    if section not in ("distillation", "student", "training"):
        return f"{section} is not part of a training step"
    if section == "student" and name in ("weights", "backbone_weights"):
        return "a probe starts from random weights"
    if path == "training.accumulate_batches":
        return "a probe takes an optimizer step after each batch"
    if path in TRAINED_WEIGHTS:
        return TRAINED_WEIGHTS[path]
    return "it has one value only" if len(values) == 1 else None


def likely_causes(path: str, values: dict[str, Any]) -> list[tuple[str, ParameterValue]]:
    """Return settings that may disable a parameter, nearest first, each with a value that would enable it."""
    if not path.startswith("distillation."):
        return []
    causes: list[tuple[str, ParameterValue]] = []
    if get_path(values, _FILTER_WEIGHT) == "uniform":
        causes.append((_FILTER_WEIGHT, "gaussian"))
    causes += [
        (leaf, 1.0)
        for leaf in leaf_paths(values)
        if leaf.startswith("distillation.") and leaf.endswith(".weight") and get_path(values, leaf) == 0
    ]
    return sorted(causes, key=lambda cause: -num_common_parts(path, cause[0]))[:_MAX_CAUSES]


def num_common_parts(path: str, other: str) -> int:
    """Return the number of leading parts that two dotted paths have in common."""
    pairs = zip(path.split("."), other.split("."), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
