"""The epochs that a study will train, before it runs. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise

from distune.config.experiment import Experiment
from distune.config.space import Parameter
from distune.study.schedulers.asha import num_kept, rungs
from distune.study.search.tried_configurations import count_configurations


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """Plan of a whole study, over all its sessions.

    Attributes:
        num_trials: number of searched trials, fewer than requested when the space has fewer configurations.
        num_controls: number of trials without distillation, which are never stopped.
        num_epochs: epochs of a whole trial.
        rungs: epochs at which ASHA compares trials; empty for other schedulers.
        max_epochs: epochs of the study if no trial is stopped.
        expected_epochs: expected epochs of the study, controls included; see ``expected_reaching``. None when it
            depends on the learning curves, as with median stopping.
        expected_finished: expected number of trials and controls that finish; None as above.
        reduction_factor: of ASHA; None for other schedulers.
        num_configurations: of the space; None when they cannot be counted.
    """

    num_trials: int
    num_controls: int
    num_epochs: int
    rungs: tuple[int, ...]
    max_epochs: int
    expected_epochs: float | None
    expected_finished: float | None
    reduction_factor: float | None = None
    num_configurations: int | None = None

    @property
    def max_finished(self) -> int:
        """Number of trials and controls that finish if none is stopped."""
        return self.num_trials + self.num_controls


def plan_study(
    experiment: Experiment, searched: Mapping[str, Parameter] | None = None, *, num_trials: int | None = None
) -> StudyPlan:
    """Return the plan of an experiment.

    Args:
        experiment: the experiment.
        searched: path to parameter; None when the number of configurations does not matter.
        num_trials: replaces the number of trials of the experiment.

    Returns:
        The plan.
    """
    total = experiment.search.num_trials if num_trials is None else num_trials
    configurations = None if searched is None else count_configurations(searched)
    total = total if configurations is None else min(total, configurations)
    controls, epochs = experiment.search.controls, experiment.training.epochs
    scheduler = experiment.search.scheduler
    rung_epochs: tuple[int, ...] = ()
    reduction_factor: float | None = None
    expected: tuple[float, float] | None = (float(total * epochs), float(total))
    if scheduler.kind == "asha":
        reduction_factor = scheduler.reduction_factor
        rung_epochs = rungs(scheduler.grace_epochs, epochs, reduction_factor)
        reaching = expected_reaching(total, rung_epochs, reduction_factor)
        expected = expected_search_epochs(total, epochs, rung_epochs, reduction_factor), reaching[-1]
    elif scheduler.kind == "median":
        expected = None
    return StudyPlan(
        num_trials=total,
        num_controls=controls,
        num_epochs=epochs,
        rungs=rung_epochs,
        max_epochs=(total + controls) * epochs,
        expected_epochs=None if expected is None else expected[0] + controls * epochs,
        expected_finished=None if expected is None else expected[1] + controls,
        reduction_factor=reduction_factor,
        num_configurations=configurations,
    )


def expected_reaching(num_trials: int, rung_epochs: Sequence[int], reduction_factor: float) -> list[float]:
    """Return the expected number of trials that train before the first rung, between rungs, and after the last one.

    If the scores at a rung arrive in random order, the j-th trial there is among the best ``kept(j)`` with probability
    ``kept(j) / j``, so ``sum_j kept(j) / j`` of n trials continue, with ``kept`` of ``num_kept``. A fractional number
    of trials adds its fraction of the next term. A search that improves over time keeps more trials: the result is a
    lower estimate.

    Args:
        num_trials: number of searched trials.
        rung_epochs: the rungs in ascending order.
        reduction_factor: of ASHA.

    Returns:
        One number more than there are rungs.
    """
    reaching = [float(num_trials)]
    for _ in rung_epochs:
        reaching.append(_expected_kept(reaching[-1], reduction_factor))
    return reaching


def expected_search_epochs(
    num_trials: int, num_epochs: int, rung_epochs: Sequence[int], reduction_factor: float
) -> float:
    """Return the expected epochs of all searched trials, see ``expected_reaching``."""
    num_reached = [0] * len(rung_epochs)
    return expected_rest(num_trials, (), num_epochs, rung_epochs, reduction_factor, num_reached)


def expected_rest(
    num_to_start: float,
    in_progress: Sequence[int],
    num_epochs: int,
    rung_epochs: Sequence[int],
    reduction_factor: float,
    num_reached: Sequence[int],
) -> float:
    """Return the expected epochs that are left of a search, see ``expected_reaching``.

    Args:
        num_to_start: number of searched trials that have not started.
        in_progress: epochs done of the trials that have started and not ended.
        num_epochs: epochs of a whole trial.
        rung_epochs: the rungs in ascending order.
        reduction_factor: of ASHA.
        num_reached: number of trials that have reached each rung, those in progress included.

    Returns:
        The epochs of all trials in progress and to start.
    """
    entering, total = float(num_to_start), 0.0
    for index, (start, stop) in enumerate(pairwise((0, *rung_epochs, num_epochs))):
        inside = [stop - epochs for epochs in in_progress if start <= epochs < stop]
        total += entering * (stop - start) + sum(inside)
        if index < len(rung_epochs):
            entering = _expected_kept(entering + len(inside), reduction_factor, num_before=num_reached[index])
    return total


def _expected_kept(num_reaching: float, reduction_factor: float, *, num_before: int = 0) -> float:
    """Return how many of the trials continue that reach a rung after ``num_before`` others."""
    whole = int(num_reaching)
    fraction, last = num_reaching - whole, num_before + whole + 1
    kept = sum(num_kept(rank, reduction_factor) / rank for rank in range(num_before + 1, last))
    return kept + fraction * num_kept(last, reduction_factor) / last
