"""The search space: the settings of an experiment that trials choose, and their ranges and conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distune.config.base import Settings
from distune.records import ParameterValue

_GRID_TOLERANCE = 1e-8
"""In steps, as in Optuna."""

MAX_PARAMETERS = 256
MAX_CONDITIONS = 8
MAX_CHOICES = 1000
MAX_STEPS = 100_000
"""Values of a range with steps."""
_MAX_INTEGER = 2**53
"""Whole numbers up to this are exact in Optuna, which keeps floating-point numbers."""

Condition = Annotated[dict[str, ParameterValue | list[ParameterValue]], Field(max_length=MAX_CONDITIONS)]
"""Path of another setting to the value that it must have, or to a list of such values. All entries must hold."""


class FloatRange(Settings):
    """A real number between two bounds, both included."""

    kind: Literal["float"] = "float"
    low: float
    """The lower bound, included."""
    high: float
    """The upper bound, included; it must be more than ``low``."""
    log: bool = False
    """Sample uniformly in the logarithm."""
    step: float | None = Field(None, gt=0)
    """Sample only ``low + k * step``; null samples any number. Not with ``log``."""
    when: Condition = {}
    """The parameter is only searched where this holds; elsewhere the experiment's value is used."""

    @model_validator(mode="after")
    def _check_bounds(self) -> FloatRange:
        _check_range(self.low, self.high, log=self.log, step=self.step)
        if math.isinf(self.high - self.low):
            raise ValueError(f"the range from low = {self.low:g} to high = {self.high:g} is too large")
        if self.step is not None and (self.high - self.low) / self.step > MAX_STEPS:
            raise ValueError(
                f"step = {self.step:g} gives more than {MAX_STEPS} values; leave it out to sample any number"
            )
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """The values that are checked against the experiment's schema."""
        return (self.low, last_on_grid(self))

    @property
    def grid(self) -> Sequence[ParameterValue] | None:
        """All values that can be sampled; None for a continuous range."""
        if self.step is None:
            return None
        low, high, step = (as_written(value) for value in (self.low, self.high, self.step))
        return tuple(float(low + number * step) for number in range(int((high - low) // step) + 1))

    def contains(self, value: Any) -> bool:
        """Return whether the value can be sampled."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < _GRID_TOLERANCE


class IntRange(Settings):
    """A whole number between two bounds, both included."""

    kind: Literal["int"] = "int"
    low: int = Field(ge=-_MAX_INTEGER, le=_MAX_INTEGER)
    """The lower bound, included."""
    high: int = Field(ge=-_MAX_INTEGER, le=_MAX_INTEGER)
    """The upper bound, included; it must be more than ``low``."""
    log: bool = False
    """Sample uniformly in the logarithm."""
    step: int = Field(1, ge=1, le=_MAX_INTEGER)
    """Sample only ``low + k * step``. Not with ``log``, unless it is 1."""
    when: Condition = {}
    """The parameter is only searched where this holds; elsewhere the experiment's value is used."""

    @model_validator(mode="after")
    def _check_bounds(self) -> IntRange:
        _check_range(self.low, self.high, log=self.log, step=None if self.step == 1 else self.step)
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """The values that are checked against the experiment's schema."""
        return (self.low, range(self.low, self.high + 1, self.step)[-1])

    @property
    def grid(self) -> Sequence[ParameterValue] | None:
        """All values that can be sampled."""
        return range(self.low, self.high + 1, self.step)

    def contains(self, value: Any) -> bool:
        """Return whether the value can be sampled."""
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )


class Choice(Settings):
    """One of several values. A single value fixes its path."""

    kind: Literal["choice"] = "choice"
    values: Annotated[list[ParameterValue], Field(min_length=1, max_length=MAX_CHOICES)]
    """The values to choose from: text, numbers, ``true``, ``false`` or ``null``."""
    when: Condition = {}
    """The parameter is only searched where this holds; elsewhere the experiment's value is used."""

    @model_validator(mode="after")
    def _no_repeats(self) -> Choice:
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"values = {self.values} has a value twice")
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """The values that are checked against the experiment's schema."""
        return tuple(self.values)

    @property
    def grid(self) -> Sequence[ParameterValue] | None:
        """All values that can be sampled."""
        return tuple(self.values)

    def contains(self, value: Any) -> bool:
        """Return whether the value can be sampled."""
        return any(type(value) is type(known) and value == known for known in self.values)


Parameter = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class SearchSpace(Settings):
    """The settings that are searched, and their ranges."""

    name: str
    """The name of the space, for messages."""
    description: str = ""
    """A sentence about the space."""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1, max_length=MAX_PARAMETERS)]
    """Dotted path of a setting, such as ``distillation.decay``, to its range. A plain value fixes the path."""

    @model_validator(mode="before")
    @classmethod
    def _plain_values_are_fixed(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("parameters"), Mapping):
            return values
        given = values["parameters"].items()
        plain = {path: value for path, value in given if isinstance(value, str | int | float)}
        choices = {path: {"kind": "choice", "values": [value]} for path, value in plain.items()}
        return {**values, "parameters": {**values["parameters"], **choices}}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; loading it gives an equal space."""
        values = self.model_dump(mode="json")
        for parameter in values["parameters"].values():
            if not parameter["when"]:
                del parameter["when"]
        return values


def last_on_grid(parameter: FloatRange | IntRange) -> float:
    """Return the largest value that can be sampled."""
    if parameter.step is None:
        return parameter.high
    low, high, step = (as_written(value) for value in (parameter.low, parameter.high, parameter.step))
    return float(low + (high - low) // step * step)


def as_written(value: float) -> Decimal:
    """Return a number as it was written, so that 0.3 - 0.1 is 0.2."""
    return Decimal(str(value))


def _check_range(low: float, high: float, *, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low = {low:g} must be less than high = {high:g}")
    if low == high:
        raise ValueError(f"low and high are both {low:g}; to fix the value, write it instead of the range")
    if log and low <= 0:
        raise ValueError(f"low = {low:g} must be more than 0 when log is true")
    if step is not None and as_written(step) > as_written(high) - as_written(low):
        raise ValueError(
            f"step = {step:g} is larger than the range; to fix the value {low:g}, write it instead of the range"
        )
    if log and step is not None:
        raise ValueError("step cannot be used with log")
