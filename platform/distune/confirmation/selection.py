"""Chooses one of several trials: after each seed the worst one is dropped, until one is left.

This is successive rejects (Audibert, Bubeck and Munos, COLT 2010). For four trials it takes nine runs and picks a
truly best trial more often than three seeds for each of three trials, which take nine as well
(``benchmarks/verdicts.py``). The score of
the search counts as that of one more seed; it cannot bias the result, which is measured under other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distune.confirmation.arms import Arms
from distune.confirmation.ranking import failures_of, tables_of
from distune.errors import StudyError
from distune.evidence.average_precision import score_of
from distune.evidence.confirmation_result import Candidate
from distune.evidence.matches import ImageMask
from distune.records import TrialSpec


def describe_candidates(
    arms: Arms,
    runs: Mapping[int, Sequence[TrialSpec]],
    metric: str,
    *,
    searched: Mapping[int, float],
    images: ImageMask | None = None,
) -> list[Candidate]:
    """Return the trials with their scores so far, best first.

    A trial with more seeds was in the race for longer and comes first. A trial with a run that did not finish comes
    last, since its training is not reliable. Without runs, the order is that of the search.

    Args:
        arms: the trials and their controls.
        runs: number of a trial to its runs so far.
        metric: of the scores, one of ``METRICS``.
        searched: number of a trial to its score in the search; empty where it is of another metric or other images.
        images: of the search split that count; None counts all.

    Returns:
        A candidate for each trial.
    """
    found = []
    for arm in arms.trials:
        own = runs.get(arm.number, ())
        scores = [score_of(table, metric) for table in tables_of(own, "search", images=images).values()]
        known = [searched[arm.number]] if scores and arm.number in searched else []
        found.append(
            Candidate(
                number=arm.number,
                control=arms.control_of[arm.number],
                score=float(np.mean([*known, *scores])) if scores else None,
                num_selection_seeds=len(scores),
                failures=failures_of(own),
            )
        )
    return sorted(found, key=lambda each: (bool(each.failures), -each.num_selection_seeds, -(each.score or 0.0)))


def without_worst(candidates: Sequence[Candidate], racing: Sequence[int]) -> list[int]:
    """Return the trials that stay in the race: without those that failed, or else without the worst.

    Args:
        candidates: all trials.
        racing: numbers of those in the race, at least two.

    Returns:
        Fewer numbers, in the same order; at least one.

    Raises:
        StudyError: all of them failed.
    """
    own = {each.number: each for each in candidates if each.number in racing}
    reliable = [number for number in racing if not own[number].failures]
    if not reliable:
        lines = [line for each in own.values() for line in each.failures]
        raise StudyError("\n".join(["nothing can be confirmed, since no run has finished beside its control:", *lines]))
    if len(reliable) < len(racing):
        return reliable
    worst = min(reversed(racing), key=lambda number: own[number].score or 0.0)
    return [number for number in racing if number != worst]
