"""Which configurations have been tried, and which are left: none is trained twice. No library in here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from distune.config.conditions import Chosen, configurations
from distune.config.space import Choice, Parameter
from distune.records import ParameterValue

MAX_COUNTED = 4096
"""Configurations of a space are counted up to here."""

Signature = tuple[tuple[str, str], ...]


def signature(values: Chosen) -> Signature:
    """Equal for equal configurations: the same paths with the same values, numbers to twelve digits."""
    return tuple(sorted((path, _word(value)) for path, value in values.items()))


class TriedConfigurations:
    """The configurations of a study that have been given out, whatever became of them.

    Args:
        searched: the parameters of the space, resolved.
        configurations: those of all trials so far, also of those that failed: with equal seeds they would fail again.
    """

    def __init__(self, searched: Mapping[str, Parameter], given_out: Iterable[Chosen] = ()) -> None:
        self._varied = searched
        self._signatures = {signature(values) for values in given_out}
        self._is_endless = any(parameter.grid is None for parameter in searched.values())
        self._rest = iter(()) if self._is_endless else configurations(searched)
        self._next = next(self._rest, None)

    def add(self, values: Chosen) -> None:
        """A configuration is given out."""
        self._signatures.add(signature(values))

    def holds(self, values: Chosen) -> bool:
        """Whether a configuration has been given out."""
        return signature(values) in self._signatures

    @property
    def is_exhausted(self) -> bool:
        """Whether the space has no other configuration."""
        # Nothing that was given out comes back, so the search for one that is left goes on where it was: a step per
        # trial on average, however large the space is.
        while self._next is not None and self.holds(self._next):
            self._next = next(self._rest, None)
        return not self._is_endless and self._next is None

    def left(self, given: Chosen) -> list[dict[str, ParameterValue]] | None:
        """The configurations with these values that have not been given out, no more than can be counted.

        Args:
            given: path to value; what is not in the space is passed over.

        Returns:
            None when there is no end of them.
        """
        searched = {path: _narrowed(path, parameter, given) for path, parameter in self._varied.items()}
        if any(parameter.grid is None for parameter in searched.values()):
            return None
        untried = (values for values in configurations(searched) if not self.holds(values))
        return list(itertools.islice(untried, MAX_COUNTED))


def count_configurations(searched: Mapping[str, Parameter]) -> int | None:
    """How many configurations a space has; None when they cannot be counted, or are more than ``MAX_COUNTED``."""
    if any(parameter.grid is None for parameter in searched.values()):
        return None
    count = sum(1 for _ in itertools.islice(configurations(searched), MAX_COUNTED + 1))
    return None if count > MAX_COUNTED else count


def _narrowed(path: str, parameter: Parameter, given: Chosen) -> Parameter:
    if path not in given or not parameter.contains(given[path]):
        return parameter
    return Choice(kind="choice", values=[given[path]], when=parameter.when)


def _word(value: ParameterValue) -> str:
    # A grid's values come out of different sums in Optuna and here, which differ in the last digit.
    if isinstance(value, float):
        return f"{value:.12g}"
    return f"{type(value).__name__} {value}" if isinstance(value, bool | str) or value is None else str(value)
