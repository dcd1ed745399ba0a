"""What a study is going to cost, before it runs. Pure values; printing them is for others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from distune.config.experiment import Experiment
from distune.config.space import Parameter
from distune.study.schedulers.asha import num_kept, rungs
from distune.study.search.tried_configurations import count_configurations


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The plan of a whole study, over all its sessions.

    Attributes:
        num_trials: trials that are searched, fewer than asked for where the space has fewer configurations.
        num_controls: trials without distillation, each for its whole budget.
        num_epochs: the whole budget of one trial.
        rungs: epochs at which ASHA judges; empty otherwise.
        most_epochs: epochs of the study when no trial is stopped.
        expected_epochs: epochs to expect, see ``expected_reaching``; controls included. None where it depends on the
            curves alone, as with median stopping.
        expected_finished: trials and controls to be expected to finish; None as above.
        num_configurations: how many the space has; None when they cannot be counted.
    """

    num_trials: int
    num_controls: int
    num_epochs: int
    rungs: tuple[int, ...]
    most_epochs: int
    expected_epochs: float | None
    expected_finished: float | None
    num_configurations: int | None = None

    @property
    def most_finished(self) -> int:
        """Trials and controls that finish when none is stopped."""
        return self.num_trials + self.num_controls


def plan_study(
    experiment: Experiment, searched: Mapping[str, Parameter] | None = None, *, num_trials: int | None = None
) -> StudyPlan:
    """The plan of an experiment.

    Args:
        experiment: the experiment.
        searched: the parameters that trials choose; None leaves their number of configurations open.
        num_trials: replaces the experiment's own total.
    """
    total = experiment.search.num_trials if num_trials is None else num_trials
    configurations = None if searched is None else count_configurations(searched)
    total = total if configurations is None else min(total, configurations)
    controls, epochs = experiment.search.controls, experiment.training.epochs
    scheduler = experiment.search.scheduler
    rung_epochs: tuple[int, ...] = ()
    expected: tuple[float, float] | None = (float(total * epochs), float(total))
    if scheduler.kind == "asha":
        rung_epochs = rungs(scheduler.grace_epochs, epochs, scheduler.reduction_factor)
        reaching = expected_reaching(total, rung_epochs, scheduler.reduction_factor)
        expected = expected_search_epochs(total, epochs, rung_epochs, scheduler.reduction_factor), reaching[-1]
    elif scheduler.kind == "median":
        expected = None
    return StudyPlan(
        num_trials=total,
        num_controls=controls,
        num_epochs=epochs,
        rungs=rung_epochs,
        most_epochs=(total + controls) * epochs,
        expected_epochs=None if expected is None else expected[0] + controls * epochs,
        expected_finished=None if expected is None else expected[1] + controls,
        num_configurations=configurations,
    )


def expected_reaching(num_trials: int, rung_epochs: Sequence[int], reduction_factor: float) -> list[float]:
    """How many trials to expect in each stretch: before the first rung, after it, and so on to the last epoch.

    If the scores at a rung come in no particular order, the j-th trial to reach it is among the best ``kept(j)`` so far
    with probability ``kept(j) / j``, so of n trials ``sum_j kept(j) / j`` go on, with ``kept`` of ``num_kept``. A
    fractional number of trials adds its fraction of the next term. A search that gets better as it goes keeps more:
    read the result as a lower estimate.
    """
    reaching = [float(num_trials)]
    for _ in rung_epochs:
        reaching.append(_expected_kept(reaching[-1], reduction_factor))
    return reaching


def expected_search_epochs(
    num_trials: int, num_epochs: int, rung_epochs: Sequence[int], reduction_factor: float
) -> float:
    """Epochs to expect of the searched trials, see ``expected_reaching``."""
    lengths = [stop - start for start, stop in zip((0, *rung_epochs), (*rung_epochs, num_epochs), strict=True)]
    reaching = expected_reaching(num_trials, rung_epochs, reduction_factor)
    return sum(number * length for number, length in zip(reaching, lengths, strict=True))


def _expected_kept(num_reaching: float, reduction_factor: float) -> float:
    whole = int(num_reaching)
    kept = sum(num_kept(rank, reduction_factor) / rank for rank in range(1, whole + 1))
    return kept + (num_reaching - whole) * num_kept(whole + 1, reduction_factor) / (whole + 1)
