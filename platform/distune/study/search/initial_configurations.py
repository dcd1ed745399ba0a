"""The configurations that a study tries first: the experiment's own values, then those that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from distune.config.conditions import is_active
from distune.config.experiment import Experiment
from distune.config.paths import get_path, with_paths
from distune.config.renamed import current_path, current_values, offered_value
from distune.config.space import Choice, FloatRange, IntRange, Parameter, as_written, last_on_grid
from distune.records import ParameterValue

OWN_VALUES = "the experiment's own values"


def first_configurations(
    experiment: Experiment, searched: Mapping[str, Parameter]
) -> Iterator[tuple[str, dict[str, ParameterValue], list[str]]]:
    """What is tried before the sampler proposes, in order.

    Yields:
        Where a configuration comes from, in words of its own; its values, as far as they are given; and a line for each
        thing that a person should know about it.
    """
    if experiment.search.defaults_first:
        yield OWN_VALUES, *default_values(experiment, searched)
    for index, values in enumerate(experiment.search.initial_configurations):
        yield f"search.initial_configurations[{index}]", dict(values), []


def default_values(
    experiment: Experiment, searched: Mapping[str, Parameter]
) -> tuple[dict[str, ParameterValue], list[str]]:
    """The experiment's value of each searched path that acts, as near as the space allows.

    A number outside its range is moved to the nearest value in it. A value that is no number, or not one of the
    choices, is left out, and the sampler chooses for it and for what depends on it. So is a setting of a fixed kind
    that is not the experiment's own: it has no value there.

    Args:
        experiment: the experiment.
        searched: what may be chosen, parents before children.

    Returns:
        Path to value, and a line for each path whose value is not the experiment's own.
    """
    values = with_paths(experiment.to_dict(), current_values(experiment.search.fixed))
    chosen: dict[str, ParameterValue] = {}
    messages: list[str] = []
    for path, parameter in searched.items():
        if not is_active(parameter, chosen):
            continue
        try:
            own = get_path(values, current_path(path))
        except KeyError:
            messages.append(f"{path} has no value of the experiment's own; the sampler chooses its first value")
            continue
        if isinstance(parameter, Choice):
            own = offered_value(path, own, parameter.values)
            fits = parameter.contains(own)
            nearest = own
        else:
            fits = isinstance(own, int | float) and not isinstance(own, bool)
            nearest = _nearest(parameter, own) if fits else None
        if not fits:
            messages.append(f"{path} = {own} is not in the search space; the sampler chooses its first value")
            continue
        chosen[path] = nearest
        if nearest != own:
            messages.append(f"{path} = {own} is not in the search space; its first trial has {nearest}")
    return chosen, messages


def _nearest(parameter: FloatRange | IntRange, value: float) -> float | int:
    high = last_on_grid(parameter)
    inside = min(max(value, parameter.low), high)
    if parameter.step is not None:
        low, step = as_written(parameter.low), as_written(parameter.step)
        steps = ((as_written(inside) - low) / step).to_integral_value()
        inside = float(low + steps * step)
    return round(inside) if isinstance(parameter, IntRange) else float(inside)
