"""The benchmark of gains: its seeds, its stored lines, its arms and its summary."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from distune.config.experiment import Experiment
from distune.training.cohort import EpochResult
from support.benchmarks import BENCHMARKS, benchmarks_can_be_imported, cell, same_number_of_threads, stored_line
from support.experiments import small_values

__all__ = ["benchmarks_can_be_imported", "same_number_of_threads"]


def stored_arm(arm: str, gains: Sequence[float]) -> list[dict[str, Any]]:
    """Lines of seeds 10 and up whose control has 30 AP and the same error of images, which cancels."""
    return [stored_line(arm, 10 + index, 30.0 + gain) for index, gain in enumerate(gains)]


@pytest.fixture
def three_arms() -> list[dict[str, Any]]:
    gains = {"control": [0.0] * 4, "a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, -1.0, 2.0, -1.0], "c": [5.0]}
    teacher = stored_line("teacher", 0, 60.0)
    return [teacher, *(line for arm, values in gains.items() for line in stored_arm(arm, values))]


@pytest.mark.usefixtures("benchmarks_can_be_imported")
def test_a_summary_counts_the_arms_that_were_compared_and_corrects_for_them(
    three_arms: list[dict[str, Any]],
) -> None:
    summarize = importlib.import_module("gain_summary").summarize
    summary = summarize(three_arms, base="a", metric="AP")
    # Student's t test of 1, 2, 3, 4: t = 3.873 with 3 degrees of freedom, p = 0.0305; three arms over the control.
    assert cell(summary, "a", 4) == "+2.5 [+0.4, +4.6], 4 of 4, p = 0.091"
    assert cell(summary, "c", 4) == "+5.0, one seed"
    assert cell(summary, "b", 5).startswith("-2.2 [")
    assert cell(summary, "control", 5) == cell(summary, "a", 5) == cell(summary, "teacher", 4) == ""
    assert "Compared on these images with seeds 10 to 13: 3 arms with control, 2 arms with a. p is" in summary


@pytest.mark.usefixtures("benchmarks_can_be_imported")
def test_arms_that_a_summary_does_not_show_are_corrected_for(three_arms: list[dict[str, Any]]) -> None:
    summarize = importlib.import_module("gain_summary").summarize
    summary = summarize(three_arms, base=None, metric="AP", arms=["a"])
    assert "| b |" not in summary
    assert cell(summary, "a", 4).endswith("p = 0.091")
    assert "3 arms with control" in summary


@pytest.mark.usefixtures("benchmarks_can_be_imported")
def test_without_several_seeds_there_is_no_p_value() -> None:
    summarize = importlib.import_module("gain_summary").summarize
    summary = summarize([stored_line("control", 0, 30.0), stored_line("a", 0, 31.0)], base=None, metric="AP")
    assert summary.endswith("Compared on these images with seed 0: 1 arm with control.")


@pytest.mark.usefixtures("benchmarks_can_be_imported")
@pytest.mark.parametrize(
    ("split", "seeds", "refused"),
    [
        ("search", [0, 1, 9], None),
        ("test", [10, 11], None),
        ("test", [0, 9, 10], "--split test --seeds 0 9: results on the test split need seeds from 10 on"),
        ("search", [1, 10], "--split search --seeds 10: the search split chooses settings, with seeds below 10"),
    ],
)
def test_seeds_that_choose_are_not_reported_and_the_other_way_round(
    split: str, seeds: list[int], refused: str | None
) -> None:
    rule = importlib.import_module("choice_and_results")
    found = rule.refusal(split, seeds)
    assert found is None if refused is None else found.startswith(refused)
    assert rule.refusal(split, rule.default_seeds(split)) is None


@pytest.mark.usefixtures("benchmarks_can_be_imported", "same_number_of_threads")
def test_the_gain_benchmark_refuses_and_leaves_out_what_breaks_the_rule(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gain = importlib.import_module("gain")
    monkeypatch.setattr(sys, "argv", ["gain.py", "quickstart", "--seeds", "0", "10"])
    with pytest.raises(SystemExit, match="--split test --seeds 0: results on the test split need"):
        gain.main()
    chosen = [stored_line(arm, seed, 90.0) for arm in ("control", "a") for seed in (0, 1)]
    lines = [stored_line("teacher", 0, 60.0), *chosen, *stored_arm("control", [0.0, 0.0]), *stored_arm("a", [1.0, 2.0])]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.setattr(sys, "argv", ["gain.py", "quickstart", "--summary", "--results", str(results)])
    gain.main()
    printed = capsys.readouterr().out
    assert "test split {}: results" in printed
    assert (cell(printed, "teacher", 2), cell(printed, "control", 2)) == ("60.0", "30.0")
    assert "with seeds 10, 11: 1 arm with control." in printed
    assert "Left out: 4 stored lines with seeds below 10, which may not be scored on the test split." in printed


class TrainedArms:
    """Runs ``gain.py`` on a small experiment, with trainings and scores that cost nothing.

    Attributes:
        trained: arm and seed of each training.
        failing: arms whose training fails.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._gain = importlib.import_module("gain")
        self._monkeypatch, self._folder = monkeypatch, folder
        self.trained: list[tuple[str, int]] = []
        self.failing: set[str] = set()
        (folder / "small.yaml").write_text(yaml.safe_dump(small_values()))
        builder = SimpleNamespace(teacher=lambda weights: SimpleNamespace(model=weights))
        monkeypatch.setattr(self._gain, "run_seed", self._run_seed)
        monkeypatch.setattr(self._gain, "prepare_teacher", lambda *_, **__: SimpleNamespace(weights=folder / "w.pth"))
        monkeypatch.setattr(self._gain, "TrialBuilder", lambda *_: builder)
        monkeypatch.setattr(self._gain, "predict", lambda *_, **__: [])
        monkeypatch.setattr(self._gain, "score", lambda *_: {"AP": 60.0})

    @property
    def results(self) -> Path:
        return self._folder / "results.jsonl"

    def run(self, arms: dict[str, Any], *options: str) -> None:
        (self._folder / "arms.yaml").write_text(yaml.safe_dump(arms, sort_keys=False))
        given = [str(self._folder / "small.yaml"), "--arms", str(self._folder / "arms.yaml")]
        given += ["--results", str(self.results), "--seeds", "10", "11", *options]
        self._monkeypatch.setattr(sys, "argv", ["gain.py", *given])
        self._gain.main()

    def _run_seed(self, arms: dict[str, Any], seed: int, **_: Any) -> Iterator[dict[str, Any]]:
        for name, arm in arms.items():
            self.trained.append((name, seed))
            if name in self.failing and seed == 11:
                yield {"arm": name, "seed": seed, "split": "test", "failed": "loss is NaN", "given": arm.given}
            else:
                yield {**stored_line(name, seed, 30.0), "given": arm.given}


