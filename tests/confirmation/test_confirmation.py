"""Confirmations of simulated studies."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from confirmation.confirming import EPOCHS, METRIC, computed_epochs, confirm, record, searched_study
from distune.config.home import Home
from distune.config.load import trial_experiment
from distune.confirmation import confirmation_session
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms import candidates, fresh_seeds, make_arms, make_spec
from distune.confirmation.confirmation_plan import ConfirmationPlan, plan_confirmation
from distune.errors import ConfigError, StudyError
from distune.evidence.average_precision import score_of
from distune.evidence.confirmation_result import Candidate, ConfirmationResult, EvaluationRecord
from distune.evidence.gain import MIN_IMAGES, Gain, Verdict, measure_gain
from distune.evidence.matches import half_of_images
from distune.evidence.resampling import resample_runs
from distune.records import Outcome
from distune.study.files.confirmation_folder import ConfirmationFolder
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.session import run_session
from distune.study.status import best_trial, read_study
from study.harness import MakeLoaded, Witness


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


class TestArms:
    def test_the_best_finished_trials_of_the_search_are_chosen(self) -> None:
        trials = [record(-1, 90, {}), record(0, 30, {}), record(1, 99, {}, Outcome.STOPPED), record(2, 33, {})]
        assert [each.number for each in candidates(trials, METRIC, top=5)] == [2, 0]
        assert [each.number for each in candidates(trials, METRIC, top=1)] == [2]
        with pytest.raises(StudyError, match="no trial has finished"):
            candidates(trials[:1], METRIC, top=1)

    def test_trials_that_differ_in_distillation_alone_share_a_control(self) -> None:
        distillation = "distillation.decay"
        arms = make_arms([record(4, 1, {distillation: "linear"}), record(2, 1, {distillation: "cosine"})])
        assert [arm.name for arm in arms.all] == ["control", "4", "2"]
        rate = "training.optimizer.learning_rate"
        arms = make_arms(
            [record(4, 1, {rate: 0.1}), record(2, 1, {rate: 0.2}), record(3, 1, {rate: 0.1, distillation: "linear"})]
        )
        first, second = (arm.name for arm in arms.controls)
        assert arms.control_of == {4: first, 2: second, 3: first}
        assert arms.controls[1].params == {rate: 0.2}
        assert first.startswith("control-")

    def test_controls_of_several_trials_have_the_same_name(self) -> None:
        rate, depth = "training.optimizer.learning_rate", "student.fpn_channels"
        before = make_arms([record(4, 1, {rate: 0.1, depth: 16, "distillation.decay": "linear"})])
        after = make_arms([record(9, 2, {depth: 16, rate: 0.1}), record(4, 1, {rate: 0.1, depth: 16})])
        assert before.controls == after.controls

    def test_a_control_is_its_trial_without_distillation(self, make_loaded: MakeLoaded) -> None:
        experiment = make_loaded().experiment
        chosen = [record(4, 1, {"training.optimizer.learning_rate": 0.07, "distillation.decay": "cosine"})]
        arms = make_arms(chosen)
        common: dict[str, Any] = {"seed": 1005, "study": "one", "experiment": experiment, "folder": Path("f")}
        trial, control = (
            make_spec(arm, **common, teacher_weights="t.pt") for arm in (arms.trials[0], arms.controls[0])
        )
        assert (trial.key, control.key) == ("confirm-4-seed-1005", f"confirm-{arms.controls[0].name}-seed-1005")
        assert (trial.control, control.control) == (False, True)
        assert (trial.teacher_weights, control.teacher_weights) == ("t.pt", None)
        assert trial.experiment["training"] == control.experiment["training"]
        assert trial.experiment["training"]["optimizer"]["learning_rate"] == 0.07
        assert control.experiment["distillation"]["global_knowledge"]["weight"] == 0.0
        assert trial.tags == {"kind": "confirmation", "confirms": "4"}

    def test_a_control_may_be_incompatible_with_the_distillation_that_it_leaves_out(
        self, make_loaded: MakeLoaded
    ) -> None:
        student = {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 256}
        terms = {"mimic": {"weight": 1.0, "adapter": "identity"}}
        experiment = make_loaded(student=student, distillation=terms).experiment
        chosen = [record(4, 1, {"student.fpn_channels": 64, "distillation.mimic.adapter": "conv1x1"})]
        (control,) = make_arms(chosen).controls
        with pytest.raises(ConfigError, match="needs equal fpn_channels"):
            trial_experiment(experiment, control.params)
        spec = make_spec(control, seed=1005, study="one", experiment=experiment, folder=Path("f"), teacher_weights=None)
        assert spec.experiment["student"]["fpn_channels"] == 64
        assert spec.experiment["distillation"]["mimic"]["weight"] == 0.0

    def test_seeds_are_fresh_and_more_of_them_begin_with_fewer(self, make_loaded: MakeLoaded) -> None:
        experiment = make_loaded(search={"controls": 3}).experiment
        used = {5, 6, 7}  # of the trials and the controls
        seeds = fresh_seeds(experiment, 8)
        assert not used & set(seeds)
        assert len(set(seeds)) == 8
        assert fresh_seeds(experiment, 3) == seeds[:3]


@pytest.mark.usefixtures("rendered_figures", "all_resamples")
def test_a_confirmation_from_the_search_to_the_test_split(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    witness = Witness()
    result = confirm(home, folder, witness)
    assert result is not None
    leaders = candidates(read_study(home, "one").trials, METRIC, top=2)
    assert {each.number for each in result.candidates} == {each.number for each in leaders}
    assert result.winner == result.candidates[0].number
    scores = [each.score for each in result.candidates if each.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 2
    assert [each.search is None for each in result.candidates] == [False, True]
    assert (result.seeds, result.selection_seeds) == ((1005, 1006, 1007), (2005,))
    assert result.test is not None
    assert list(result.test.by_seed) == [1005, 1006, 1007]
    assert (result.test.verdict, result.split, result.previous_test_evaluations) == (Verdict.GAIN, "test", 0)
    assert result.test.low < result.test.mean < result.test.high
    tables = (
        {seed: ArmFolder(folder.confirmation.path / f"seed-{seed}" / arm).matches("test") for seed in result.seeds}
        for arm in (str(result.winner), "control")
    )
    runs_of_arms = [
        resample_runs({seed: table for seed, table in each.items() if table is not None}, "AP", num_resamples=1000)
        for each in tables
    ]
    assert result.test == measure_gain(*runs_of_arms, error=0.04)
    assert read_study(home, "one").confirmation == result
    assert folder.confirmation.picture_file.stat().st_size > 1000

    runs = {spec.key for spec in witness.specs}
    assert len(runs) == 2 + 2 * 3
    assert {spec.key for spec in witness.specs if spec.seed > 2000} == {
        f"confirm-{each.number}-seed-2005" for each in leaders
    }
    assert {spec.key for spec in witness.specs if spec.seed < 2000} == {
        f"confirm-{arm}-seed-{seed}" for arm in ("control", result.winner) for seed in (1005, 1006, 1007)
    }
    assert len(witness.points) == len(set(witness.points)) == 8 * EPOCHS
    assert set(witness.outcomes().values()) == {Outcome.FINISHED}
    assert {each.key for each in witness.records} == runs
    assert witness.study_ends == ["finished"]
    assert witness.figures["gain/AP"] == result.test.mean
    assert (witness.figures["gain/low"], witness.figures["gain/high"]) == (result.test.low, result.test.high)
    assert (None, "gain.png", "report") in witness.files


def test_the_best_seed_is_the_one_that_scores_best_on_the_search_split(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    result = confirm(home, folder, top=1)
    assert result is not None
    scores = {}
    for seed in result.seeds:
        table = ArmFolder(folder.confirmation.path / f"seed-{seed}" / str(result.winner)).matches("search")
        assert table is not None
        scores[seed] = score_of(table, "AP")
    assert result.best_seed == max(scores, key=lambda seed: scores[seed])
    assert result.weights == f"confirmation/seed-{result.best_seed}/{result.winner}/best.pt"


def test_a_second_confirmation_computes_nothing_and_evaluates_nothing(
    home: Home, make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_log": str(tmp_path / "epoch_log")}))
    result = confirm(home, folder)
    files = {path: path.stat().st_mtime_ns for path in folder.confirmation.path.rglob("matches-*.npz")}
    assert len(files) == 8 + 6  # all runs on the search split; the winner and the control on the test split
    lines = computed_epochs(tmp_path / "epoch_log")
    again = Witness()
    assert confirm(home, folder, again) == result
    assert computed_epochs(tmp_path / "epoch_log") == lines
    assert len(lines) == len(set(lines)) == 8 * EPOCHS
    assert {path: path.stat().st_mtime_ns for path in folder.confirmation.path.rglob("matches-*.npz")} == files
    assert not again.specs
    assert not again.records
    assert not again.points
    assert (
        folder.confirmation.test_evaluations()
        == [EvaluationRecord(trial=result.winner, seeds=result.seeds, metric="AP")]
        if result
        else False
    )


def test_more_seeds_and_more_trials_reuse_the_recorded_runs(
    home: Home, make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_log": str(tmp_path / "epoch_log")}))
    first = confirm(home, folder, top=1, seeds=2)
    second = confirm(home, folder, top=2, seeds=4)
    assert first is not None
    assert second is not None
    lines = computed_epochs(tmp_path / "epoch_log")
    results = 4 if second.winner == first.winner else 2 + 4  # students; the controls are shared
    assert len(lines) == len(set(lines)) == (2 + 4 + results) * EPOCHS
    assert first.previous_test_evaluations == 0
    assert second.previous_test_evaluations == (second.winner != first.winner)


def test_another_winner_is_another_test_evaluation(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded, num_trials=3)
    first = confirm(home, folder, top=1)
    run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None, num_trials=30)
    leader, _ = best_trial(read_study(home, "one"))
    assert first is not None
    assert leader.number != first.winner, "the search has found a better one"
    witness = Witness()
    second = confirm(home, folder, witness, top=1)
    assert second is not None
    assert second.winner == leader.number
    assert second.previous_test_evaluations == 1
    assert not [spec for spec in witness.specs if spec.control], "the controls are those of before"


def test_nothing_to_compare_is_an_error_that_says_why(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, '{"faults": {"*": {"epoch": 1, "kind": "nan"}}}')
    with pytest.raises(StudyError, match=r"no run has finished beside its control:\nconfirm-\d+-seed-2005: diverged"):
        confirm(home, folder)
    assert folder.confirmation.test_evaluations() == []
    assert read_study(home, "one").state == "finished"


def test_without_a_test_split_the_search_split_decides(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    result = confirm(home, folder, top=1, has_test=False)
    assert result is not None
    assert (result.test, result.split) == (None, "search")
    assert result.gain is result.search
    assert result.gain.num_images == 150
    assert not list(folder.confirmation.path.rglob("matches-test.npz"))


def test_without_a_test_split_half_of_the_images_choose_and_the_others_measure(
    home: Home, make_loaded: MakeLoaded
) -> None:
    folder = searched_study(home, make_loaded)
    result = confirm(home, folder, top=2, has_test=False)
    assert result is not None
    assert result.gain.num_images == 75
    choosing_I = half_of_images(150)
    for candidate in result.candidates:
        (seed,) = result.selection_seeds
        arm = ArmFolder(folder.confirmation.path / f"seed-{seed}" / str(candidate.number))
        table = arm.matches("search")
        assert table is not None
        assert candidate.score == score_of(table.of_images(choosing_I), "AP"), "the search has seen all images"
    seed = result.seeds[0]
    pair = [
        ArmFolder(folder.confirmation.path / f"seed-{seed}" / arm).matches("search")
        for arm in (str(result.winner), "control")
    ]
    student, control = (score_of(table.of_images(~choosing_I), "AP") for table in pair if table is not None)
    assert result.gain.by_seed[seed] == pytest.approx(student - control)


def test_after_each_seed_the_worst_trial_is_dropped(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded, num_trials=5, scheduler_kind="none")
    witness = Witness()
    result = confirm(home, folder, witness, top=4)
    assert result is not None
    assert result.selection_seeds == (2005, 2006, 2007)
    chosen = [spec for spec in witness.specs if spec.seed >= 2000]
    assert [sum(spec.seed == seed for spec in chosen) for seed in result.selection_seeds] == [4, 3, 2]
    assert [each.num_selection_seeds for each in result.candidates] == [3, 3, 2, 1]
    assert len(witness.specs) == 9 + 6
    searched = {trial.number: trial.metrics[METRIC] for trial in read_study(home, "one").trials}
    for each in result.candidates:
        tables = [
            ArmFolder(folder.confirmation.path / f"seed-{seed}" / str(each.number)).matches("search")
            for seed in result.selection_seeds[: each.num_selection_seeds]
        ]
        scores = [score_of(table, "AP") for table in tables if table is not None]
        assert each.score == pytest.approx((searched[each.number] + sum(scores)) / (1 + len(scores)))
    first, second, *_ = result.candidates
    assert (first.score or 0) >= (second.score or 0)


def test_a_second_analysis_has_a_wider_interval_and_is_counted(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    first, second = (confirm(home, folder, top=1, seeds=seeds) for seeds in (3, 4))
    assert first is not None
    assert second is not None
    assert (first.num_analyses, second.num_analyses) == (1, 2)
    assert first.gain.nominal_error == 0.04
    assert second.gain.nominal_error < 0.02
    assert second.previous_test_evaluations == 0, "the interval is wider for it"
    assert confirm(home, folder, top=1, seeds=4) == second, "the same analysis counts once"


def test_seeds_are_added_until_the_question_is_decided(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    witness = Witness()
    result = confirm(home, folder, witness, top=1, seeds=3, max_seeds=8, margin=0.5)
    assert result is not None
    assert result.is_decided
    assert 3 <= len(result.seeds) <= 8
    assert (result.max_seeds, result.margin) == (8, 0.5)
    records = folder.confirmation.analyses(result.winner, "AP", "test")
    assert [each.num_seeds for each in records] == list(range(3, len(result.seeds) + 1))
    assert {each.plan for each in records} == {(3, 8)}
    assert len({each.error for each in records}) == 1, "one nominal level for the whole plan"
    assert confirm(home, folder, top=1, seeds=3, max_seeds=8, margin=0.5) == result


def test_a_gain_that_is_too_small_to_matter_ends_it_as_well(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    plain = confirm(home, folder, top=1, seeds=3)
    assert plain is not None
    candidate = plain.best
    small = dataclasses.replace(plain.gain, mean=0.1, low=-0.2, high=0.4)
    assert candidate.verdict(small) is Verdict.NOT_SHOWN
    assert candidate.verdict(small, margin=0.3) is Verdict.NOT_SHOWN
    assert candidate.verdict(small, margin=0.5) is Verdict.NO_RELEVANT_GAIN
    text = candidate.describe(small, num_seeds=3, margin=0.5)
    assert text == "no gain of more than 0.5 AP: +0.1 AP [-0.2, +0.4], 3 seeds"
    assert dataclasses.replace(plain, test=small, margin=0.5).is_decided


def test_more_seeds_decide_nothing_where_too_few_images_count(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    plain = confirm(home, folder, top=1, seeds=3)
    assert plain is not None
    open_gain = dataclasses.replace(plain.gain, mean=1.0, low=-0.2, high=2.2, num_images=MIN_IMAGES)
    few_images = dataclasses.replace(open_gain, num_images=MIN_IMAGES - 1)
    found = {
        gain.num_images: dataclasses.replace(plain, test=gain, max_seeds=20, margin=0.5)
        for gain in (open_gain, few_images)
    }
    assert {number: (result.verdict, result.is_decided) for number, result in found.items()} == {
        MIN_IMAGES: (Verdict.NOT_SHOWN, False),
        MIN_IMAGES - 1: (Verdict.UNDECIDED, True),
    }


def test_a_plan_with_too_few_images_ends_at_its_first_interval(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setattr(
        confirmation_session, "measure_gain", lambda *each, **options: _few_images(measure_gain(*each, **options))
    )
    result = confirm(home, folder, top=1, seeds=2, max_seeds=5, margin=0.5)
    assert result is not None
    assert result.verdict is Verdict.UNDECIDED
    assert len(result.seeds) == 2


def _few_images(gain: Gain) -> Gain:
    return dataclasses.replace(gain, num_images=MIN_IMAGES - 1)


def test_a_plan_without_an_answer_ends_at_its_last_seed(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setattr(ConfirmationResult, "is_decided", False)
    witness = Witness()
    result = confirm(home, folder, witness, top=1, seeds=2, max_seeds=5, margin=0.5)
    assert result is not None
    assert len(result.seeds) == 5
    said = [message for message in witness.messages if message.startswith("after ")]
    assert [message.split()[1] for message in said] == ["2", "3", "4"]


def test_one_seed_is_undecided(home: Home, make_loaded: MakeLoaded) -> None:
    result = confirm(home, searched_study(home, make_loaded), top=1, seeds=1)
    assert result is not None
    assert result.gain.verdict is Verdict.UNDECIDED


def planned(home: Home, folder: StudyFolder, *, top: int, max_seeds: int | None = None) -> ConfirmationPlan:
    status, experiment = read_study(home, folder.name), folder.load().experiment
    return plan_confirmation(
        folder, status, experiment, top=top, num_seeds=2, teacher_weights=None, max_seeds=max_seeds
    )


@pytest.mark.parametrize(
    ("epoch_s", "max_seeds", "expected"),
    [
        (None, None, None),
        # two trials under one seed of the race, then two arms under two seeds: 6 runs of 3 epochs
        (20.0, None, "at most 6 min, if runs train one after the other (20 s per epoch in the search)"),
        (20.0, 5, "at most 6 min for the first interval, and 2 min for each further seed, if runs"),
    ],
)
def test_a_plan_estimates_its_time(
    home: Home, make_loaded: MakeLoaded, epoch_s: float | None, max_seeds: int | None, expected: str | None
) -> None:
    folder = searched_study(home, make_loaded)
    described = planned(home, folder, top=2, max_seeds=max_seeds).describe_time(epoch_s)
    assert (described is None) is (expected is None)
    assert expected is None or expected in (described or "")


def test_no_time_is_estimated_when_all_runs_are_on_record(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    confirm(home, folder, top=1, seeds=2)
    assert planned(home, folder, top=1).describe_time(20.0) is None


def test_another_metric_needs_no_training(
    home: Home, make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    confirm(home, folder, top=1)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_log": str(tmp_path / "epoch_log")}))
    result = confirm(home, folder, top=1, metric="VOC_AP50")
    assert result is not None
    assert result.gain.metric == "VOC_AP50"
    assert result.previous_test_evaluations == 1, "another metric is another evaluation"
    assert not (tmp_path / "epoch_log").exists()


def test_runs_trained_under_other_settings_are_trained_again(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    confirm(home, folder, top=1, seeds=1)
    name = next(path for path in (folder.confirmation.path / "seed-1005").iterdir() if path.name.isdigit())
    values = json.loads((name / "trial.json").read_text())
    values["experiment"]["training"]["batch_size"] += 1
    (name / "trial.json").write_text(json.dumps(values))
    witness = Witness()
    confirm(home, folder, witness, top=1, seeds=1)
    assert [spec.key for spec in witness.specs] == [f"confirm-{name.name}-seed-1005"]
    assert "was trained under other settings" in witness.messages[0]


def test_a_later_session_of_the_search_leaves_the_confirmed_gain_alone(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    confirm(home, folder, top=1)
    witness = Witness()
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None, num_trials=5)
    assert set(witness.figures) == {METRIC}


def test_edited_settings_are_refused(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    text = folder.experiment_file.read_text()
    folder.experiment_file.write_text(text.replace(f"epochs: {EPOCHS}\n", f"epochs: {EPOCHS + 1}\n"))
    with pytest.raises(StudyError, match="cannot continue with changed settings"):
        confirm(home, folder)
    assert not folder.confirmation.path.exists()


def test_two_confirmations_at_a_time_are_refused(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setattr("distune.study.files.study_lock._TIMEOUT_S", 0.05)
    with folder.lock(), pytest.raises(StudyError, match="is running in another process"):
        confirm(home, folder)


def test_the_record_survives_its_file_and_a_damaged_one_is_named(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    result = confirm(home, folder, top=1, seeds=1)
    own: ConfirmationFolder = folder.confirmation
    assert own.read() == result
    for file, read in ((own.record_file, own.read), (own.test_evaluations_file, own.test_evaluations)):
        file.write_text('{"metric": ')
        with pytest.raises(StudyError, match=f"{file.name} cannot be read"):
            read()


def test_evaluations_that_an_earlier_version_recorded_count(tmp_path: Path) -> None:
    own = ConfirmationFolder(tmp_path)
    (tmp_path / "test-looks.json").write_text('[{"trial": 4, "seeds": [1005, 1006]}]')
    assert own.test_evaluations() == [EvaluationRecord(trial=4, seeds=(1005, 1006), metric=None)]
    evaluation = EvaluationRecord(trial=4, seeds=(1005, 1006), metric="AP")
    others = [EvaluationRecord(trial=4, seeds=(1005, 1006), metric=None)]
    assert [own.record_test_evaluation(evaluation), own.record_test_evaluation(evaluation)] == [others, others]
    assert own.test_evaluations()[1] == evaluation
    assert len(json.loads((tmp_path / "test-evaluations.json").read_text())) == 2


def test_a_result_that_an_earlier_version_wrote_is_read(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    result = confirm(home, folder, top=1)
    file = folder.confirmation.record_file
    values = json.loads(file.read_text())
    values["other_looks"] = values.pop("previous_test_evaluations")
    file.write_text(json.dumps(values))
    assert folder.confirmation.read() == result


def test_runs_that_an_earlier_version_reported_are_not_reported_again(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    confirm(home, folder, top=1)
    for file in folder.confirmation.path.rglob("reported.json"):
        file.rename(file.with_name("told.json"))
    again = Witness()
    confirm(home, folder, again, top=1)
    assert (again.specs, again.records) == ([], [])


@pytest.mark.parametrize(
    ("failures", "verdict", "words"),
    [
        ((), Verdict.GAIN, "gain +2.0 AP [+1.0, +3.0], 3 seeds"),
        (
            ("confirm-4-seed-1008: failed (bug)", "confirm-control-seed-1009: diverged (nan: in epoch 2)"),
            Verdict.GAIN,
            "gain +2.0 AP [+1.0, +3.0], 3 of 5 seeds, 1 failed, 1 control diverged",
        ),
        (
            ("confirm-4-seed-1008: diverged (nan)", "confirm-4-seed-1009: diverged (nan)"),
            Verdict.UNSTABLE,
            "unstable: +2.0 AP [+1.0, +3.0], 3 of 5 seeds, 2 diverged",
        ),
    ],
)
def test_seeds_that_are_missing_are_counted(failures: tuple[str, ...], verdict: Verdict, words: str) -> None:
    gain = Gain(
        metric="AP",
        mean=2.0,
        low=1.0,
        high=3.0,
        student=35.0,
        control=33.0,
        by_seed={1005: 2.0, 1006: 1.5, 1007: 2.5},
        num_images=150,
        error_seeds=0.1,
        error_images=0.1,
    )
    candidate = Candidate(number=4, control="control", search=gain, failures=failures)
    assert candidate.verdict(gain) is verdict
    assert candidate.describe(gain, num_seeds=3 + len(failures)) == words


def test_with_several_teachers_the_interval_covers_teachers(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    plain = confirm(home, folder, top=1, seeds=6)
    witness = Witness()
    result = confirm(home, folder, witness, top=1, seeds=6, teachers=3)
    assert plain is not None
    assert result is not None
    number = result.winner
    assert {spec.key for spec in witness.specs} == {
        f"confirm-{number}-teacher-{teacher}-seed-{seed}"
        for seed, teacher in ((1006, 2), (1007, 3), (1009, 2), (1010, 3))
    }, "the runs with the study's own teacher and the controls are on record"
    gain = result.gain
    assert (gain.num_teachers, gain.num_units, gain.num_seeds) == (3, 3, 6)
    means = [(gain.by_seed[1005 + first] + gain.by_seed[1008 + first]) / 2 for first in range(3)]
    assert gain.mean == pytest.approx(sum(means) / 3)
    assert ", 6 seeds, 3 teachers" in result.summary
    assert gain.nominal_error == plain.gain.nominal_error, "a claim of its own"
