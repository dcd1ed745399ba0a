"""What a probe finds about a parameter, and the reasons that follow from its path alone. Pure values and functions."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from typing import Any

from distune.config.paths import get_path, leaf_paths
from distune.records import ParameterValue
from distune.training.probe.numbers import Change

_FILTER_WEIGHT = "distillation.filter.weight"
_MAX_CAUSES = 3


class Verdict(enum.StrEnum):
    """What a parameter does."""

    ACTS = "acts"
    CONDITIONAL = "acts at times"  # only with other values of another searched parameter
    DEAD = "does nothing"
    FAILS = "fails"  # a value cannot be trained with
    NOT_PROBED = "not probed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What a probe has found about one parameter.

    Attributes:
        path: of the parameter.
        values: the two that were compared.
        verdict: what it does.
        moved: the number that moved most; None when none did.
        remark: when it acts, why it does not, or why it was not probed; empty where there is nothing to say.
    """

    path: str
    values: tuple[ParameterValue, ParameterValue]
    verdict: Verdict
    moved: Change | None = None
    remark: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether a study should not be launched like this."""
        return self.verdict in (Verdict.DEAD, Verdict.FAILS)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        moved = None if self.moved is None else self.moved.to_dict()
        return {**dataclasses.asdict(self), "verdict": str(self.verdict), "moved": moved}


def why_not_probed(path: str, values: tuple[ParameterValue, ...]) -> str | None:
    """Why a parameter cannot be probed; None when it can."""
    section, _, name = path.partition(".")
    if section not in ("distillation", "student", "training"):
        return f"{section} does not enter a step of training"
    if section == "student" and name in ("weights", "backbone_weights"):
        return "a probe starts from random weights"
    return "it has one value only" if len(values) == 1 else None


def likely_causes(path: str, values: dict[str, Any]) -> list[tuple[str, ParameterValue]]:
    """Settings that may have switched a path off, the nearest first, each with a value with which it would be on."""
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
    return sorted(causes, key=lambda cause: -shared_words(path, cause[0]))[:_MAX_CAUSES]


def shared_words(path: str, other: str) -> int:
    """How many words two dotted paths begin with alike."""
    pairs = zip(path.split("."), other.split("."), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
