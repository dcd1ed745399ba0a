"""What a study is going to cost, before it runs. Pure values; printing them is for others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from distune.config.experiment import Experiment
from distune.study.asha import num_kept, rungs


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The plan of a whole study, over all its sessions.

    Attributes:
        num_trials: trials that are searched.
        num_controls: trials without distillation, each for its whole budget.
        num_epochs: the whole budget of one trial.
        rungs: epochs at which trials are judged; empty without a scheduler.
        most_epochs: epochs of the study when no trial is stopped.
        expected_epochs: epochs to expect, see ``expected_search_epochs``; controls included.
    """

    num_trials: int
    num_controls: int
    num_epochs: int
    rungs: tuple[int, ...]
    most_epochs: int
    expected_epochs: float


def plan_study(experiment: Experiment, *, num_trials: int | None = None) -> StudyPlan:
    """The plan of an experiment; ``num_trials`` replaces the experiment's own total."""
    total = experiment.search.num_trials if num_trials is None else num_trials
    controls, epochs = experiment.search.controls, experiment.training.epochs
    scheduler = experiment.search.scheduler
    rung_epochs: tuple[int, ...] = ()
    expected = float(total * epochs)
    if scheduler.kind == "asha":
        rung_epochs = rungs(scheduler.grace_epochs, epochs, scheduler.reduction_factor)
        expected = expected_search_epochs(total, epochs, rung_epochs, scheduler.reduction_factor)
    return StudyPlan(
        num_trials=total,
        num_controls=controls,
        num_epochs=epochs,
        rungs=rung_epochs,
        most_epochs=(total + controls) * epochs,
        expected_epochs=expected + controls * epochs,
    )


def expected_search_epochs(
    num_trials: int, num_epochs: int, rung_epochs: Sequence[int], reduction_factor: float
) -> float:
    """Epochs to expect of the searched trials.

    If the scores at a rung come in no particular order, the j-th trial to reach it is among the best ``kept(j)`` so far
    with probability ``kept(j) / j``, so of n trials ``sum_j kept(j) / j`` go on, with ``kept`` of ``num_kept``. A
    fractional number of trials adds its fraction of the next term. A search that gets better as it goes keeps more:
    read the result as a lower estimate.
    """
    reaching = float(num_trials)
    total = 0.0
    for start, stop in zip((0, *rung_epochs), (*rung_epochs, num_epochs), strict=True):
        if start > 0:
            reaching = _expected_kept(reaching, reduction_factor)
        total += reaching * (stop - start)
    return total


def _expected_kept(num_reaching: float, reduction_factor: float) -> float:
    whole = int(num_reaching)
    kept = sum(num_kept(rank, reduction_factor) / rank for rank in range(1, whole + 1))
    return kept + (num_reaching - whole) * num_kept(whole + 1, reduction_factor) / (whole + 1)
