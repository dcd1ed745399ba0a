"""Chooses a trial by its runs under the selection seeds, and compares it with its control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms import Arms
from distune.errors import StudyError
from distune.evidence.average_precision import score_of
from distune.evidence.confirmation_result import Candidate
from distune.evidence.matches import ImageMask, MatchTable
from distune.records import Outcome, TrialSpec

Runs = Mapping[str, Sequence[TrialSpec]]
"""Name of an arm to its runs, one per seed."""


def rank_candidates(arms: Arms, runs: Runs, metric: str, *, chosen_by: ImageMask | None = None) -> list[Candidate]:
    """Rank the trials by their mean score over the selection seeds on the search split.

    A trial with a run that did not finish comes after all others, since its training is not reliable. Without runs, the
    order is that of the search.

    Args:
        arms: the trials and their controls.
        runs: of the trials under the selection seeds; empty with one trial.
        metric: of the scores, one of ``METRICS``.
        chosen_by: images that count for the choice; None counts all.

    Returns:
        The trials, best first.

    Raises:
        StudyError: no run of any trial has finished.
    """
    candidates = []
    for arm in arms.trials:
        own = runs.get(arm.name, ())
        tables = tables_of(own, "search")
        scores = [score_of(_part(table, chosen_by), metric) for table in tables.values()]
        candidates.append(
            Candidate(
                number=arm.number,
                control=arms.control_of[arm.number],
                score=float(np.mean(scores)) if scores else None,
                failures=failures_of(own),
            )
        )
    if any(runs.values()) and all(candidate.score is None for candidate in candidates):
        stop_without_runs([line for candidate in candidates for line in candidate.failures])
    # A stable sort: without scores the order of the search stays.
    return sorted(candidates, key=lambda each: (bool(each.failures), each.score is None, -(each.score or 0.0)))


def stop_without_runs(failures: Sequence[str]) -> None:
    """Raise ``StudyError`` with the reason of each run."""
    lines = list(dict.fromkeys(failures))
    raise StudyError("\n".join(["nothing can be confirmed, since no run has finished beside its control:", *lines]))


def best_run(runs: Sequence[TrialSpec], metric: str) -> TrialSpec:
    """Return the run whose student scores best on the search split."""
    tables = tables_of(runs, "search")
    ready = [spec for spec in runs if spec.seed in tables]
    return max(ready, key=lambda spec: (score_of(tables[spec.seed], metric), -spec.seed))


def tables_of(runs: Sequence[TrialSpec], split: str, *, images: ImageMask | None = None) -> dict[int, MatchTable]:
    """Return seed to matches on a split, of the runs that have finished and were scored.

    Args:
        runs: of one arm.
        split: ``search`` or ``test``.
        images: that count; None counts all.

    Returns:
        A table per seed.
    """
    tables: dict[int, MatchTable] = {}
    for spec in runs:
        folder = ArmFolder.of(spec)
        table = folder.matches(split) if folder.outcome()[0] is Outcome.FINISHED else None
        if table is not None:
            tables[spec.seed] = _part(table, images)
    return tables


def failures_of(runs: Sequence[TrialSpec]) -> tuple[str, ...]:
    """Return a line for each run that did not finish: ``KEY: OUTCOME (REASON)``."""
    lines = []
    for spec in runs:
        outcome, reason = ArmFolder.of(spec).outcome()
        if outcome is not Outcome.FINISHED:
            lines.append(f"{spec.key}: {outcome or 'not trained'}{f' ({reason})' if reason else ''}")
    return tuple(lines)


def _part(table: MatchTable, images: ImageMask | None) -> MatchTable:
    return table if images is None else table.of_images(images)
