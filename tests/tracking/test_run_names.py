"""Run names: short, informative and unique."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.config.shipped import find_file, shipped_names
from distune.config.yaml import read_yaml
from distune.records import ParameterValue
from distune.tracking.run_names import MAX_RUN_NAME_LENGTH, experiment_name, run_name, short_names

PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b_c", "b_d", "weight", "e"]), min_size=1, max_size=4).map(".".join), unique=True
)
VALUES = st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans(), st.none(), st.text("ab/é", max_size=80))


def test_the_name_of_a_trial_has_its_number_and_params() -> None:
    params: dict[str, ParameterValue] = {
        "distillation.prototypes.per_class": 17,
        "distillation.global_knowledge.weight": 5.0,
        "distillation.soft_labels.weight": 0.41234,
        "distillation.decay": "cosine",
        "distillation.prototypes.unique": True,
    }
    assert run_name("7", params) == "t007 global=5 soft=0.412 per_class=17 decay=cosine +1"
    assert run_name("1234", {"training.seed": None}) == "t1234 seed=null"
    assert [run_name(key) for key in ("7", "control-1", "other")] == ["t007", "control 1", "other"]


def test_the_name_of_a_control_has_no_params() -> None:
    assert run_name("control-2", {"a": 1}) == "control 2"


def test_equal_names_get_longer() -> None:
    paths = ["distillation.soft_labels.weight", "distillation.soft_labels.temperature", "distillation.cwd.temperature"]
    assert short_names(dict.fromkeys(paths)) == ["soft", "soft.temperature", "cwd.temperature"]
    paths = ["filter.global_threshold", "a.soft_labels.weight", "a.soft_mask.weight", "b.soft_mask.weight"]
    assert short_names(dict.fromkeys(paths)) == [
        "global_threshold",
        "soft_labels",
        "a.soft_mask.weight",
        "b.soft_mask.weight",
    ]


@given(PATHS)
def test_short_names_are_unique(paths: list[str]) -> None:
    names = short_names(dict.fromkeys(paths))
    assert len(set(names)) == len(paths)


@given(st.integers(0, 99_999), st.dictionaries(st.sampled_from(["a.b", "c.weight", "d", "e.f.g"]), VALUES))
def test_a_name_fits_and_counts_the_params_left_out(number: int, params: dict[str, ParameterValue]) -> None:
    name = run_name(str(number), params)
    assert name.startswith(f"t{number:03}")
    assert len(name) <= MAX_RUN_NAME_LENGTH
    shown = [path for path in short_names(params) if f" {path}=" in name]
    assert len(shown) == len(params) or name.endswith(f" +{len(params) - len(shown)}")


@pytest.mark.parametrize("name", shipped_names("search_spaces"))
def test_the_shipped_spaces_have_short_names(name: str) -> None:
    space, _ = read_yaml(find_file(name, "search_spaces"))
    names = short_names(space["parameters"])
    assert names
    assert max(map(len, names)) <= 20


def test_the_kind_of_the_filter_is_not_a_weight() -> None:
    params: dict[str, ParameterValue] = {
        "distillation.filter.weight": "gaussian",
        "distillation.soft_labels.weight": 0.4,
    }
    assert run_name("7", params) == "t007 soft=0.4 filter=gaussian"


@pytest.mark.parametrize(
    ("setting", "simulated", "expected"),
    [(None, False, "bccd"), ("mine", False, "mine"), (None, True, "bccd-simulated"), ("mine", True, "mine-simulated")],
)
def test_simulated_studies_have_an_mlflow_experiment_of_their_own(
    setting: str | None, expected: str, *, simulated: bool
) -> None:
    assert experiment_name(setting, "bccd", simulated=simulated) == expected
