"""A benchmark that compares two versions of something must compare the same thing, whatever the presets become."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distune.config.data import ShapesData
from distune.config.experiment import Experiment
from distune.data.shapes.shapes_dataset import make_shapes
from distune.evidence.gain import Gain, half_width
from support.experiments import small_values

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = "--size 96 --channels 16 --classes 3 --teacher-backbone resnet18 --batch 2 --boxes 3 --rounds 3"


@pytest.fixture
def _same_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_same_number_of_threads")
def test_the_losses_in_loops_over_boxes_equal_those_of_distune(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["distill_step.py", "--parts", "loops", *SMALL.split()])
    importlib.import_module("distill_step").main()
    loops = json.loads(capsys.readouterr().out)["loops"]
    assert min(loops["values"].values()) > 0
    assert loops["same_values"], loops


@pytest.mark.slow
@pytest.mark.usefixtures("_same_number_of_threads")
def test_a_distillation_step_is_compared_with_one_without_terms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(
        sys, "argv", ["distill_step.py", "--parts", "step", *SMALL.replace("rounds 3", "rounds 20").split()]
    )
    importlib.import_module("distill_step").main()
    step = json.loads(capsys.readouterr().out)["step"]
    assert step["over_teacher_neck"]["usual_step"]["median"] > 0
    assert step["over_teacher_neck_and_head"]["step_that_measures_gradients"]["median"] > 0


@pytest.mark.slow
def test_exports_are_compared_in_both_formats(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    options = ["--families", "ssdlite", "--steps", "2", "--images", "4", "--table"]
    monkeypatch.setattr(sys, "argv", ["export_parity.py", *options])
    importlib.import_module("export_parity").main()
    first, second, *table = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in (first, second)]
    assert [line["format"] for line in lines] == ["onnx", "torchvision"]
    assert [line["problem"] for line in lines] == [None, None]
    assert len(table) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("_same_number_of_threads")
def test_the_gradients_of_soft_labels_have_the_sums_of_their_equations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_values({"training": {"epochs": 1}})))
    monkeypatch.setattr(sys, "argv", ["soft_label_sites.py", "--experiment", str(tmp_path / "small.yaml")])
    importlib.import_module("soft_label_sites").main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["arm"] for line in lines] == ["control", "positive", "all"] * 3
    start = lines[0]
    assert start["task"]["positive"] == pytest.approx(-0.27, abs=0.03)
    assert start["positive"]["other"] == 0
    assert start["all"]["other"] != 0
    assert lines[3]["task"] != lines[4]["task"] != lines[5]["task"], "the arms are trained apart"
    assert all(0 <= line["AP"] <= 100 for line in lines[6:])


@pytest.fixture
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
@pytest.mark.parametrize(("knows_classes", "lost", "lost_of_the_two"), [(True, 0.65, 1.0), (False, 0.0, 0.0)])
def test_a_swap_of_classes_costs_only_a_detector_that_knows_them(
    knows_classes: bool, lost: float, lost_of_the_two: float
) -> None:
    class_confusion = importlib.import_module("class_confusion").class_confusion
    dataset = make_shapes(ShapesData(num_train=40, num_classes=3), "train")
    predictions = []
    for index in range(len(dataset)):
        image = dataset.annotations(index)
        boxes_N4, labels_N = torch.from_numpy(image.boxes_N4), torch.from_numpy(image.labels_N)
        if not knows_classes:  # each box as each class, all with one score
            boxes_N4, labels_N = boxes_N4.repeat(3, 1), torch.arange(1, 4).repeat_interleave(len(labels_N))
        scores_N = torch.full((len(labels_N),), 0.9)
        predictions.append(
            {"boxes": boxes_N4, "labels": labels_N, "scores": scores_N, "image_index": torch.tensor(index)}
        )
    found = class_confusion(predictions, dataset)
    assert set(found["AP_swapped"]) == {"circle/square", "circle/triangle", "square/triangle"}
    assert found["lost"] == pytest.approx(lost, abs=0.06)
    assert found["lost_of_the_two"] == pytest.approx(lost_of_the_two, abs=0.06)


def stored_line(arm: str, seed: int, ap: float, *, split: str = "test") -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "split": split,
        "figures": {"AP": ap},
        "resampled_AP": [ap - 1.0, ap + 1.0, ap],
        "images": 50,
        "condition": {},
    }


def stored_arm(arm: str, gains: Sequence[float]) -> list[dict[str, Any]]:
    """Lines of seeds 10 and up whose control has 30 AP and the same error of images, which cancels."""
    return [stored_line(arm, 10 + index, 30.0 + gain) for index, gain in enumerate(gains)]


def cell(summary: str, arm: str, column: int) -> str:
    (row,) = [line for line in summary.splitlines() if line.startswith(f"| {arm} |")]
    return row.split("|")[column].strip()


@pytest.fixture
def three_arms() -> list[dict[str, Any]]:
    gains = {"control": [0.0] * 4, "a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, -1.0, 2.0, -1.0], "c": [5.0]}
    teacher = stored_line("teacher", 0, 60.0)
    return [teacher, *(line for arm, values in gains.items() for line in stored_arm(arm, values))]


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
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


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
def test_arms_that_a_summary_does_not_show_are_corrected_for(three_arms: list[dict[str, Any]]) -> None:
    summarize = importlib.import_module("gain_summary").summarize
    summary = summarize(three_arms, base=None, metric="AP", arms=["a"])
    assert "| b |" not in summary
    assert cell(summary, "a", 4).endswith("p = 0.091")
    assert "3 arms with control" in summary


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
def test_without_several_seeds_there_is_no_p_value() -> None:
    summarize = importlib.import_module("gain_summary").summarize
    summary = summarize([stored_line("control", 0, 30.0), stored_line("a", 0, 31.0)], base=None, metric="AP")
    assert summary.endswith("Compared on these images with seed 0: 1 arm with control.")


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
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


@pytest.mark.usefixtures("_benchmarks_can_be_imported", "_same_number_of_threads")
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


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").rglob("*.jsonl")), ids=lambda path: path.stem)
def test_all_results_of_this_repository_keep_the_rule(path: Path) -> None:
    kept, broken = importlib.import_module("choice_and_results").separate(
        map(json.loads, path.read_text().splitlines())
    )
    assert kept
    assert not broken


@pytest.mark.usefixtures("_benchmarks_can_be_imported")
def test_the_interval_of_satterthwaite_is_narrower_where_seeds_and_images_contribute_alike() -> None:
    interval = importlib.import_module("interval")
    alike, seeds_alone = (
        Gain(
            metric="AP",
            mean=0.0,
            low=0.0,
            high=0.0,
            student=0.0,
            control=0.0,
            by_seed=dict.fromkeys(range(3), 0.0),
            num_images=100,
            error_seeds=1.0,
            error_images=of_images,
        )
        for of_images in (1.0, 0.0)
    )
    # 1 + 1 with 2 and 99 degrees of freedom: (1 + 1)^2 / (1/2 + 1/99) = 7.84; t table between 2.365 and 2.306.
    assert interval.satterthwaite(alike)[1] == pytest.approx(2.31 * 2**0.5, abs=0.01)
    assert interval.satterthwaite(seeds_alone)[1] == pytest.approx(4.303, abs=0.001)
    howe = half_width(1.0, 1.0, num_seeds=3, num_images=100, error=0.05)
    assert howe == pytest.approx((4.303**2 + 1.984**2) ** 0.5, abs=0.001)


@pytest.mark.usefixtures("_benchmarks_can_be_imported", "_same_number_of_threads")
def test_recipes_are_compared_with_their_control_and_not_trained_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = importlib.import_module("recipe")
    trained = []

    def train(experiment: Experiment, seed: int, *, split: str, name: str) -> dict[str, Any]:
        trained.append((name, seed, experiment.training.ema.decay, experiment.training.epochs))
        return stored_line(name, seed, 30.0 + (seed - 8) * experiment.training.ema.decay)

    monkeypatch.setattr(recipe, "train", train)
    results = tmp_path / "recipe.jsonl"
    options = [str(BENCHMARKS / "pairs" / "chess.yaml"), "--results", str(results), "--set", "training.epochs=2"]
    options += ["--set", "data.root=.", "--set", "student.backbone_weights=file.pth"]
    monkeypatch.setattr(sys, "argv", ["recipe.py", *options])
    recipe.main()
    capsys.readouterr()
    recipe.main()
    printed = capsys.readouterr().out
    arms = list(yaml.safe_load((BENCHMARKS / "arms" / "training_recipes.yaml").read_text()))
    assert [each[:2] for each in trained] == [(arm, seed) for seed in (10, 11, 12) for arm in arms]
    assert {each[2:] for each in trained} == {(0.0, 2), (0.99, 2)}
    assert cell(printed, "ema", 4).startswith("+3.0 [")
    assert len(results.read_text().splitlines()) == 3 * len(arms)
    monkeypatch.setattr(sys, "argv", ["recipe.py", *options, "--summary", "--set", "training.epochs=3"])
    recipe.main()
    assert "| ema |" not in capsys.readouterr().out, "lines of another condition"


@pytest.mark.slow
@pytest.mark.usefixtures("_benchmarks_can_be_imported", "_same_number_of_threads")
def test_a_recipe_is_trained_without_a_teacher(tmp_path: Path) -> None:
    recipe = importlib.import_module("recipe")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_values({"training": {"epochs": 1}})))
    experiment = recipe.experiment_of(tmp_path / "small.yaml", {"training.ema.decay": 0.5})
    assert experiment.teacher == experiment.student
    found = recipe.train(experiment, 10, split="test", name="ema")
    assert len(found["resampled_AP"]) == recipe.RESAMPLES
    assert 0 <= found["figures"]["AP"] <= 100


@pytest.mark.slow
@pytest.mark.usefixtures("_same_number_of_threads")
def test_the_script_for_a_gpu_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    small = "--device cpu --precision float32 --size 64 64 --batches 1 --pairs tiny --parts steps resume --minutes 1"
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", *small.split()])
    importlib.import_module("on_gpu").main()
    found = json.loads(capsys.readouterr().out)
    assert found["resume"] == {"is_equal": True, "largest_difference": 0.0}
    assert found["steps"][0]["seconds_per_step"]["student"] > 0


@pytest.mark.slow
def test_a_cohort_is_measured_against_separate_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    options = "--pairs quickstart --sizes 1 2 --rounds 1 --batches 1"
    monkeypatch.setattr(sys, "argv", ["cohort.py", *options.split()])
    importlib.import_module("cohort").main()
    sizes = json.loads(capsys.readouterr().out)["sizes"]
    assert sizes["1"]["over_separate"] == 1.0
    assert 0.3 < sizes["2"]["over_separate"] < 1.5
