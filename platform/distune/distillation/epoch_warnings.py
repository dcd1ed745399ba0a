"""Warnings about the distillation of a trial: what the metrics of its epochs show to be wrong.

Each check is a pure function from metrics to warnings, and one line in ``CHECKS``. They are computed where a study
reports, so a study of an earlier version shows them as well. Does not import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from distune.config.format_value import format_value

Metrics = Mapping[str, float]
"""Metrics of an epoch by name."""

SHARE_LIMITS = (0.5, 2.0)
"""Delivered share divided by the asked one: a warning outside."""
KEPT_LIMITS = (0.05, 0.98)
"""Mean weight that a filter gives: a warning outside."""
MIN_CLASS_GAP = 0.05
"""Class gap of the teacher's features on a level: a warning below."""
_CLASS_GAP = "features/class_gap_teacher/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochWarning:
    """A warning about an epoch.

    Attributes:
        kind: a trial has one warning of each kind, the first.
        text: for the user.
    """

    kind: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedEpoch:
    """The epoch that is checked.

    Attributes:
        epoch: its number, from 1.
        metrics: of the epoch.
        earlier: the metrics of the epochs before, in order.
        distillation: the settings of the trial's distillation as plain data.
    """

    epoch: int
    metrics: Metrics
    earlier: Sequence[Metrics]
    distillation: Mapping[str, Any]


Check = Callable[[CheckedEpoch], Iterator[EpochWarning]]


class EpochWarnings:
    """The warnings of a trial, while its epochs are added in order.

    Args:
        distillation: the settings of the trial's distillation as plain data.

    Attributes:
        by_kind: kind to text of every warning so far.
    """

    def __init__(self, distillation: Mapping[str, Any]) -> None:
        self.by_kind: dict[str, str] = {}
        self._distillation = distillation
        self._earlier: list[Metrics] = []

    def add(self, epoch: int, metrics: Metrics) -> list[str]:
        """Check an epoch.

        Args:
            epoch: its number, from 1.
            metrics: of the epoch.

        Returns:
            The texts of the warnings of a new kind.
        """
        found = CheckedEpoch(epoch=epoch, metrics=metrics, earlier=self._earlier, distillation=self._distillation)
        new: dict[str, str] = {}
        for check in CHECKS:
            for warning in check(found):
                if warning.kind not in self.by_kind:
                    new.setdefault(warning.kind, warning.text)
        self.by_kind.update(new)
        self._earlier.append(metrics)
        return list(new.values())


def warnings_of(epochs: Iterable[tuple[int, Metrics]], distillation: Mapping[str, Any]) -> dict[str, str]:
    """Return all warnings about the epochs of a trial, text by kind.

    Args:
        epochs: number and metrics of each epoch, in order.
        distillation: the settings of the trial's distillation as plain data.

    Returns:
        The text of the first warning of each kind.
    """
    warnings = EpochWarnings(distillation)
    for epoch, metrics in epochs:
        warnings.add(epoch, metrics)
    return warnings.by_kind


def check_shares(found: CheckedEpoch) -> Iterator[EpochWarning]:
    """Warn when a share of the gradient is not delivered as asked, from the second epoch of its term on."""
    low, high = SHARE_LIMITS
    for name, asked in found.metrics.items():
        term = name.removeprefix("share_asked/")
        delivered = found.metrics.get(f"share/{term}")
        if term == name or delivered is None or not any(name in metrics for metrics in found.earlier):
            continue
        if asked > 0 and not low <= delivered / asked <= high:
            text = (
                f"{term} had {_shown(delivered)} of the task's gradient in epoch {found.epoch} instead of "
                f"{_shown(asked)} as set by weight and schedule"
            )
            yield EpochWarning(kind=name, text=text)


def check_filter(found: CheckedEpoch) -> Iterator[EpochWarning]:
    """Warn when the robust filter passes or drops nearly all instances. Without prototypes it has no effect yet."""
    low, high = KEPT_LIMITS
    settings = found.distillation.get("filter", {})
    without = found.metrics.get("filter/without_prototypes", 1.0)
    if settings.get("weight", "uniform") == "uniform" or without >= 1:
        return
    for reach, users in (("global", ("global_knowledge",)), ("local", _robust_terms(found.distillation))):
        kept = found.metrics.get(f"filter/kept_{reach}")
        if kept is None or low <= kept <= high or not any(_weight(found.distillation, term) > 0 for term in users):
            continue
        action = "keeps nearly everything" if kept > high else "drops nearly everything"
        text = (
            f"the filter {action} in epoch {found.epoch}: a mean weight of {_shown(kept)} at "
            f"distillation.filter.{reach}_threshold = {settings.get(f'{reach}_threshold')}"
        )
        yield EpochWarning(kind=f"filter/kept_{reach}", text=text)


def check_levels(found: CheckedEpoch) -> Iterator[EpochWarning]:
    """Warn about levels on which the teacher's features do not tell classes apart, while prototypes are in use."""
    if found.metrics.get("filter/without_prototypes", 1.0) >= 1:
        return
    gaps = {int(name.removeprefix(_CLASS_GAP)): gap for name, gap in found.metrics.items() if _CLASS_GAP in name}
    strides = [str(stride) for stride, gap in sorted(gaps.items()) if gap < MIN_CLASS_GAP]
    if strides:
        text = (
            f"the teacher's features do not tell classes apart on the levels of stride {', '.join(strides)} (class gap "
            f"below {MIN_CLASS_GAP}); prototypes and the filter have nothing to compare there"
        )
        yield EpochWarning(kind=_CLASS_GAP.rstrip("/"), text=text)


CHECKS: tuple[Check, ...] = (check_shares, check_filter, check_levels)
"""All checks, in the order in which their warnings are shown."""


def _robust_terms(distillation: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the terms that the filter weights with its local threshold."""
    return tuple(name for name, term in distillation.items() if isinstance(term, Mapping) and term.get("robust"))


def _weight(distillation: Mapping[str, Any], term: str) -> float:
    return float(distillation.get(term, {}).get("weight", 0.0))


def _shown(value: float) -> str:
    return format_value(value, digits=3)
