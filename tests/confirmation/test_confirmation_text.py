"""The lines below the headline of a confirmation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from distune.confirmation.analysis import nominal_error
from distune.confirmation.confirmation_text import explain
from distune.evidence.confirmation_result import AnalysisRecord, ConfirmationResult
from distune.evidence.gain import Verdict
from distune.evidence.power import seeds_needed
from explanation.making import confirmation


def explained(result: ConfirmationResult) -> str:
    return "\n".join(explain(result, Path("studies/mine")))


def open_result(mean: float, error: float, *, num_seeds: int, **changes: Any) -> ConfirmationResult:
    """A result that shows no gain, where one seed varies by a point and the images by nothing."""
    plain = confirmation(mean, mean - 1.0, mean + 1.0)
    gain = dataclasses.replace(
        plain.gain,
        low=-0.1,
        by_seed=dict.fromkeys(range(1000, 1000 + num_seeds), mean),
        error_seeds=num_seeds**-0.5,
        error_images=0.0,
        nominal_error=error,
    )
    result = dataclasses.replace(plain, test=gain, **changes)
    assert result.verdict is Verdict.NOT_SHOWN
    return result


@pytest.mark.parametrize(("low", "high", "is_referred"), [(-1.0, 1.6, True), (-4.0, -2.0, True), (2.0, 4.0, False)])
def test_a_confirmation_without_a_gain_refers_to_the_explanation(low: float, high: float, is_referred: bool) -> None:
    lines = explain(confirmation((low + high) / 2, low, high), Path("studies/mine"))
    assert ("for likely reasons: distune explain mine" in lines) is is_referred


def test_after_an_undecided_plan_the_advice_is_for_the_level_that_is_left() -> None:
    plan = (4, 7)
    error = nominal_error([], 4, plan)
    records = [
        AnalysisRecord(trial=7, metric="AP", split="test", num_seeds=number, error=error, plan=plan)
        for number in range(4, 8)
    ]
    result = open_result(1.3, error, num_seeds=7, num_analyses=4, max_seeds=7, margin=0.5)
    found = re.search(
        r"the intervals so far have used up nearly all of the 5%, so a further one is very wide: about (\d+) seeds "
        r"would show a gain of \+1.2 AP \(the estimate, shrunk by its uncertainty\) with a probability of 80%\n",
        explained(result),
    )
    assert found is not None
    at_level = seeds_needed(result.gain, error=nominal_error(records, int(found[1]), None)).expected
    assert int(found[1]) == pytest.approx(at_level, rel=0.1), "the level of the interval over as many seeds"
    at_former_level = seeds_needed(result.gain, error=error).expected
    assert at_former_level is not None
    assert int(found[1]) > 1.5 * at_former_level
    weak = open_result(0.6, error, num_seeds=7, num_analyses=4, max_seeds=7, margin=0.5)
    assert ": more seeds would hardly show a gain of +0.4 AP" in explained(weak)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Noncentral t with an effect of 0.752: power of 80% at a level of 99%, at one of 99.9995%, and at 99.875%.
        ({"max_seeds": 30}, "\nabout 25 seeds would show a gain of +0.8 AP"),
        ({"max_seeds": 15}, "\nabout 62 seeds would show a gain of +0.8 AP"),
        ({"num_analyses": 3}, "so a further one is very wide: about 35 seeds would show a gain of +0.8 AP"),
    ],
)
def test_after_failed_runs_of_a_plan_and_after_a_third_interval_the_next_one_has_its_own_level(
    changes: dict[str, Any], expected: str
) -> None:
    found = explained(open_result(0.85, 0.01, num_seeds=12, **changes))
    assert expected in found
    assert "--until-decided" not in found


def test_after_one_interval_a_range_is_given_and_a_gain_of_nothing_needs_no_seeds() -> None:
    first = explained(open_result(1.1, 0.04, num_seeds=8))
    assert " if it is larger, " in first
    assert "to add seeds until it is decided: distune confirm mine --until-decided" in first
    planned = {"num_seeds": 8, "max_seeds": 8, "num_analyses": 4}
    assert "it may as well be zero" in explained(open_result(0.3, 0.01, **planned))
    assert "there is probably no gain" in explained(open_result(-0.05, 0.01, **planned))
