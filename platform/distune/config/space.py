"""The search space: which paths of an experiment may vary, how, and when."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distune.config.base import Settings
from distune.records import ParameterValue

_GRID_TOLERANCE = 1e-8
"""In steps; as Optuna has it."""

Condition = dict[str, ParameterValue | list[ParameterValue]]
"""Path of another parameter to the value, or the values, that it must have. All must hold."""


class FloatRange(Settings):
    """A real number between two bounds, both included."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False
    """Sample evenly in the logarithm."""
    step: float | None = Field(None, gt=0)
    when: Condition = {}
    """The parameter is only chosen where this holds; elsewhere the experiment's own value stays."""

    @model_validator(mode="after")
    def _in_order(self) -> FloatRange:
        _check_range(self.low, self.high, log=self.log, step=self.step)
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """Values at which the whole range is checked against the experiment's schema."""
        return (self.low, last_on_grid(self))

    @property
    def grid(self) -> tuple[ParameterValue, ...] | None:
        """All values that can be sampled, None when they cannot be counted."""
        if self.step is None:
            return None
        low, high, step = (as_written(value) for value in (self.low, self.high, self.step))
        return tuple(float(low + number * step) for number in range(int((high - low) // step) + 1))

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < _GRID_TOLERANCE


class IntRange(Settings):
    """A whole number between two bounds, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False
    """Sample evenly in the logarithm."""
    step: int = Field(1, ge=1)
    when: Condition = {}
    """The parameter is only chosen where this holds; elsewhere the experiment's own value stays."""

    @model_validator(mode="after")
    def _in_order(self) -> IntRange:
        _check_range(self.low, self.high, log=self.log, step=None if self.step == 1 else self.step)
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """Values at which the whole range is checked against the experiment's schema."""
        return (self.low, range(self.low, self.high + 1, self.step)[-1])

    @property
    def grid(self) -> tuple[ParameterValue, ...] | None:
        """All values that can be sampled."""
        return tuple(range(self.low, self.high + 1, self.step))

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )


class Choice(Settings):
    """One of several values; of a single one, it says what the path is fixed to."""

    kind: Literal["choice"]
    values: Annotated[list[ParameterValue], Field(min_length=1)]
    when: Condition = {}
    """The parameter is only chosen where this holds; elsewhere the experiment's own value stays."""

    @model_validator(mode="after")
    def _no_repeats(self) -> Choice:
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"values = {self.values} names a value twice")
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """Values at which the whole range is checked against the experiment's schema."""
        return tuple(self.values)

    @property
    def grid(self) -> tuple[ParameterValue, ...] | None:
        """All values that can be sampled."""
        return tuple(self.values)

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        return any(type(value) is type(known) and value == known for known in self.values)


Parameter = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class SearchSpace(Settings):
    """Dotted paths of an experiment, each with what it may be. A plain value fixes its path: ``path: value``."""

    name: str
    description: str = ""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]

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
        """Plain data; loading it gives an equal space."""
        values = self.model_dump(mode="json")
        for parameter in values["parameters"].values():
            if not parameter["when"]:
                del parameter["when"]
        return values


def last_on_grid(parameter: FloatRange | IntRange) -> float:
    """The upper bound, or the last value before it that whole steps from the lower bound reach."""
    if parameter.step is None:
        return parameter.high
    low, high, step = (as_written(value) for value in (parameter.low, parameter.high, parameter.step))
    return float(low + (high - low) // step * step)


def as_written(value: float) -> Decimal:
    """The number as it was written: 0.3 - 0.1 is 0.2 then."""
    return Decimal(str(value))


def _check_range(low: float, high: float, *, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low = {low:g} must not be more than high = {high:g}: the range is upside down")
    if low == high:
        raise ValueError(f"low and high are both {low:g}; write the value alone where it does not vary")
    if log and low <= 0:
        raise ValueError(f"low = {low:g} must be more than 0 when log is true")
    if step is not None and as_written(step) > as_written(high) - as_written(low):
        raise ValueError(f"step = {step:g} leaves nothing but {low:g}; write the value alone where it does not vary")
    if log and step is not None:
        raise ValueError("step cannot be combined with log")
