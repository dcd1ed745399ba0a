"""The values of the report page: verdict, curves, early stopping, costs, time, data card."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from distune.evidence.gain import Gain
from distune.records import EpochReport, Outcome
from distune.reports.model_sizes import ModelSize, ModelSizes
from distune.reports.page.cost_values import CONTROL, OTHER, PARETO, model_points, pareto_points, pareto_table
from distune.reports.page.curve_values import describe_curves, score_at, trial_curves
from distune.reports.page.page_blocks import Table
from distune.reports.page.page_input import StudyFacts
from distune.reports.page.search_sections import stopping_section
from distune.reports.page.stopping_values import compare_rungs, compared_epochs, conclusion, saving
from distune.reports.page.time_values import evaluation_fraction, spent_by_outcome, spent_table, timeline
from distune.reports.page.verdict_values import chosen_table, headline, model_table, state_lines
from support.report_pages import METRIC, make_confirmation, make_facts, make_gain, make_reports, make_trial

SIZES = ModelSizes(
    device="CPU, 1 thread",
    image_size_px=64,
    models=(
        ModelSize(name="teacher", parameters=12_000_000, flops=400_000_000, latency_ms=30.0, file_bytes=48_000_000),
        ModelSize(name="control", parameters=5_000_000, flops=200_000_000, latency_ms=15.0, file_bytes=20_000_000),
        ModelSize(name="student", parameters=5_000_000, flops=200_000_000, latency_ms=15.0, file_bytes=20_000_000),
    ),
)


class TestVerdict:
    def test_of_a_search_says_that_it_is_not_confirmed(self) -> None:
        found = headline(make_facts())
        assert found.text == "Gain +5.0 AP in the search, not confirmed: one seed."
        assert "optimistic" in found.explanation
        assert "distune confirm mine" in found.explanation
        assert found.tone == "open"

    @pytest.mark.parametrize(
        ("gain", "tone", "text", "explanation"),
        [
            (make_gain(2.0, 1.0), "good", "Gain +2.0 AP [+1.0, +3.0], 3 seeds.", "above zero"),
            (make_gain(0.5, 1.0), "open", "No gain shown: +0.5 AP [-0.5, +1.5], 3 seeds.", "contains zero"),
            (make_gain(-2.0, 1.0), "bad", "Worse than no distillation: -2.0 AP", "below zero"),
            (make_gain(2.0, 1.0, num_images=4), "open", "+2.0 AP [+1.0, +3.0], 3 seeds: undecided", "too few"),
        ],
    )
    def test_of_a_confirmation_has_its_interval(self, gain: Gain, tone: str, text: str, explanation: str) -> None:
        found = headline(make_facts(confirmation=make_confirmation(gain)))
        assert found.text.startswith(text)
        assert explanation in found.explanation
        assert found.tone == tone

    def test_without_a_test_split_names_the_search_split(self) -> None:
        found = headline(make_facts(confirmation=make_confirmation(test=None)))
        assert "measured on the search split; the interval covers training seeds and images" in found.explanation

    @pytest.mark.parametrize(
        ("changes", "covered"),
        [({"by_seed": {1000: 2.0}}, "images alone"), ({"num_teachers": 2}, "teachers, training")],
    )
    def test_the_interval_says_what_it_covers(self, changes: dict[str, Any], covered: str) -> None:
        found = headline(make_facts(confirmation=make_confirmation(make_gain(**changes))))
        assert f"the interval covers {covered}" in found.explanation

    def test_without_a_finished_trial_or_control(self) -> None:
        assert headline(make_facts(winner=None)).text == "No trial has finished."
        facts = make_facts()
        without_control = dataclasses.replace(facts, trials=facts.searched)
        assert headline(without_control).text == "Trial 1 reaches 25.0 AP; its gain is unknown."

    @pytest.mark.parametrize(
        ("state", "reason", "line"),
        [
            ("failed", "no trial has finished: 3 failed", "The study failed: no trial has finished: 3 failed"),
            ("interrupted", None, "The study was interrupted. To continue it: distune resume mine"),
            ("running", None, "The study is running"),
            ("finished", "all configurations have been tried", "The study has finished with fewer trials: all"),
        ],
    )
    def test_the_state_comes_with_its_reason(self, state: str, reason: str | None, line: str) -> None:
        lines = state_lines(make_facts(state=state, reason=reason))
        assert lines[0] == "4 of 4 trials: 2 finished, 2 stopped. 1 control."
        assert lines[1].startswith(line)

    def test_failed_trials_of_a_study_that_has_finished_are_named(self) -> None:
        failed = make_trial(9, [], Outcome.FAILED, reason="out of memory")
        lines = state_lines(dataclasses.replace(make_facts(), trials=[*make_facts().trials, failed]))
        assert lines[-1] == "Trial 9 failed: out of memory"

    def test_the_models_have_scores_of_both_splits_and_sizes(self) -> None:
        table = model_table(make_facts(confirmation=make_confirmation(), sizes=SIZES))
        rows = {row[0]: row[1:] for row in table.rows}
        assert rows["teacher"][:3] == ["30.0", "–", "12 M"]
        assert rows["control"][:2] == ["20.0", "20.0"]
        assert rows["best student (trial 1)"][:2] == ["25.0", "22.0"]
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert "2.4x fewer parameters" in table.note

    def test_a_teacher_that_lacks_a_class_is_not_beside_scores_of_all_classes(self) -> None:
        trials = [
            make_trial(-1, [20.0] * 4, metrics={METRIC: 20.0, f"{METRIC}/cat": 28.0, f"{METRIC}/dog": 12.0}),
            make_trial(1, [25.0] * 4, metrics={METRIC: 25.0, f"{METRIC}/cat": 32.0, f"{METRIC}/dog": 18.0}),
        ]
        facts = make_facts(trials=trials, winner=trials[1], teacher_unknown=("dog",), sizes=SIZES)
        table = model_table(facts)
        assert table.columns[:3] == ["model", "AP, search split", "AP, classes that the teacher knows"]
        assert {row[0]: row[1:3] for row in table.rows} == {
            "teacher": ["–", "30.0"],
            "control": ["20.0", "28.0"],
            "best student (trial 1)": ["25.0", "32.0"],
        }
        assert table.note.startswith("The teacher does not know dog, so it has no score on all classes.")
        assert [(point.name, point.score) for point in model_points(facts)] == [
            ("teacher", 30.0),
            ("control", 28.0),
            ("student", 32.0),
        ]
        assert describe_curves([], facts).endswith("teacher: 30.0 without dog, not drawn.")

    def test_the_chosen_parameters(self) -> None:
        table = chosen_table(make_facts())
        assert table is not None
        assert table.rows == [["distillation.soft_labels.weight", "1.5"]]
        assert chosen_table(make_facts(winner=None)) is None


class TestCurves:
    def test_the_best_and_the_control_are_drawn_last(self) -> None:
        curves = trial_curves(make_facts())
        assert [curve.group for curve in curves] == ["stopped", "stopped", "finished", "control", "best"]
        assert curves[-1].scores == (12.0, 18.0, 22.0, 25.0)
        assert "best: 25.0; control: 20.0; finished: 22.0; stopped: 7.0 to 9.0; teacher: 30.0" in describe_curves(
            curves, make_facts()
        )

    def test_values_that_are_not_finite_are_left_out(self) -> None:
        facts = make_facts(reports={0: make_reports([1.0, float("nan"), 3.0])})
        assert [curve.epochs for curve in trial_curves(facts)] == [(1, 3)]
        assert score_at(facts, facts.trials[1], 2) is None


class TestEarlyStopping:
    def test_the_rungs_count_who_reached_them_and_who_was_stopped(self) -> None:
        first, second = compare_rungs(make_facts())
        assert (first.epoch, first.reached, first.stopped) == (1, 4, 1)
        assert (second.epoch, second.reached, second.stopped) == (2, 3, 1)
        assert [each.trial for each in first.compared] == ["control-1", "0", "1"]
        assert first.kendall == second.kendall == pytest.approx(1.0)

    def test_the_correlation_is_that_of_scipy_on_reversed_orders(self) -> None:
        scores = {0: [3.0, 1.0, 1.0, 1.5], 1: [2.0, 1.0, 1.0, 5.0], 2: [1.0, 1.0, 1.0, 6.0]}
        facts = make_facts(
            trials=[make_trial(number, each, metrics={METRIC: each[-1]}) for number, each in scores.items()],
            reports={number: make_reports(each) for number, each in scores.items()},
        )
        first, second = compare_rungs(facts)
        assert first.kendall == pytest.approx(-1.0)
        assert first.agreement == pytest.approx(0.0)
        assert second.kendall is None  # all scores are equal
        assert (second.agreement, second.tied_fraction) == (0.0, 1.0)

    def ties(self) -> StudyFacts:
        """Ten trials, of which eight still have a score of 0 at the first rung."""
        scores = {number: [max(0.0, number - 7.0), 1.0, 1.0, 10.0 + number] for number in range(10)}
        return make_facts(
            trials=[make_trial(number, each) for number, each in scores.items()],
            reports={number: make_reports(each) for number, each in scores.items()},
        )

    def test_ties_are_counted_apart(self) -> None:
        facts = self.ties()
        first, second = compare_rungs(facts)
        assert (first.in_order, first.tied, len(first.compared)) == (17, 28, 10)
        assert conclusion([first]) == (
            "At epoch 1, 38% of pairs of trials are in the same order as at the end, 62% are tied (19% in the same "
            "order would be chance): stopping by it is risky; with a larger search.scheduler.grace_epochs trials are "
            "compared later."
        )
        assert "0% of pairs of trials are in the same order as at the end, 100% are tied" in conclusion([second])
        table = next(block for block in stopping_section(facts).blocks if isinstance(block, Table))
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        assert [(row["pairs in order"], row["pairs tied"]) for row in rows] == [("38%", "62%"), ("0%", "100%")]
        assert rows[1]["Kendall's tau"] == "unknown"

    def test_the_end_is_the_last_epoch_and_not_the_best(self) -> None:
        scores = {number: [float(number), 0.0, 90.0 - number, 50.0 + number] for number in range(12)}
        facts = make_facts(
            trials=[make_trial(number, each) for number, each in scores.items()],
            reports={number: make_reports(each) for number, each in scores.items()},
        )
        first, _ = compare_rungs(facts)
        assert [each.final for each in first.compared] == [scores[number][-1] for number in range(12)]
        assert first.agreement == 1.0
        assert "is sound" in conclusion([first])

    def test_the_epochs_that_were_saved(self) -> None:
        saved = saving(make_facts())
        assert (saved.trained, saved.without_stopping, saved.num_stopped) == (11, 16, 2)
        assert saved.fraction == pytest.approx(5 / 16)
        assert saving(make_facts(trials=[])).fraction == 0.0

    def test_few_trials_conclude_nothing(self) -> None:
        assert conclusion(compare_rungs(make_facts())) == (
            "At epoch 1, 100% of pairs of trials are in the same order as at the end, but of 3 trials only: too few to "
            "conclude anything."
        )
        assert "at least 3" in conclusion([])

    @pytest.mark.parametrize(("sign", "words"), [(1, "is sound"), (-1, "is risky")])
    def test_many_trials_do(self, sign: int, words: str) -> None:
        scores = {number: [float(number), 0.0, 0.0, 50.0 + sign * number] for number in range(12)}
        facts = make_facts(
            trials=[make_trial(number, each) for number, each in scores.items()],
            reports={number: make_reports(each) for number, each in scores.items()},
        )
        assert words in conclusion(compare_rungs(facts))

    def test_without_rungs_a_third_and_two_thirds_are_compared(self) -> None:
        assert compared_epochs(make_facts(rungs=(), scheduler="none", num_epochs=12, trials=[])) == (4, 8)
        assert compared_epochs(make_facts(rungs=(), scheduler="median", num_epochs=12)) == (1, 2, 4, 8)
        assert compared_epochs(make_facts(rungs=(), num_epochs=1, trials=[])) == ()

    def test_a_study_of_one_epoch_has_no_rungs(self) -> None:
        assert compare_rungs(make_facts(rungs=(), num_epochs=1)) == []


class TestCosts:
    COST = "student/flops"

    def test_points_of_a_pareto_front(self) -> None:
        trials = [
            make_trial(number, [score], metrics={METRIC: score, self.COST: cost})
            for number, score, cost in ((-1, 10.0, 5.0), (0, 20.0, 9.0), (1, 18.0, 3.0), (2, 15.0, 8.0))
        ]
        facts = make_facts(trials=trials, costs=(self.COST,), pareto_front=frozenset({0, 1}))
        points = pareto_points(facts, self.COST)
        assert [(point.name, point.group) for point in points] == [
            ("1", PARETO),
            ("control-1", CONTROL),
            ("2", OTHER),
            ("0", PARETO),
        ]
        assert [row[0] for row in pareto_table(facts).rows] == ["0", "1"]

    def test_the_three_models_otherwise(self) -> None:
        points = model_points(make_facts(sizes=SIZES))
        assert [(point.name, point.cost, point.score) for point in points] == [
            ("teacher", 30.0, 30.0),
            ("control", 15.0, 20.0),
            ("student", 15.0, 25.0),
        ]
        assert not model_points(make_facts())


class TestTime:
    def test_epochs_and_seconds_by_outcome(self) -> None:
        spent = spent_by_outcome(make_facts())
        assert [(each.name, each.runs, each.epochs, each.seconds) for each in spent] == [
            ("teacher", 1, 2, 20.0),
            ("control", 1, 4, 40.0),
            ("finished", 2, 8, 80.0),
            ("stopped", 2, 3, 30.0),
        ]
        assert evaluation_fraction(spent) == pytest.approx(0.2)
        assert list(spent_table(spent).rows[-1]) == ["all", "6", "17", "100%", "3 min"]

    def test_a_simulated_study_has_no_time(self) -> None:
        spent = spent_by_outcome(make_facts(simulated=True))
        assert evaluation_fraction(spent) is None
        assert {row[-1] for row in spent_table(spent).rows} == {"–"}
        assert timeline(make_facts(simulated=True)) == []

    def test_the_timeline_starts_at_the_first_epoch(self) -> None:
        spans = timeline(make_facts())
        assert len(spans) == 15
        assert (spans[0].run, spans[0].begin_s, spans[0].length_s) == ("control-1", 0.0, 10.0)
        assert spans[-1].run == "3"

    def test_epochs_without_their_time_are_left_out(self) -> None:
        report = EpochReport(epoch=1, metrics={METRIC: 1.0}, finished_at=5.0)
        facts = make_facts(reports={0: [report]}, teacher_reports=())
        assert timeline(facts) == []
        assert all(each.seconds is None for each in spent_by_outcome(facts))