@pytest.fixture
def trained_arms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, benchmarks_can_be_imported: None, same_number_of_threads: None
) -> TrainedArms:
    return TrainedArms(monkeypatch, tmp_path)


ARMS: dict[str, Any] = {"control": None, "a": {"distillation": {"soft_labels": {"weight": 1.0, "unit": "raw"}}}}


def test_lines_of_another_teacher_are_kept_apart(
    trained_arms: TrainedArms, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trained_arms.run(ARMS)
    trained_arms.run(ARMS)
    assert trained_arms.trained == [(arm, seed) for seed in (10, 11) for arm in ARMS]
    trained_arms.run(ARMS, "--teacher-set", "data.num_train=16", "--teacher-set", f"teacher.weights={tmp_path}")
    assert len(trained_arms.trained) == 8
    assert 'test split {"teacher set: data.num_train": 16}: results' in capsys.readouterr().out
    lines = [json.loads(line) for line in trained_arms.results.read_text().splitlines()]
    assert [line["arm"] for line in lines].count("teacher") == 2
    assert [line["condition"] for line in lines] == [{}] * 5 + [{"teacher set: data.num_train": 16}] * 5


def test_an_arm_that_has_other_settings_than_its_stored_lines_is_refused(trained_arms: TrainedArms) -> None:
    trained_arms.run(ARMS)
    stored = trained_arms.results.read_text()
    changed = {**ARMS, "a": {"distillation": {"soft_labels": {"weight": 2.0, "unit": "raw"}}}}
    with pytest.raises(SystemExit, match="the stored lines of a were computed with other settings; give the arm"):
        trained_arms.run(changed)
    assert trained_arms.results.read_text() == stored
    trained_arms.run({**changed, "b": changed["a"]}, "--only", "control", "b")
    assert trained_arms.trained[4:] == [("b", 10), ("b", 11)]


def test_stored_lines_without_settings_are_accepted(trained_arms: TrainedArms) -> None:
    trained_arms.run(ARMS)
    lines = [json.loads(line) for line in trained_arms.results.read_text().splitlines()]
    for line in lines:
        line.pop("given", None)
    trained_arms.results.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    trained_arms.run({**ARMS, "a": {"distillation": {"pkd": {"weight": 1.0, "unit": "raw"}}}})
    assert len(trained_arms.trained) == 4


def test_failed_seeds_are_counted_and_are_in_no_figure(
    trained_arms: TrainedArms, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_arms.failing = {"a"}
    trained_arms.run(ARMS)
    trained_arms.run(ARMS)
    assert len(trained_arms.trained) == 4, "a failed training is not repeated"
    printed = capsys.readouterr().out
    summary = printed[printed.rindex("small, test split") :]
    assert (cell(summary, "a", 2), cell(summary, "a", 3)) == ("30.0", "1")
    assert cell(summary, "control", 3) == "2"
    assert "Training failed, and is in no figure: a under 1 seed (11)." in summary


@pytest.mark.usefixtures("benchmarks_can_be_imported")
def test_a_training_that_fails_leaves_a_line_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    gain = importlib.import_module("gain")
    results = iter([{"a": EpochResult({}, [], FloatingPointError("loss is NaN"))}])
    builder = SimpleNamespace(
        experiment=Experiment.model_validate(small_values()),
        teacher=lambda _: None,
        stream=lambda *_, **__: [],
        student=lambda *_, **__: None,
        cohort=lambda *_, **__: SimpleNamespace(join=lambda _: None, run_epoch=lambda evaluate: next(results)),
    )
    monkeypatch.setattr(gain, "TrialBuilder", lambda *_: builder)
    arms = {"a": gain.Arm(builder.experiment, {"training": {}}, None)}
    splits = SimpleNamespace(search=[], test=[])
    (line,) = gain.run_seed(arms, 10, splits=splits, weights=Path(), split="test", curves=False, name="small")
    expected = {"arm": "a", "seed": 10, "split": "test", "given": {"training": {}}}
    assert line == {**expected, "failed": "FloatingPointError in epoch 1: loss is NaN"}


@pytest.mark.usefixtures("benchmarks_can_be_imported")
@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").rglob("*.jsonl")), ids=lambda path: path.stem)
def test_all_results_of_this_repository_keep_the_rule(path: Path) -> None:
    kept, broken = importlib.import_module("choice_and_results").separate(
        map(json.loads, path.read_text().splitlines())
    )
    assert kept
    assert not broken
