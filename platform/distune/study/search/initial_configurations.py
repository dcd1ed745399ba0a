"""The configurations that a study tries first: the experiment's own values, then those that its settings list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from distune.config.conditions import is_active
from distune.config.experiment import Experiment
from distune.config.format_value import format_value
from distune.config.paths import get_path, with_paths
from distune.config.renamed import current_path, current_values, offered_value
from distune.config.space import Choice, FloatRange, IntRange, Parameter, as_written, last_on_grid
from distune.records import ParameterValue

DEFAULTS_ORIGIN = "the experiment's own values"


class InitialConfiguration(NamedTuple):
    """A configuration that is tried before the sampler proposes.

    Attributes:
        origin: where it comes from, for the user: ``DEFAULTS_ORIGIN``, or the path of a setting.
        values: path to value; may leave out parameters, which the sampler then chooses.
        messages: for the user, one for each value that differs from the one that was asked for.
    """

    origin: str
    values: dict[str, ParameterValue]
    messages: list[str]


def initial_configurations(experiment: Experiment, searched: Mapping[str, Parameter]) -> Iterator[InitialConfiguration]:
    """Yield the configurations to try before the sampler proposes, in order."""
    if experiment.search.defaults_first:
        yield InitialConfiguration(DEFAULTS_ORIGIN, *default_values(experiment, searched))
    for index, values in enumerate(experiment.search.initial_configurations):
        yield InitialConfiguration(f"search.initial_configurations[{index}]", dict(values), [])


def default_values(
    experiment: Experiment, searched: Mapping[str, Parameter]
) -> tuple[dict[str, ParameterValue], list[str]]:
    """Return the experiment's value of each active searched path, or the nearest value in the space.

    A number outside its range is moved to the nearest value in the range. Left to the sampler are values that are no
    number or not one of the choices, the parameters that depend on them, and settings that belong to a fixed kind other
    than the experiment's own, since the experiment has no value for them.

    Args:
        experiment: the experiment.
        searched: path to parameter, parents before children.

    Returns:
        Path to value, and a message for each path whose value is not the experiment's own.
    """
    values = with_paths(experiment.to_dict(), current_values(experiment.search.fixed))
    chosen: dict[str, ParameterValue] = {}
    messages: list[str] = []
    for path, parameter in searched.items():
        if not is_active(parameter, chosen):
            continue
        try:
            value = get_path(values, current_path(path))
        except KeyError:
            messages.append(f"{path} has no value in the experiment; the sampler chooses its first value")
            continue
        if isinstance(parameter, Choice):
            value = offered_value(path, value, parameter.values)
            fits = parameter.contains(value)
            nearest = value
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            nearest = _nearest(parameter, value) if fits else None
        if not fits:
            messages.append(
                f"{path} = {format_value(value)} is not in the search space; the sampler chooses its first value"
            )
            continue
        chosen[path] = nearest
        if nearest != value:
            messages.append(
                f"{path} = {format_value(value)} is not in the search space; "
                f"the first trial has {format_value(nearest)}"
            )
    return chosen, messages


def _nearest(parameter: FloatRange | IntRange, value: float) -> float | int:
    high = last_on_grid(parameter)
    inside = min(max(value, parameter.low), high)
    if parameter.step is not None:
        low, step = as_written(parameter.low), as_written(parameter.step)
        steps = ((as_written(inside) - low) / step).to_integral_value()
        inside = float(low + steps * step)
    return round(inside) if isinstance(parameter, IntRange) else float(inside)
