"""Early stopping in figures: do scores at a rung order the trials as their final scores do? Pure functions.

Scores of a rung often have ties: a detector that has just started has an average precision of 0. So pairs of trials are
counted, in the same order, tied and reversed. Kendall's tau-b alone would hide how many are tied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations

from distune.records import Outcome
from distune.reports.page.curve_values import score_at
from distune.reports.page.page_input import StudyFacts

MIN_TRIALS, FEW_TRIALS = 3, 10
"""With fewer, pairs are not counted; with fewer than the second, nothing follows from them."""
_GOOD = 0.7
"""Part of the pairs from which a rung orders trials well. A tied pair counts half: its scores say nothing, and chance
orders half of such pairs right. Without ties this is a Kendall's tau of 0.4. Where more than 60% are tied, no order of
the others is good enough."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedTrial:
    """A trial that has done all epochs: its score at a rung, and the final one, which is that of its last epoch."""

    trial: str
    control: bool
    at_rung: float
    final: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """An epoch at which trials are compared.

    Attributes:
        epoch: number of the epoch.
        reached: searched trials that have done it.
        stopped: searched trials that were stopped after it.
        compared: finished trials and controls.
        kendall: rank correlation (Kendall's tau-b) of their scores at the epoch and their final scores; None for fewer
            than ``MIN_TRIALS``, and where all scores are equal.
        in_order: pairs of them in the same order at the epoch and at the end.
        tied: pairs with equal scores at the epoch or at the end. The others are reversed.
    """

    epoch: int
    reached: int
    stopped: int
    compared: Sequence[ComparedTrial]
    kendall: float | None
    in_order: int
    tied: int

    @property
    def is_comparable(self) -> bool:
        """True if there are enough trials, and their final scores differ."""
        return len(self.compared) >= MIN_TRIALS and len({each.final for each in self.compared}) > 1

    @property
    def agreement(self) -> float:
        """The fraction of all pairs that are in the same order as at the end."""
        return self.in_order / max(1, self._num_pairs)

    @property
    def tied_fraction(self) -> float:
        """The fraction of all pairs that are tied."""
        return self.tied / max(1, self._num_pairs)

    @property
    def is_good(self) -> bool:
        """True if the epoch orders trials well, see ``_GOOD``."""
        return self.in_order + self.tied / 2 >= _GOOD * self._num_pairs

    @property
    def _num_pairs(self) -> int:
        return len(self.compared) * (len(self.compared) - 1) // 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
    """Epochs of the searched trials that have finished or were stopped."""

    trained: int
    without_stopping: int
    num_stopped: int

    @property
    def fraction(self) -> float:
        """The fraction of epochs that was saved."""
        return 1 - self.trained / self.without_stopping if self.without_stopping else 0.0


def compared_epochs(facts: StudyFacts) -> tuple[int, ...]:
    """Return the rungs; without any, a third and two thirds of the epochs, and those at which trials were stopped."""
    if facts.rungs:
        return facts.rungs
    stops = {trial.epochs for trial in facts.searched if trial.outcome is Outcome.STOPPED}
    thirds = {round(facts.num_epochs / 3), round(2 * facts.num_epochs / 3)}
    return tuple(sorted(epoch for epoch in stops | thirds if 0 < epoch < facts.num_epochs))


def compare_rungs(facts: StudyFacts) -> list[Rung]:
    """Return the trials at each compared epoch; none where no epoch is compared, as in a study of one epoch."""
    epochs = compared_epochs(facts)
    uppers = (*epochs, facts.num_epochs)[1:]
    return [_rung(facts, epoch, upper) for epoch, upper in zip(epochs, uppers, strict=True)]


def saving(facts: StudyFacts) -> Saving:
    """Return the epochs that early stopping has saved against training all trials to the end."""
    ended = [trial for trial in facts.searched if trial.outcome in (Outcome.FINISHED, Outcome.STOPPED)]
    return Saving(
        trained=sum(trial.epochs for trial in ended),
        without_stopping=facts.num_epochs * len(ended),
        num_stopped=sum(trial.outcome is Outcome.STOPPED for trial in ended),
    )


def conclusion(rungs: Sequence[Rung]) -> str:
    """Return in a sentence how well the first rung that can be compared orders the trials, with their number."""
    rung = next((rung for rung in rungs if rung.is_comparable), None)
    if rung is None:
        return f"A comparison needs at least {MIN_TRIALS} finished trials and controls with different final scores."
    pairs = f"At epoch {rung.epoch}, {rung.agreement:.0%} of pairs of trials are in the same order as at the end"
    if rung.tied:
        pairs += f", {rung.tied_fraction:.0%} are tied"
    if len(rung.compared) < FEW_TRIALS:
        return f"{pairs}, but of {len(rung.compared)} trials only: too few to conclude anything."
    chance = f"{(1 - rung.tied_fraction) / 2:.0%} in the same order would be chance"
    if rung.is_good:
        return f"{pairs} ({chance}): stopping by it is sound."
    return (
        f"{pairs} ({chance}): stopping by it is risky; with a larger search.scheduler.grace_epochs trials are compared "
        "later."
    )


def _rung(facts: StudyFacts, epoch: int, upper: int) -> Rung:
    reached = [trial for trial in facts.searched if trial.epochs >= epoch]
    stopped = [trial for trial in reached if trial.outcome is Outcome.STOPPED and trial.epochs < upper]
    compared = []
    for trial in facts.trials:
        at_rung, final = score_at(facts, trial, epoch), score_at(facts, trial, trial.epochs)
        if trial.outcome is Outcome.FINISHED and at_rung is not None and final is not None:
            compared.append(ComparedTrial(trial=trial.key, control=trial.control, at_rung=at_rung, final=final))
    products = [(a.at_rung - b.at_rung) * (a.final - b.final) for a, b in combinations(compared, 2)]
    return Rung(
        epoch=epoch,
        reached=len(reached),
        stopped=len(stopped),
        compared=compared,
        kendall=_kendall(compared),
        in_order=sum(product > 0 for product in products),
        tied=sum(product == 0 for product in products),
    )


def _kendall(compared: Sequence[ComparedTrial]) -> float | None:
    at_rung, final = ([getattr(each, name) for each in compared] for name in ("at_rung", "final"))
    if len(compared) < MIN_TRIALS or len(set(at_rung)) == 1 or len(set(final)) == 1:
        return None
    from scipy.stats import kendalltau

    return float(kendalltau(at_rung, final).statistic)
