"""Conditions between the parameters of a search space: which are active under which values of others. Pure functions.

A parameter is active when all its conditions hold. An inactive parent has no value, so no condition on it holds. Paths
that are fixed, or are not in the space, have one value in the whole study: conditions on them are resolved once.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from distune.config.format_value import format_value
from distune.config.problems import suggest
from distune.config.space import Choice, Parameter
from distune.records import ParameterValue

Chosen = Mapping[str, ParameterValue]
"""Path to the value chosen for it."""

_Parameters = Mapping[str, Parameter]
_Conditions = Mapping[str, ParameterValue | list[ParameterValue]]


def is_active(parameter: Parameter, chosen: Chosen) -> bool:
    """Return whether a parameter gets a value, given the values chosen before it."""
    return all(
        parent in chosen and any(_equal(chosen[parent], value) for value in _values(wanted))
        for parent, wanted in parameter.when.items()
    )


def resolve(parameters: _Parameters, constants: Chosen) -> tuple[dict[str, Parameter], dict[str, str]]:
    """Resolve the conditions of a space on constants.

    Args:
        parameters: of the space; ``condition_problems`` finds no problem in them.
        constants: paths with one value in the whole study, among them all parents that are not in the space.

    Returns:
        The parameters that trials choose, parents before children, with conditions on each other only; and the paths
        that are never active, each with the reason.
    """
    left: dict[str, Parameter] = {}
    inactive: dict[str, str] = {}
    for path in _parents_first(parameters):
        parameter = parameters[path]
        if path in constants:
            continue
        when = {}
        for parent, wanted in parameter.when.items():
            if parent in inactive:
                inactive[path] = f"{parent} is inactive"
            elif parent not in constants:
                possible = [value for value in _values(wanted) if parameters[parent].contains(value)]
                when[parent] = wanted if len(possible) == len(_values(wanted)) else possible
                if not possible:
                    inactive[path] = f"{parent} is {format_value(parameters[parent].extremes[0])}"
            elif not any(_equal(constants[parent], value) for value in _values(wanted)):
                inactive[path] = f"{parent} is {format_value(constants[parent])}"
        if path not in inactive:
            left[path] = parameter.model_copy(update={"when": when})
    return left, inactive


def example(parameters: _Parameters, path: str) -> dict[str, ParameterValue] | None:
    """Return values of other parameters with which a parameter is active; None when there are none."""
    return _satisfy(parameters, parameters[path].when)


def examples(parameters: _Parameters, path: str) -> list[dict[str, ParameterValue]]:
    """Return an ``example`` for each value that a condition names, where there is one."""
    when = parameters[path].when
    each = [{**when, parent: value} for parent, wanted in when.items() for value in _values(wanted)]
    found = [_satisfy(parameters, conditions) for conditions in each or [{}]]
    return [values for values in found if values is not None]


def configurations(parameters: _Parameters) -> Iterator[dict[str, ParameterValue]]:
    """Yield all configurations of a resolved space whose parameters all have a grid."""
    return _extend({}, list(parameters), parameters)


def constant_values(parameters: _Parameters) -> dict[str, ParameterValue]:
    """Return the value of each path that has a single one and no condition."""
    return {
        path: parameter.values[0]
        for path, parameter in parameters.items()
        if isinstance(parameter, Choice) and len(parameter.values) == 1 and not parameter.when
    }


def describe_condition(parameter: Parameter) -> str:
    """Return a condition as text, empty when there is none."""
    return " and ".join(
        f"{parent} is {' or '.join(map(format_value, _values(wanted)))}" for parent, wanted in parameter.when.items()
    )


def condition_problems(parameters: _Parameters, setting: Callable[[str], Any]) -> list[str]:
    """Check the conditions of a space for unknown parents, impossible values and circles.

    Args:
        parameters: of the space.
        setting: returns the experiment's value of a path; raises ``KeyError`` where there is none.

    Returns:
        A line for each problem, path first.
    """
    found = []
    for path, parameter in parameters.items():
        for parent, wanted in parameter.when.items():
            found += [f"{path}  when {line}" for line in _parent_problems(parent, _values(wanted), parameters, setting)]
    found += [f"{path}  when {' -> '.join(circle)} is a circle" for path, circle in _circles(parameters)]
    if not found:
        inner = {path: _between_parameters(parameter, parameters) for path, parameter in parameters.items()}
        found = [
            f"{path}  when {describe_condition(parameters[path])} is impossible: the conditions exclude each other"
            for path in parameters
            if example(inner, path) is None
        ]
    return found


def _parent_problems(
    parent: str,
    wanted: tuple[ParameterValue, ...],
    parameters: _Parameters,
    setting: Callable[[str], Any],
) -> list[str]:
    if parent in parameters and len(parameters[parent].extremes) == 1:
        return (
            [] if wanted else [f"{parent} has an empty list of values"]
        )  # fixed: a condition on another value is inactive, which is fine
    if parent in parameters:
        impossible = [value for value in wanted if not parameters[parent].contains(value)]
        lines = [
            f"{parent} is {format_value(value)} is impossible: the space does not have that value"
            for value in impossible
        ]
        return lines or ([] if wanted else [f"{parent} has an empty list of values"])
    try:
        value = setting(parent)
    except KeyError:
        return [f"{parent} is neither a parameter of the space nor a setting; {suggest(parent, list(parameters))}"]
    return [f"{parent} is a group of settings; name one of them"] if isinstance(value, Mapping) else []


def _between_parameters(parameter: Parameter, parameters: _Parameters) -> Parameter:
    when = {parent: wanted for parent, wanted in parameter.when.items() if parent in parameters}
    return parameter.model_copy(update={"when": when})


def _circles(parameters: _Parameters) -> Iterator[tuple[str, list[str]]]:
    """Yield a shortest circle through each parameter that is in one, each circle once, from its first parameter on."""
    parents = {path: [each for each in parameter.when if each in parameters] for path, parameter in parameters.items()}
    try:
        TopologicalSorter(parents).prepare()
    except CycleError:
        found: set[frozenset[str]] = set()
        for start in parameters:
            circle = _circle(parents, start)
            if circle is not None and frozenset(circle) not in found:
                found.add(frozenset(circle))
                yield start, circle


def _circle(parents: Mapping[str, list[str]], start: str) -> list[str] | None:
    """Return a shortest way from a parameter through its parents back to it, None when there is none."""
    children: dict[str, str] = {}
    ahead = deque([start])
    while ahead:
        path = ahead.popleft()
        for parent in parents[path]:
            if parent not in children:
                children[parent] = path
                ahead.append(parent)
        if start in children:
            way = [start, children[start]]
            while way[-1] != start:
                way.append(children[way[-1]])
            return way[::-1]
    return None


def _parents_first(parameters: _Parameters) -> list[str]:
    order: dict[str, None] = {}

    def visit(path: str) -> None:
        if path in order:
            return
        for parent in parameters[path].when:
            if parent in parameters:
                visit(parent)
        order[path] = None

    for path in parameters:
        visit(path)
    return list(order)


def _satisfy(parameters: _Parameters, conditions: _Conditions) -> dict[str, ParameterValue] | None:
    """Return values under which all conditions hold, those of their parents included; None when there are none.

    Every condition must hold, so a parent may have the values that all conditions on it name.
    """
    allowed: dict[str, tuple[ParameterValue, ...]] = {}

    def require(conditions: _Conditions) -> None:
        for parent, wanted in conditions.items():
            values, is_new = _values(wanted), parent not in allowed
            before = allowed.get(parent, values)
            allowed[parent] = tuple(value for value in before if any(_equal(value, each) for each in values))
            if is_new:
                require(parameters[parent].when)

    require(conditions)
    return {parent: values[0] for parent, values in allowed.items()} if all(allowed.values()) else None


def _extend(
    chosen: dict[str, ParameterValue], rest: list[str], parameters: _Parameters
) -> Iterator[dict[str, ParameterValue]]:
    if not rest:
        yield chosen
        return
    parameter = parameters[rest[0]]
    if not is_active(parameter, chosen):
        yield from _extend(chosen, rest[1:], parameters)
        return
    grid = parameter.grid
    assert grid is not None, rest[0]
    yield from itertools.chain.from_iterable(
        _extend({**chosen, rest[0]: value}, rest[1:], parameters) for value in grid
    )


def _values(wanted: ParameterValue | list[ParameterValue]) -> tuple[ParameterValue, ...]:
    return tuple(wanted) if isinstance(wanted, list) else (wanted,)


def _equal(first: ParameterValue, second: ParameterValue) -> bool:
    return isinstance(first, bool) == isinstance(second, bool) and first == second
