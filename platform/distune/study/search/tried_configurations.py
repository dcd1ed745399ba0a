"""The configurations of a space that were tried, and those that were not. Independent of Optuna."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from distune.config.conditions import Chosen, configurations
from distune.config.space import Choice, Parameter
from distune.records import ParameterValue

MAX_COUNTED = 4096
"""Configurations of a space are counted up to this number."""

Signature = tuple[tuple[str, str], ...]


def signature(values: Chosen) -> Signature:
    """Return a key that is equal for equal configurations: same paths, same values, floats to twelve digits."""
    return tuple(sorted((path, _value_text(value)) for path, value in values.items()))


class TriedConfigurations:
    """The configurations of a study that were given to trials, whatever the outcome.

    Args:
        searched: the parameters of the space, path to parameter.
        tried: the configurations of all trials so far. Failed trials count: with equal seeds they would fail again.
    """

    def __init__(self, searched: Mapping[str, Parameter], tried: Iterable[Chosen] = ()) -> None:
        self._searched = searched
        self._signatures = {signature(values) for values in tried}
        self._is_infinite = any(parameter.grid is None for parameter in searched.values())
        self._remaining = iter(()) if self._is_infinite else configurations(searched)
        self._next = next(self._remaining, None)

    def __contains__(self, values: Chosen) -> bool:
        return signature(values) in self._signatures

    def add(self, values: Chosen) -> None:
        """Mark a configuration as tried."""
        self._signatures.add(signature(values))

    @property
    def is_exhausted(self) -> bool:
        """True when all configurations of the space were tried."""
        # Tried configurations stay tried, so the search continues where it stopped: one step per trial on average,
        # however large the space is.
        while self._next is not None and self._next in self:
            self._next = next(self._remaining, None)
        return not self._is_infinite and self._next is None

    def untried(self, values: Chosen) -> list[dict[str, ParameterValue]] | None:
        """Return the untried configurations that have the given values, ``MAX_COUNTED`` at most.

        Args:
            values: path to value; values that are not in the space are ignored.

        Returns:
            None when there are infinitely many.
        """
        searched = {path: _restrict(path, parameter, values) for path, parameter in self._searched.items()}
        if any(parameter.grid is None for parameter in searched.values()):
            return None
        untried = (each for each in configurations(searched) if each not in self)
        return list(itertools.islice(untried, MAX_COUNTED))


def count_configurations(searched: Mapping[str, Parameter]) -> int | None:
    """Return the number of configurations of a space; None when infinite, or greater than ``MAX_COUNTED``."""
    if any(parameter.grid is None for parameter in searched.values()):
        return None
    count = sum(1 for _ in itertools.islice(configurations(searched), MAX_COUNTED + 1))
    return None if count > MAX_COUNTED else count


def _restrict(path: str, parameter: Parameter, values: Chosen) -> Parameter:
    if path not in values or not parameter.contains(values[path]):
        return parameter
    return Choice(kind="choice", values=[values[path]], when=parameter.when)


def _value_text(value: ParameterValue) -> str:
    # Optuna and `configurations` compute the values of a grid from different sums, which differ in the last digit.
    if isinstance(value, float):
        return f"{value:.12g}"
    return f"{type(value).__name__} {value}" if isinstance(value, bool | str) or value is None else str(value)
