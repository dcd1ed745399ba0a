"""Notices trials with different parameters that report identical numbers: what they differ in has done nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distune.records import EpochReport, Outcome, ParameterValue

_COMPARED = ("loss/", "search/")
_JUDGED = (Outcome.FINISHED, Outcome.STOPPED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twins:
    """Trials that are one run under several names.

    Attributes:
        trials: their numbers, ascending.
        epochs: up to this epoch all of them report the same numbers.
        differing: what they differ in: path to their values, in the order of ``trials``.
    """

    trials: tuple[int, ...]
    epochs: int
    differing: dict[str, tuple[ParameterValue, ...]]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        shown = ", ".join(
            f"{path} ({', '.join(map(_show, dict.fromkeys(values)))})" for path, values in self.differing.items()
        )
        return (
            f"trials {', '.join(map(str, self.trials))} report identical losses and scores up to epoch {self.epochs}, "
            f"but differ in {shown}: it did nothing there. See which settings act: distune validate EXPERIMENT --probe"
        )


class TwinWatch:
    """Compares the searched trials of a study with each other, by a hash of each epoch.

    Two trials may well be alike for some epochs: before distillation starts, or while there are no prototypes yet. They
    are twins when one of them has ended, finished or stopped, and the other was the same to the end. Losses must be the
    same, not only scores, bit for bit. Neither controls nor trials that diverged or failed are compared.
    """

    def __init__(self) -> None:
        self._params: dict[int, Mapping[str, ParameterValue]] = {}
        self._last: dict[int, tuple[int, bytes | None]] = {}
        self._ended: set[int] = set()
        self._seen: dict[tuple[int, bytes], list[int]] = {}
        self._groups: dict[int, _Group] = {}

    @property
    def groups(self) -> list[Twins]:
        """All twins so far, by their first trial."""
        distinct = {id(group): group for group in self._groups.values()}
        return sorted((self._twins(group) for group in distinct.values()), key=lambda twins: twins.trials)

    def take(self, number: int, params: Mapping[str, ParameterValue], report: EpochReport) -> Twins | None:
        """An epoch is on record. One that is known is not taken again.

        Returns:
            The trial's twins when it has just become a twin, None otherwise.
        """
        if number < 0 or report.epoch <= self._last.get(number, (0, None))[0]:
            return None
        self._params[number] = dict(params)
        digest = fingerprint(report)
        self._last[number] = (report.epoch, digest)
        if digest is None:
            return None
        alike = self._seen.setdefault((report.epoch, digest), [])
        alike.append(number)
        return self._pair(number, [each for each in alike if each in self._ended and self._ends_at(each, report.epoch)])

    def end(self, number: int, outcome: Outcome) -> Twins | None:
        """A trial has ended. Returns its twins when that makes it one, None otherwise."""
        epoch, digest = self._last.get(number, (0, None))
        if outcome not in _JUDGED or digest is None:
            return None
        self._ended.add(number)
        return self._pair(number, self._seen[epoch, digest])

    def _ends_at(self, number: int, epoch: int) -> bool:
        return self._last[number][0] == epoch

    def _pair(self, number: int, alike: Sequence[int]) -> Twins | None:
        others = [each for each in alike if each != number and self._params[each] != self._params[number]]
        own = self._groups.get(number)
        if not others or (own is not None and own.trials.issuperset(others)):
            return None
        joined = _Group({number}, self._last[number][0])
        for group in (self._groups.get(each, _Group({each}, joined.epochs)) for each in (number, *others)):
            joined = _Group(joined.trials | group.trials, min(joined.epochs, group.epochs))
        self._groups.update(dict.fromkeys(joined.trials, joined))
        return self._twins(joined)

    def _twins(self, group: _Group) -> Twins:
        trials = tuple(sorted(group.trials))
        paths = dict.fromkeys(path for number in trials for path in self._params[number])
        values = {path: tuple(self._params[number].get(path) for number in trials) for path in paths}
        differing = {path: each for path, each in values.items() if any(value != each[0] for value in each)}
        return Twins(trials=trials, epochs=group.epochs, differing=differing)


def fingerprint(report: EpochReport) -> bytes | None:
    """A hash of the losses and scores of an epoch; None when it has no loss, or one that is not finite."""
    compared = {name: value for name, value in sorted(report.metrics.items()) if name.startswith(_COMPARED)}
    losses = [value for name, value in compared.items() if name.startswith("loss/")]
    if not losses or not all(map(math.isfinite, losses)):
        return None
    digest = hashlib.blake2b("\n".join(compared).encode(), digest_size=16)
    digest.update(struct.pack(f"{len(compared)}d", *compared.values()))
    return digest.digest()


def watch_again(
    trials: Iterable[tuple[int, Mapping[str, ParameterValue], Outcome, Iterable[EpochReport]]],
) -> TwinWatch:
    """A watch that has seen these trials: number, parameters, outcome and epochs of each."""
    watch = TwinWatch()
    for number, params, outcome, reports in trials:
        for report in reports:
            watch.take(number, params, report)
        watch.end(number, outcome)
    return watch


@dataclasses.dataclass(frozen=True)
class _Group:
    trials: set[int]
    epochs: int


def _show(value: ParameterValue) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
