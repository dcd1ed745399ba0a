"""Ranks the trials of a confirmation by the matches of all arms and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms import Arms
from distune.errors import StudyError
from distune.evidence.average_precision import score_of
from distune.evidence.confirmation_result import Candidate
from distune.evidence.gain import Gain, measure_gain
from distune.evidence.matches import MatchTable
from distune.evidence.resampling import resample_runs
from distune.records import Outcome, TrialSpec

Runs = Mapping[str, Sequence[TrialSpec]]
"""Name of an arm to its runs, one per seed."""


def rank_candidates(arms: Arms, runs: Runs, metric: str) -> list[Candidate]:
    """Rank the trials by their mean score over the seeds on the search split.

    A trial with a run that did not finish comes after all others, since its training is not reliable.

    Args:
        arms: the trials and their controls.
        runs: of all arms.
        metric: of the scores and gains, one of ``METRICS``.

    Returns:
        The trials, best first.

    Raises:
        StudyError: no trial has finished under a seed under which its control has.
    """
    candidates: list[Candidate] = []
    tables = {arm.name: tables_of(runs[arm.name], "search") for arm in arms.all}
    scored = {name: resample_runs(each, metric) for name, each in tables.items() if each}
    for arm in arms.trials:
        control = arms.control_of[arm.number]
        failures = tuple(line for name in (arm.name, control) for line in _failures(runs[name]))
        has_pair = tables[arm.name].keys() & tables[control].keys()
        gain = measure_gain(scored[arm.name], scored[control]) if has_pair else None
        candidates.append(Candidate(number=arm.number, control=control, search=gain, failures=failures))
    if all(candidate.search is None for candidate in candidates):
        lines = list(dict.fromkeys(line for candidate in candidates for line in candidate.failures))
        raise StudyError("\n".join(["nothing can be confirmed, since no run has finished beside its control:", *lines]))
    return sorted(
        candidates, key=lambda each: (each.search is None, bool(each.own_failures), -_score(each), each.number)
    )


def best_run(runs: Sequence[TrialSpec], metric: str) -> TrialSpec:
    """Return the run whose student scores best on the search split."""
    tables = tables_of(runs, "search")
    ready = [spec for spec in runs if spec.seed in tables]
    return max(ready, key=lambda spec: (score_of(tables[spec.seed], metric), -spec.seed))


def tables_of(runs: Sequence[TrialSpec], split: str) -> dict[int, MatchTable]:
    """Return seed to matches on a split, of the runs that have finished and were scored."""
    tables: dict[int, MatchTable] = {}
    for spec in runs:
        folder = ArmFolder.of(spec)
        table = folder.matches(split) if folder.outcome()[0] is Outcome.FINISHED else None
        if table is not None:
            tables[spec.seed] = table
    return tables


def _failures(runs: Sequence[TrialSpec]) -> list[str]:
    lines = []
    for spec in runs:
        outcome, reason = ArmFolder.of(spec).outcome()
        if outcome is not Outcome.FINISHED:
            lines.append(f"{spec.key}: {outcome or 'not trained'}{f' ({reason})' if reason else ''}")
    return lines


def _score(candidate: Candidate) -> float:
    gain: Gain | None = candidate.search
    return 0.0 if gain is None else gain.student
