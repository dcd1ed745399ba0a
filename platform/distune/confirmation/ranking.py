"""Reads what the runs of a confirmation have recorded: matches, scores and failures."""

from __future__ import annotations

from collections.abc import Sequence

from distune.confirmation.arm_folder import ArmFolder
from distune.errors import StudyError
from distune.evidence.average_precision import score_of
from distune.evidence.matches import ImageMask, MatchTable
from distune.records import Outcome, TrialSpec


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
