"""Identical trials: different parameters, the same losses and scores. The parameters that differ had no effect."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distune.config.format_value import format_value
from distune.records import EpochReport, Outcome, ParameterValue

_COMPARED = ("loss/", "search/")
_COMPARED_OUTCOMES = (Outcome.FINISHED, Outcome.STOPPED)
_MAX_SHOWN = 8

Params = Mapping[str, ParameterValue]
_Digest = bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdenticalTrials:
    """A group of trials with different parameters that report identical losses and scores.

    Attributes:
        trials: their numbers, ascending.
        epochs: number of epochs up to which their reports are identical.
        differing: path to the values of each parameter that differs, in the order of ``trials``.
    """

    trials: tuple[int, ...]
    epochs: int
    differing: dict[str, tuple[ParameterValue, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return _describe(self, num_trials=len(self.trials))


class IdenticalTrialsIndex:
    """Finds groups of identical trials among the searched trials that were added.

    Trials may agree in their first epochs, before distillation starts or prototypes exist. Two trials count as
    identical when one of them finished or was stopped, and the reports of the other are the same, bit for bit, up to
    that epoch. Adding a trial costs as much as its epochs, however many trials there are.
    """

    def __init__(self) -> None:
        self._params: dict[int, Params] = {}
        self._with_digest: dict[_Digest, list[int]] = {}
        self._epoch_of_ending: dict[_Digest, int] = {}
        self._groups: dict[_Digest, None] = {}

    @property
    def groups(self) -> list[IdenticalTrials]:
        """All groups, by their first trial."""
        groups = [self._group(digest, self._with_digest[digest]) for digest in self._groups]
        return sorted(groups, key=lambda group: group.trials)

    def add(self, number: int, params: Params, outcome: Outcome, reports: Iterable[EpochReport]) -> str | None:
        """Add a trial.

        Args:
            number: of the trial; controls, which count below 0, are not compared.
            params: its parameters.
            outcome: how it ended, or stands now.
            reports: all its epochs, in order.

        Returns:
            A warning about the group that appeared or grew because of this trial, None when there is none.
        """
        reports = list(reports)
        digests = _digests(reports) if number >= 0 else []
        if not digests:
            return None
        self._params[number] = dict(params)
        for digest in digests:
            self._with_digest.setdefault(digest, []).append(number)
        if outcome in _COMPARED_OUTCOMES and len(digests) == len(reports):
            self._epoch_of_ending.setdefault(digests[-1], reports[-1].epoch)
        group = next((digest for digest in digests if digest in self._epoch_of_ending), None)
        if group is None or not self._differ(self._with_digest[group]):
            return None
        if group not in self._groups:
            # A trial that ended earlier than the members of a group makes it a larger group of fewer epochs.
            members = set(self._with_digest[group])
            for other in [each for each in self._groups if self._with_digest[each][0] in members]:
                del self._groups[other]
            self._groups[group] = None
        return self._describe(group)

    def summary(self, max_characters: int) -> str:
        """Return a line for each group, as many as there is room for, then the number of the others."""
        lines = list[str]()
        room = max_characters - len(_more(len(self._groups))) - 1
        for digest in self._groups:
            line = self._describe(digest)
            if lines and len(line) > room:
                lines.append(_more(len(self._groups) - len(lines)))
                break
            lines.append(line[:room])
            room -= len(line) + 1
        return "\n".join(lines)

    def _differ(self, numbers: Sequence[int]) -> bool:
        first = self._params[numbers[0]]
        return any(self._params[number] != first for number in numbers)

    def _describe(self, digest: _Digest) -> str:
        """Describe a group by its first members and its last one, at a cost that does not grow with the group."""
        members = self._with_digest[digest]
        shown = members if len(members) <= _MAX_SHOWN else [*members[: _MAX_SHOWN - 1], members[-1]]
        return _describe(self._group(digest, shown), num_trials=len(members))

    def _group(self, digest: _Digest, members: Sequence[int]) -> IdenticalTrials:
        trials = tuple(sorted(members))
        paths = dict.fromkeys(path for number in trials for path in self._params[number])
        values = {path: tuple(self._params[number].get(path) for number in trials) for path in paths}
        differing = {path: each for path, each in values.items() if any(value != each[0] for value in each)}
        return IdenticalTrials(trials=trials, epochs=self._epoch_of_ending[digest], differing=differing)


def index_trials(
    trials: Iterable[tuple[int, Params, Outcome, Iterable[EpochReport]]],
) -> IdenticalTrialsIndex:
    """Return an index of these trials: number, parameters, outcome and epochs of each."""
    index = IdenticalTrialsIndex()
    for trial in trials:
        index.add(*trial)
    return index


def fingerprint(report: EpochReport) -> bytes | None:
    """Return a hash of the losses and scores of an epoch; None when it has no loss, or one that is not finite."""
    compared = {name: value for name, value in sorted(report.metrics.items()) if name.startswith(_COMPARED)}
    losses = [value for name, value in compared.items() if name.startswith("loss/")]
    if not losses or not all(map(math.isfinite, losses)):
        return None
    digest = hashlib.blake2b("\n".join(compared).encode(), digest_size=16)
    digest.update(struct.pack(f"{len(compared)}d", *compared.values()))
    return digest.digest()


def _digests(reports: Iterable[EpochReport]) -> list[_Digest]:
    """Return for each epoch a hash of all epochs up to it; it ends before the first epoch without finite losses."""
    digests: list[_Digest] = []
    for report in reports:
        digest = fingerprint(report)
        if digest is None:
            break
        earlier = digests[-1] if digests else b""
        digests.append(hashlib.blake2b(earlier + digest, digest_size=16).digest())
    return digests


def _describe(group: IdenticalTrials, *, num_trials: int) -> str:
    numbers = [str(number) for number in group.trials]
    if num_trials > _MAX_SHOWN:
        numbers = [*numbers[: _MAX_SHOWN - 1], "...", f"{numbers[-1]} ({num_trials} trials)"]
    differing = ", ".join(f"{path} ({_format(values)})" for path, values in group.differing.items())
    return (
        f"trials {', '.join(numbers)} report identical losses and scores up to epoch {group.epochs}, but differ in "
        f"{differing}, which had no effect. To see which settings have one: distune validate EXPERIMENT --probe"
    )


def _format(values: Iterable[ParameterValue]) -> str:
    distinct = [format_value(value, digits=6) for value in dict.fromkeys(values)]
    return ", ".join(distinct if len(distinct) <= _MAX_SHOWN else [*distinct[:_MAX_SHOWN], "..."])


def _more(count: int) -> str:
    return f"and {count} more such groups"
