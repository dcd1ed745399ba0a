"""Names and values in the form that MLflow accepts, checked with MLflow's validation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.records import Outcome
from distune.tracking.values import (
    MAX_NAME_LENGTH,
    metric_values,
    name_text,
    param_values,
    run_status,
    summary_metrics,
    tag_values,
)

NAMES = st.one_of(st.text(), st.text("a./ -:[]_", max_size=12), st.text("a/.", min_size=240, max_size=260))


@given(NAMES)
def test_mlflow_accepts_every_name(name: str) -> None:
    from mlflow.entities import Metric
    from mlflow.utils import validation

    text = name_text(name)
    assert text
    assert len(text) <= MAX_NAME_LENGTH
    validation._validate_batch_log_data([Metric(text, 0.5, 0, 0)], [], [])  # type: ignore[no-untyped-call]
    assert name_text(text) == text


@pytest.mark.parametrize(
    "name", ["search/AP", "loss/global_knowledge", "time/epoch_s", "a.b-c d", "größe", "gain/AP50"]
)
def test_a_good_name_stays_as_it_is(name: str) -> None:
    assert name_text(name) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AP[person]", "AP_person"),
        ("search/AP[traffic light]", "search/AP_traffic light"),
        ("a//b/./c/", "a/b/c"),
        ("/../x", "x"),
        ("[]", "_"),
        ("", "_"),
    ],
)
def test_a_bad_name_stays_readable(name: str, text: str) -> None:
    assert name_text(name) == text


@given(st.dictionaries(NAMES, st.floats(), max_size=8))
def test_no_metric_is_lost_and_none_is_infinite(metrics: dict[str, float]) -> None:
    values = metric_values(metrics)
    assert len(values) == len(metrics)
    assert all(len(name) <= MAX_NAME_LENGTH for name in values)
    assert not any(math.isinf(value) for value in values.values())
    assert sorted(v for v in values.values() if not math.isnan(v)) == sorted(
        v for v in metrics.values() if math.isfinite(v)
    )


def test_names_that_become_equal_get_a_number() -> None:
    assert metric_values({"AP[a]": 1.0, "AP(a)": 2.0, "AP_a": 3.0}) == {"AP_a": 2.0, "AP_a_2": 1.0, "AP_a_3": 3.0}


def test_the_summary_has_scores_and_gains_only() -> None:
    metrics = {"search/AP": 0.5, "AP50": 0.7, "gain/AP": 0.1, "test/AP": 0.4, "loss/task": 2.0, "time/epoch_s": 9.0}
    assert summary_metrics(metrics) == {"best/AP": 0.5, "best/AP50": 0.7, "gain/AP": 0.1, "test/AP": 0.4}


def test_params_are_written_as_in_yaml() -> None:
    params = {"a": True, "b": False, "c": None, "d": 1, "e": 0.1, "f": "cosine", "g": 1, "h": 0, "i": "x" * 9000}
    values = param_values(params)
    assert list(values.values())[:8] == ["true", "false", "null", "1", "0.1", "cosine", "1", "0"]
    assert len(values["i"]) == 6000


def test_tags_get_the_prefix_of_distune() -> None:
    tags = tag_values({"hash": "abc", "distune.seed": "1", "mlflow.note.content": "hello", "odd[key]": "x" * 9000})
    assert list(tags) == ["distune.hash", "distune.seed", "mlflow.note.content", "distune.odd_key"]
    assert len(tags["distune.odd_key"]) == 5000


def test_every_outcome_has_a_status_of_mlflow() -> None:
    from mlflow.entities import RunStatus

    for outcome in Outcome:
        assert RunStatus.from_string(run_status(outcome)) is not None
    assert run_status(Outcome.FINISHED) == run_status(Outcome.STOPPED) == "FINISHED"
    assert run_status(Outcome.FAILED) == run_status(Outcome.DIVERGED) == "FAILED"
    assert run_status(Outcome.INTERRUPTED) == "KILLED"
