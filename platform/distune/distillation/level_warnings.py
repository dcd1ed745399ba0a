"""Warnings about levels on which directions of features say nothing, from the metrics of an epoch. Without torch."""

from __future__ import annotations

from collections.abc import Mapping

MIN_CLASS_GAP = 0.05
"""A smaller class gap of the teacher's features: the level does not tell classes apart."""
_PREFIX = "features/class_gap_teacher/"


def indistinct_levels(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return a warning for each level whose teacher features do not tell classes apart, while prototypes are in use.

    Args:
        metrics: of an epoch, by name.

    Returns:
        The name of the level's metric to the warning, fine to coarse; empty in epochs without prototypes.
    """
    if metrics.get("filter/without_prototypes", 1.0) >= 1:
        return {}
    strides = sorted(int(name.removeprefix(_PREFIX)) for name in metrics if name.startswith(_PREFIX))
    gaps = {stride: metrics[f"{_PREFIX}{stride}"] for stride in strides}
    return {
        f"{_PREFIX}{stride}": (
            f"level stride {stride}: the teacher's features do not tell classes apart (class gap {gap:.2f}); "
            "prototypes and the filter have nothing to compare there"
        )
        for stride, gap in gaps.items()
        if gap < MIN_CLASS_GAP
    }
