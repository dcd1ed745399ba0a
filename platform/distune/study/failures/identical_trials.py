"""Notices trials with different parameters that report identical numbers: what they differ in has done nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from distune.records import EpochReport, Outcome, ParameterValue

_COMPARED = ("loss/", "search/")
_JUDGED = (Outcome.FINISHED, Outcome.STOPPED)
_ALL_TOLD = 8
"""Up to so many twins, each new one is told of."""


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
        self._alike: dict[tuple[int, bytes], _Alike] = {}
        self._groups: dict[int, _Group] = {}

    @property
    def groups(self) -> list[Twins]:
        """All twins so far, by their first trial."""
        return [self._twins(group) for group in self._differing()]

    def summary(self, max_characters: int) -> str:
        """All twins so far in words, a line each, as far as there is room; what there is none for is counted.

        It is asked for again and again, so its cost and its length hardly depend on how many twins there are.
        """
        groups, lines = self._differing(), list[str]()
        room = max_characters - len(_more(len(groups))) - 1
        for group in groups:
            line = str(self._twins(group))
            if lines and len(line) > room:
                lines.append(_more(len(groups) - len(lines)))
                break
            lines.append(line[:room])
            room -= len(line) + 1
        return "\n".join(lines)

    def _differing(self) -> list[_Group]:
        distinct = {id(root): root for root in (group.root() for group in self._groups.values())}
        return sorted((group for group in distinct.values() if group.differs), key=lambda group: min(group.trials))

    def take(self, number: int, params: Mapping[str, ParameterValue], report: EpochReport) -> Twins | None:
        """An epoch is on record. One that is known is not taken again.

        Returns:
            The trial's twins when it has just become a twin, None otherwise. Of more than eight twins, only every
            doubling is told: a space in which nothing acts would tell of every trial.
        """
        if number < 0 or report.epoch <= self._last.get(number, (0, None))[0]:
            return None
        self._params[number] = dict(params)
        digest = fingerprint(report)
        self._last[number] = (report.epoch, digest)
        if digest is None:
            return None
        alike = self._alike.setdefault((report.epoch, digest), _Alike())
        alike.waiting.append(number)
        return None if alike.group is None else self._join(alike, report.epoch)

    def end(self, number: int, outcome: Outcome) -> Twins | None:
        """A trial has ended. Returns its twins when that makes it one, None otherwise; see ``take``."""
        epoch, digest = self._last.get(number, (0, None))
        if outcome not in _JUDGED or digest is None:
            return None
        return self._join(self._alike[epoch, digest], epoch)

    def _join(self, alike: _Alike, epoch: int) -> Twins | None:
        """A trial has ended with these numbers, so all who have reported them are one group.

        Each trial is joined once per epoch that it has in common with one that ended there, and the smaller of two
        groups goes into the larger: the cost does not grow with the number of trials.
        """
        group = (alike.group or _Group(epoch)).root()
        size, differed = len(group.trials), group.differs
        group.epochs = min(group.epochs, epoch)
        for number in alike.waiting:
            own = self._groups.setdefault(number, _Group(epoch, [number])).root()
            if own is not group:
                group = group.merge(own, self._params)
        alike.waiting.clear()
        alike.group = group
        is_news = group.differs and (not differed or len(group.trials) != size) and group.is_worth_telling()
        return self._twins(group) if is_news else None

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


class _Group:
    """Trials that report the same numbers. One with ``differs`` is of twins; in the others all parameters are equal."""

    def __init__(self, epochs: int, trials: Iterable[int] = ()) -> None:
        self.epochs, self.trials, self.differs = epochs, list(trials), False
        self._merged_into: _Group | None = None
        self._told = 0

    def root(self) -> _Group:
        """The group that this one has become a part of."""
        group = self
        while group._merged_into is not None:
            group = group._merged_into
        return group

    def merge(self, other: _Group, params: Mapping[int, Mapping[str, ParameterValue]]) -> _Group:
        """Unite two groups. Returns the one that holds both."""
        large, small = (self, other) if len(self.trials) >= len(other.trials) else (other, self)
        large.differs |= small.differs
        if large.trials and small.trials:
            large.differs |= params[large.trials[0]] != params[small.trials[0]]
        large.trials += small.trials
        large.epochs = min(large.epochs, small.epochs)
        large._told = max(large._told, small._told)
        small._merged_into = large
        return large

    def is_worth_telling(self) -> bool:
        """Whether there is much more to tell than before; then it counts as told."""
        size = len(self.trials)
        if size > _ALL_TOLD and size < 2 * self._told:
            return False
        self._told = size
        return True


class _Alike:
    """Trials with the same numbers in an epoch: those that wait for one to end with it, and those united since."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.group: _Group | None = None


def _more(count: int) -> str:
    return f"and {count} more such groups"


def _show(value: ParameterValue) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
