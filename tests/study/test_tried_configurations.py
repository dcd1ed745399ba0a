"""The configurations of a space that were tried, and those that are left."""

from __future__ import annotations

from distune.config.space import Choice, FloatRange, IntRange, Parameter
from distune.study.search.tried_configurations import TriedConfigurations, count_configurations, signature


def test_counting_configurations() -> None:
    choice = Choice(kind="choice", values=["a", "b"])
    steps = FloatRange(kind="float", low=0.0, high=1.0, step=0.3)
    child = IntRange(kind="int", low=1, high=9, step=2, when={"choice": "a"})
    parameters: dict[str, Parameter] = {"choice": choice, "steps": steps, "child": child}
    assert count_configurations(parameters) == 4 * (5 + 1)
    assert count_configurations({**parameters, "x": FloatRange(kind="float", low=0.0, high=1.0)}) is None
    assert count_configurations({str(n): IntRange(kind="int", low=0, high=99) for n in range(3)}) is None


def test_numbers_that_differ_only_in_the_last_digit_are_equal() -> None:
    tried = TriedConfigurations({"x": FloatRange(kind="float", low=0.1, high=0.7, step=0.2)}, [{"x": 0.1 + 0.2}])
    assert {"x": 0.3} in tried
    assert {"x": 0.5} not in tried
    assert signature({"x": 1}) != signature({"x": True})
    assert signature({"x": "1"}) != signature({"x": 1})
    tried.add({"x": 0.1})
    tried.add({"x": 0.5})
    assert not tried.is_exhausted
    assert tried.untried({}) == [{"x": 0.7}]
    tried.add({"x": 0.7000000000000001})
    assert tried.is_exhausted


def test_configurations_outside_the_space_do_not_exhaust_it() -> None:
    tried = TriedConfigurations({"x": IntRange(kind="int", low=1, high=2)}, [{"x": 7}, {"x": 8}, {"x": 1}])
    assert not tried.is_exhausted
    assert tried.untried({}) == [{"x": 2}]
