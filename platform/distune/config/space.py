"""The search space: which paths of an experiment may vary, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from distune.config.base import Settings
from distune.records import ParameterValue


class FloatRange(Settings):
    """A real number between two bounds, both included."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False
    """Sample evenly in the logarithm."""
    step: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> FloatRange:
        _check_range(self.low, self.high, log=self.log, has_step=self.step is not None)
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """Values at which the whole range is checked against the experiment's schema."""
        return (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


class IntRange(Settings):
    """A whole number between two bounds, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False
    """Sample evenly in the logarithm."""
    step: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> IntRange:
        _check_range(self.low, self.high, log=self.log, has_step=self.step != 1)
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """Values at which the whole range is checked against the experiment's schema."""
        return (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )


class Choice(Settings):
    """One of several values."""

    kind: Literal["choice"]
    values: Annotated[list[ParameterValue], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_repeats(self) -> Choice:
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise ValueError(f"values = {self.values} names a value twice")
        return self

    @property
    def extremes(self) -> tuple[ParameterValue, ...]:
        """Values at which the whole range is checked against the experiment's schema."""
        return tuple(self.values)

    def contains(self, value: Any) -> bool:
        """Whether the value can be sampled."""
        return any(type(value) is type(known) and value == known for known in self.values)


Parameter = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


class SearchSpace(Settings):
    """Dotted paths of an experiment, each with what it may be."""

    name: str
    description: str = ""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; loading it gives an equal space."""
        return self.model_dump(mode="json")


def _check_range(low: float, high: float, *, log: bool, has_step: bool) -> None:
    if low > high:
        raise ValueError(f"low = {low:g} must not be more than high = {high:g}: the range is upside down")
    if low == high:
        raise ValueError(f"low and high are both {low:g}; a value that does not vary belongs in search.fixed")
    if log and low <= 0:
        raise ValueError(f"low = {low:g} must be more than 0 when log is true")
    if log and has_step:
        raise ValueError("step cannot be combined with log")
