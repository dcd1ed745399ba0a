"""The Python API: launch, load, resume, confirm, tables and models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import distune
from distune.errors import ConfigError, StudyError, UsageError
from distune.records import EpochReport, TrialRecord, TrialSpec
from distune.study.callback import Decision
from support.experiments import small_experiment, small_values

UNTRACKED = {"tracking": {"enabled": False}}


class Recorder(distune.Callback):
    """Keeps all events."""

    def __init__(self) -> None:
        self.sessions: list[int] = []
        self.started: list[str] = []
        self.epochs: list[tuple[str, int]] = []
        self.ended: list[TrialRecord] = []
        self.messages: list[str] = []

    def on_session_start(self, num_trials: int) -> None:
        self.sessions.append(num_trials)

    def on_trial_start(self, spec: TrialSpec) -> None:
        self.started.append(spec.key)

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        self.epochs.append((spec.key, report.epoch))

    def on_trial_end(self, record: TrialRecord) -> None:
        self.ended.append(record)

    def on_message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def simulated(name: str = "one", **arguments: object) -> distune.Study:
    options: dict[str, Any] = {"runner": "local", **arguments}
    return distune.launch(small_values(UNTRACKED), name=name, simulate=True, **options)


def test_a_simulated_study_from_plain_data(home: Path) -> None:
    recorder = Recorder()
    study = simulated(overrides={"search.num_trials": 4}, callbacks=[recorder])
    assert (study.name, study.state, study.is_simulated, study.metric) == ("one", "finished", True, "search/AP")
    assert study.path == home / "studies" / "one"
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert [trial.key for trial in study.controls] == ["control-1"]
    assert recorder.sessions == [5]
    assert recorder.started == ["control-1", "0", "1", "2", "3"]
    assert len(recorder.ended) == 5
    assert ("control-1", 3) in recorder.epochs
    assert any(message.startswith("plan: 4 trials") for message in recorder.messages)

    best = max((trial for trial in study.trials if trial.outcome == "finished"), key=lambda t: t.metrics["search/AP"])
    assert study.best_trial == best
    assert study.best_params == best.params
    assert study.best_value == best.metrics["search/AP"]
    assert study.gain == pytest.approx(study.best_value - study.controls[0].metrics["search/AP"])
    with pytest.raises(StudyError, match="simulated, so nothing was trained"):
        study.best_model()


def test_dataframes_have_the_values_of_the_study(home: Path) -> None:
    study = simulated(overrides={"search.num_trials": 3})
    table = study.trials_dataframe()
    assert list(table["key"]) == ["control-1", "0", "1", "2"]
    for trial, (_, row) in zip([*study.controls, *study.trials], table.iterrows(), strict=True):
        assert row["value"] == trial.metrics["search/AP"]
        assert row["outcome"] == trial.outcome
        for path, value in trial.params.items():
            assert row[f"params_{path}"] == value
    row = table[table["number"] == study.best_trial.number].iloc[0]
    assert row["gain"] == pytest.approx(study.gain)
    assert table[table["control"]]["gain"].isna().all()

    curves = study.curves_dataframe()
    assert len(curves) == sum(trial.epochs for trial in study.status.trials)
    assert set(curves[curves["key"] == "control-1"]["epoch"]) == {1, 2, 3}
    assert "search/AP" in curves


def test_load_resume_and_list(home: Path) -> None:
    assert distune.list_studies() == []
    simulated("one")
    simulated("two")
    assert distune.list_studies() == ["one", "two"]
    study = distune.load_study("one")
    before = {trial.number: trial for trial in study.trials}
    recorder = Recorder()
    assert study.resume(num_trials=4, callbacks=[recorder]) is study
    assert study.num_trials == 4
    assert len(study.trials) == 4
    assert all(trial == before[trial.number] for trial in study.trials if trial.number in before)
    assert (recorder.sessions, recorder.started) == ([2], ["2", "3"])
    with pytest.raises(StudyError, match="3 trials were asked for in total, and 4 have been started already"):
        study.resume(num_trials=3)
    with pytest.raises(StudyError, match="known studies: one, two"):
        distune.load_study("three")
    with pytest.raises(StudyError, match="one exists already"):
        simulated("one")
    assert len(simulated("one", replace=True).trials) == 2


def test_the_trials_as_an_optuna_study(home: Path) -> None:
    study = simulated(overrides={"search.num_trials": 5})
    copy = study.optuna_study()
    assert [trial.number for trial in copy.trials] == [0, 1, 2, 3, 4]
    assert copy.best_trial.number == study.best_trial.number
    assert copy.best_value == study.best_value
    assert copy.best_params == study.best_params
    copy.enqueue_trial({})
    assert len(study.trials) == 5


def test_progress_is_shown_unless_callbacks_are_given(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulated("one", callbacks=[])
    assert capsys.readouterr().err == ""
    simulated("two")
    assert "[3 of 3 trials ended]" in capsys.readouterr().err


def test_another_home(tmp_path: Path, home: Path) -> None:
    simulated("one", home=tmp_path / "other")
    assert distune.list_studies() == []
    assert distune.list_studies(home=tmp_path / "other") == ["one"]
    assert distune.load_study("one", home=tmp_path / "other").state == "finished"


def test_a_confirmation(home: Path) -> None:
    study = simulated(overrides={"search.num_trials": 4})
    assert distune.load_study("one").confirmation is None
    recorder = Recorder()
    result = study.confirm(top=1, seeds=3, callbacks=[recorder])
    assert result is not None
    assert study.confirmation == result
    assert study.best_trial.number == result.winner
    assert study.gain == result.gain.mean
    assert (recorder.sessions, len(recorder.ended)) == ([6], 6)
    with pytest.raises(UsageError, match="metric mAP: must be one of AP"):
        study.confirm(metric="mAP")


def test_an_experiment_and_a_space_made_in_python(home: Path) -> None:
    experiment = small_experiment({**UNTRACKED, "name": "made"})
    weight = {"kind": "float", "low": 0.5, "high": 2.0}
    space = distune.SearchSpace.model_validate(
        {"name": "mine", "parameters": {"distillation.local_knowledge.weight": weight}}
    )
    study = distune.launch(experiment, space=space, simulate=True, runner="local")
    assert study.name == "made-simulated"
    assert study.experiment == experiment.model_copy(update={"search": study.experiment.search})
    assert all(set(trial.params) == {"distillation.local_knowledge.weight"} for trial in study.trials)
    assert all(0.5 <= float(trial.params["distillation.local_knowledge.weight"] or 0) <= 2 for trial in study.trials)


def test_fixed_parameters_and_a_warm_start(home: Path) -> None:
    first = simulated("first", overrides={"search.num_trials": 3})
    recorder = Recorder()
    fixed = {"distillation.soft_labels.weight": 0.5}
    second = simulated("second", warm_start="first", warm_start_top=1, fixed=fixed, callbacks=[recorder])
    assert all("distillation.soft_labels.weight" not in trial.params for trial in second.trials)
    assert any("1 configurations of first" in message for message in recorder.messages)
    taken = {path: value for path, value in first.best_params.items() if path not in fixed}
    assert taken in [trial.params for trial in second.trials]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"overrides": {"training.epoch": 3}}, ConfigError, 'did you mean "epochs"'),
        ({"overrides": {"training.epochs": 0}}, ConfigError, "must be at least 1"),
        ({"fixed": {"training.nothing": 3}}, ConfigError, "training.nothing"),
        ({"space": "absent"}, UsageError, "absent"),
        ({"space": {"name": "bad", "parameters": {"x": {"kind": "int", "low": 1, "high": 2}}}}, ConfigError, "x"),
        ({"warm_start": "absent"}, StudyError, "study absent"),
        ({"name": "../up"}, UsageError, "../up"),
        ({"runner": "loca"}, UsageError, "runner loca: must be one of ray, local"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    home: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        simulated(**{"name": "one", **arguments})  # type: ignore[arg-type]
    assert not home.exists()


def test_validate(home: Path) -> None:
    result = distune.validate(small_values())
    assert result.plan.num_trials == 2
    assert result.data is not None
    assert "8 training, 4 search, 2 test images" in result.data
    assert any(line.startswith("disk: ") for line in result.plan_lines)
    assert result.findings == ()
    assert result.time_plan is None
    assert result.plan_lines[-1].startswith("estimated time: not measured yet")
    with pytest.raises(ConfigError):
        distune.validate(small_values(), overrides={"student.backbone": "resnet7"})
    assert not home.exists()


@pytest.mark.slow
def test_validation_measures_the_time(home: Path) -> None:
    result = distune.validate(small_values(), measure_time=True)
    assert result.time_plan is not None
    assert result.time_plan.epoch_s.student > 0
    assert (result.time_plan.teacher_epochs, result.time_plan.epoch_s.is_alone) == (1, True)
    assert result.time_plan.teacher_s == result.time_plan.epoch_s.teacher
    assert not home.exists()


def test_a_simulated_study_has_no_times_and_no_sizes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = simulated()
    status = study.status
    assert (status.time, status.teacher_value, study.model_sizes()) == (None, None, None)
    assert "estimated time" not in capsys.readouterr().err
    assert sorted(path.name for path in study.path.iterdir() if path.name in ("teacher.json", "sizes.json")) == []


@pytest.mark.slow
def test_real_training_from_launch_to_model(home: Path) -> None:
    study = distune.launch(small_values(UNTRACKED), runner="local")
    assert study.state == "finished"
    assert study.teacher_value is not None
    model = study.best_model()
    assert not model.training
    with torch.inference_mode():
        found = model([torch.rand(3, 64, 64), torch.rand(3, 48, 80)])
    assert [set(each) for each in found] == [{"boxes", "labels", "scores"}] * 2
    scored = distune.evaluate(small_values(), study.best_weights)
    assert scored["search/AP"] == pytest.approx(study.best_value)
    control = study.load_model(-1)
    assert {name: value.shape for name, value in control.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    with pytest.raises(StudyError, match="there is no trial 99"):
        study.load_model(99)

    status = study.status
    assert status.teacher_value == study.teacher_value
    assert status.time is not None
    assert status.time.left_s is None
    assert (status.time.epoch_s or 0) > 0
    sizes = study.model_sizes()
    assert sizes is not None
    assert [each.name for each in sizes.models] == ["teacher", "control", "student"]
    assert sizes.image_size_px == 64
    assert (sizes.models[1].parameters, sizes.models[1].flops) == (sizes.models[2].parameters, sizes.models[2].flops)
    assert sizes.models[2].parameters == sum(each.numel() for each in model.parameters())
    assert sizes.models[2].file_bytes == study.best_weights.stat().st_size
    assert sizes.models[0].flops > sizes.models[2].flops
    file = study.path / "sizes.json"
    assert file.is_file(), "the session has measured"
    file.write_text("{")
    assert study.model_sizes() is not None
    assert "architecture" in file.read_text(), "a damaged file is written again"

    trained = distune.train(small_values(), overrides={"training.epochs": 1}, control=True)
    assert trained.weights.is_file()
    assert trained.best.epoch == 1
    teacher = distune.prepare_teacher(small_values())
    assert not teacher.is_new
    assert teacher.metrics["search/AP"] == study.teacher_value
