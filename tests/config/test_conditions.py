"""Parameters that depend on others: which are active, what is refused, and what is fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distune.cli.options import load
from distune.config.conditions import condition_problems, configurations, example, is_active, resolve
from distune.config.load import LoadedExperiment, experiment_from_dict, trial_experiment
from distune.config.paths import get_path, merge
from distune.config.space import Parameter, SearchSpace
from distune.errors import ConfigError, UsageError
from distune.records import ParameterValue

EXPERIMENT: dict[str, Any] = {
    "name": "mine",
    "data": {"kind": "shapes"},
    "teacher": {"family": "retinanet", "backbone": "resnet18"},
    "teacher_training": {"epochs": 2},
    "student": {"family": "retinanet", "backbone": "resnet10"},
}
SELECTOR, ALPHA = "distillation.prototypes.selector", "distillation.prototypes.alpha"
UNIQUE, DECAY = "distillation.prototypes.unique", "distillation.decay"
DENSITY = "distillation.prototypes.density_quantile"
SPACE: dict[str, Any] = {
    ALPHA: {"kind": "float", "low": 0.1, "high": 100.0, "log": True, "when": {SELECTOR: ["pursuit", "orthogonal"]}},
    UNIQUE: {"kind": "choice", "values": [True, False], "when": {SELECTOR: "pursuit"}},
    SELECTOR: {"kind": "choice", "values": ["pursuit", "orthogonal", "kmeans", "random"]},
}


def loaded(parameters: dict[str, Any] = SPACE, **changes: Any) -> LoadedExperiment:
    values = merge(EXPERIMENT, changes)
    return experiment_from_dict(values, source="test", space={"name": "given", "parameters": parameters})


def problem(parameters: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(parameters, **changes)
    return " ".join(str(caught.value).split())


def get_path_of_nothing(path: str) -> ParameterValue:
    raise KeyError(path)


def grid(**when: dict[str, ParameterValue | list[ParameterValue]]) -> dict[str, Parameter]:
    """Parameters of two values, 0 and 1, with conditions."""
    plain = {name: {"kind": "int", "low": 0, "high": 1, "when": condition} for name, condition in when.items()}
    return SearchSpace.model_validate({"name": "grid", "parameters": plain}).parameters


def test_parents_come_first_and_children_are_active_with_their_values() -> None:
    searched = loaded().searched
    assert list(searched) == [SELECTOR, ALPHA, UNIQUE]
    assert is_active(searched[ALPHA], {SELECTOR: "orthogonal"})
    assert not is_active(searched[UNIQUE], {SELECTOR: "orthogonal"})
    assert not is_active(searched[ALPHA], {SELECTOR: "kmeans"})
    assert not is_active(searched[ALPHA], {})


def test_every_configuration_of_the_space_is_a_valid_trial() -> None:
    """Without conditions, half of these configurations would be refused."""
    experiment = loaded().experiment
    narrow = {**SPACE, ALPHA: {"kind": "choice", "values": [1.0, 20.0], "when": SPACE[ALPHA]["when"]}}
    found = list(configurations(loaded(narrow).searched))
    assert len(found) == 2 * 2 + 2 + 1 + 1
    for params in found:
        values = trial_experiment(experiment, params)
        assert get_path(values, SELECTOR) == params[SELECTOR]
        assert get_path(values, ALPHA) == params.get(ALPHA, 10.0), "where it is inactive, the experiment's value stays"


def test_a_child_of_a_child_needs_both() -> None:
    searched = resolve(grid(a={}, b={"a": 1}, c={"b": 0}, d={"a": 0, "b": 1}), {})[0]
    assert example(searched, "c") == {"a": 1, "b": 0}
    assert example(searched, "d") is None
    found = list(configurations({path: searched[path] for path in "abc"}))
    assert found == [{"a": 0}, {"a": 1, "b": 0, "c": 0}, {"a": 1, "b": 0, "c": 1}, {"a": 1, "b": 1}]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (
            {"distillation.prototypes.selectr": "pursuit"},
            'neither a parameter of the space nor a setting; did you mean "dist',
        ),
        ({SELECTOR: "greedy"}, "selector is greedy is impossible: the space does not have that value"),
        ({SELECTOR: []}, "selector has an empty list of values"),
        ({"distillation.prototypes": "pursuit"}, "is a group of settings"),
        ({UNIQUE: True}, f"{UNIQUE} -> {ALPHA}"),
        ({ALPHA: 1.0}, "is a circle"),
    ],
)
def test_invalid_conditions(when: dict[str, Any], expected: str) -> None:
    parameters = {
        **SPACE,
        ALPHA: {"kind": "float", "low": 0.1, "high": 9.0, "when": when},
        UNIQUE: {"kind": "choice", "values": [True, False], "when": {ALPHA: 1.0}},
    }
    assert expected in problem(parameters)


def test_conditions_that_exclude_each_other() -> None:
    problems = condition_problems(grid(a={}, b={"a": 1}, c={"a": 0, "b": 1}), get_path_of_nothing)
    assert problems == ["c  when a is 0 and b is 1 is impossible: the conditions exclude each other"]


def test_a_condition_may_refer_to_a_setting_that_does_not_vary() -> None:
    alone = {ALPHA: SPACE[ALPHA], DECAY: {"kind": "choice", "values": ["linear", "cosine"]}}
    assert list(loaded(alone).searched) == [ALPHA, DECAY]
    assert loaded(alone).searched[ALPHA].when == {}
    other = loaded(alone, distillation={"prototypes": {"selector": "kmeans"}})
    assert list(other.searched) == [DECAY]
    assert other.inactive == {ALPHA: f"{SELECTOR} is kmeans"}


def test_fixed_values_resolve_conditions() -> None:
    fixed = loaded({**SPACE, DECAY: "cosine"}, search={"fixed": {SELECTOR: "orthogonal"}})
    assert list(fixed.searched) == [ALPHA]
    assert fixed.inactive == {UNIQUE: f"{SELECTOR} is orthogonal"}
    values = trial_experiment(fixed.experiment, {ALPHA: 2.0})
    assert (get_path(values, SELECTOR), get_path(values, DECAY)) == ("orthogonal", "cosine")


def test_a_fixed_child_has_its_value_only_where_it_is_active() -> None:
    fixed = loaded(search={"fixed": {ALPHA: 3.0}})
    assert ALPHA not in fixed.experiment.search.fixed
    for values in configurations(fixed.searched):
        assert values.get(ALPHA) == (3.0 if values[SELECTOR] in ("pursuit", "orthogonal") else None)
        trial_experiment(fixed.experiment, values)


def test_a_parameter_whose_parent_is_fixed_to_another_value_is_inactive() -> None:
    space = {
        **SPACE,
        DENSITY: {"kind": "float", "low": 0.0, "high": 0.8, "when": {UNIQUE: True}},
        DECAY: {"kind": "choice", "values": ["linear", "cosine"], "when": {UNIQUE: [True, False]}},
    }
    fixed = loaded(space, search={"fixed": {UNIQUE: False}})
    assert fixed.inactive == {DENSITY: f"{UNIQUE} is false"}
    assert fixed.searched[DECAY].when == {UNIQUE: [False]}
    assert experiment_from_dict(fixed.experiment.to_dict(), source="test", space=fixed.space.to_dict()) == fixed


def test_a_resolved_space_loads_to_itself() -> None:
    fixed = loaded({**SPACE, DECAY: "cosine"}, search={"fixed": {ALPHA: 3.0}})
    again = experiment_from_dict(fixed.experiment.to_dict(), source="test", space=fixed.space.to_dict())
    assert again == fixed


def test_settings_of_a_kind_that_is_not_the_experiments_own() -> None:
    source = "distillation.prototypes.source"
    space: dict[str, Any] = {
        f"{source}.max_images": {"kind": "int", "low": 10, "high": 90, "when": {f"{source}.kind": "feature_pass"}},
        f"{source}.kind": {"kind": "choice", "values": ["queue", "feature_pass"]},
    }
    swept: dict[str, ParameterValue] = {f"{source}.max_images": 20, f"{source}.kind": "feature_pass"}
    assert get_path(trial_experiment(loaded(space).experiment, swept), f"{source}.max_images") == 20
    space[f"{source}.max_images"]["when"] = {f"{source}.kind": "queue"}
    assert "max_images is not a setting of this experiment" in problem(space)


def test_a_value_that_the_experiment_cannot_have_with_its_parent() -> None:
    quantile: dict[str, Any] = {
        "distillation.filter.weight": {"kind": "choice", "values": ["gaussian", "quantile"]},
        "distillation.filter.global_threshold": {
            "kind": "float",
            "low": 0.1,
            "high": 2.0,
            "when": {"distillation.filter.weight": "quantile"},
        },
    }
    assert "global_threshold = 2 must be less than 1 when filter.weight is quantile" in problem(quantile)
    quantile["distillation.filter.global_threshold"]["when"] = {"distillation.filter.weight": ["gaussian", "quantile"]}
    assert "must be less than 1 when filter.weight is quantile" in problem(quantile), "the second of its values as well"
    quantile["distillation.filter.global_threshold"]["when"] = {"distillation.filter.weight": "gaussian"}
    loaded(quantile)
    assert "alpha = 3 has no effect with selector kmeans" in problem(
        SPACE, distillation={"prototypes": {"alpha": 3.0}}
    ), "the experiment's value stays where a parameter is inactive"


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (
            {SELECTOR: "greedy"},
            "search.initial_configurations[0]: distillation.prototypes.selector = greedy is not in the space",
        ),
        (
            {SELECTOR: "kmeans", ALPHA: 2.0},
            "only active when distillation.prototypes.selector is pursuit or orthogonal",
        ),
        ({ALPHA: 2.0}, "give that value as well"),
        ({DECAY: "linear"}, "is not searched"),
        ({DENSITY: 0.1}, "density_quantile = 0.1 is not in the space"),
    ],
)
def test_configurations_to_try_first_are_checked(first: dict[str, ParameterValue], expected: str) -> None:
    steps = {**SPACE, DENSITY: {"kind": "float", "low": 0.0, "high": 0.7, "step": 0.2}}
    assert expected in problem(steps, search={"initial_configurations": [first]})
    loaded(steps, search={"initial_configurations": [{SELECTOR: "pursuit", ALPHA: 2.0, DENSITY: 0.1 + 0.2 + 0.3}]})


@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("gp", SPACE, f"would sample parameters with a condition at random ({ALPHA}, {UNIQUE})"),
        ("nsga2", SPACE, "use tpe or random"),
        ("cmaes", {SELECTOR: SPACE[SELECTOR]}, f"would sample choices at random ({SELECTOR})"),
        ("cmaes", {ALPHA: {"kind": "float", "low": 1.0, "high": 2.0}}, "needs at least 2 parameters"),
    ],
)
def test_a_sampler_that_would_quietly_draw_at_random_is_refused(
    kind: str, parameters: dict[str, Any], expected: str
) -> None:
    assert expected in problem(parameters, search={"sampler": {"kind": kind}})


def test_fix_on_the_command_line(tmp_path: Path) -> None:
    fixed = load("quickstart", fixed=["distillation.decay=cosine", "distillation.soft_labels.temperature=4"])
    assert fixed.experiment.search.fixed == {"distillation.decay": "cosine", "distillation.soft_labels.temperature": 4}
    with pytest.raises(UsageError, match=r"--fix distillation\.decay: write it as path=value"):
        load("quickstart", fixed=["distillation.decay"])
    with pytest.raises(ConfigError, match=r"is not in the space quickstart; did you mean \"distillation\.decay\""):
        load("quickstart", fixed=["distillation.decaz=cosine"])
