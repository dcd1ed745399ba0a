"""Creating, running, resuming and reading studies on disk, with the local runner."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from distune.config.experiment import NAME_PATTERN
from distune.config.home import Home
from distune.errors import ResourceError, StudyError, UsageError
from distune.records import EpochReport, Outcome, TrialSpec, TrialState
from distune.study.callback import Decision
from distune.study.create import create_study, default_name
from distune.study.failures.reasons import StudyFailedError
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.session import run_session
from distune.study.status import best_trial, find_study, read_study, study_names
from distune.study.storage.optuna_storage import StudyStoppedError
from study.harness import MakeLoaded, Witness

METRIC = "search/AP"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def create(home: Home, make_loaded: MakeLoaded, name: str = "one", **sections: Any) -> StudyFolder:
    replace = sections.pop("replace", False)
    return create_study(make_loaded(**sections), home, name=name, simulate=True, runner="local", replace=replace)


class SignalAfter(Witness):
    """Sends this process a signal after a number of epochs."""

    def __init__(self, epochs: int, number: signal.Signals) -> None:
        super().__init__()
        self._epochs, self._number = epochs, number

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        super().on_epoch_end(spec, report, decision)
        if len(self.decisions) == self._epochs:
            os.kill(os.getpid(), self._number)


def test_a_study_from_creation_to_the_best_trial(home: Home, make_loaded: MakeLoaded) -> None:
    folder = create(home, make_loaded)
    assert read_study(home, "one").state == "interrupted"
    assert folder.load() == make_loaded().__class__(
        experiment=make_loaded().experiment, space=make_loaded().space, source=str(folder.experiment_file)
    )
    witness = Witness()
    result = run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    assert result.state == "finished"
    assert witness.study_ends == ["finished"]
    assert {name for key, name, _ in witness.files if key is None} == {"experiment.yaml", "space.yaml"}

    status = read_study(home, "one")
    assert (status.study, status.state, status.metric) == ("one", "finished", METRIC)
    assert [record.key for record in status.trials] == ["control-1", *map(str, range(12))]
    recorded = {record.key: record for record in witness.records}
    for record in status.trials:
        assert record == recorded[record.key], "the tracker has the same record as the disk"

    winner, gain = best_trial(status)
    finished = [trial for trial in status.trials if trial.outcome is Outcome.FINISHED and not trial.control]
    assert winner.metrics[METRIC] == max(trial.metrics[METRIC] for trial in finished)
    assert gain == pytest.approx(winner.metrics[METRIC] - status.trials[0].metrics[METRIC])
    assert witness.figures == {METRIC: winner.metrics[METRIC], "gain/AP": gain}


def test_status_as_json(home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"faults": {"1": {"epoch": 1, "kind": "nan"}, "2": {"epoch": 2, "kind": "error"}}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps(values))
    folder = create(home, make_loaded, search={"num_trials": 3, "scheduler": {"kind": "none"}})
    run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    values = json.loads(json.dumps(read_study(home, "one").to_dict(), allow_nan=False))
    assert list(values) == [
        *("study", "state", "reason", "simulated"),
        *("metric", "teacher", "teacher_unknown_classes", "runs", "time", "trials"),
        *("unrecorded_trials", "damaged_records", "lost_records", "copied_from"),
        *("identical_trials", "confirmation"),
    ]
    assert {"number", "state", "outcome", "control", "epochs", "params", "metrics", "seed"} <= set(values["trials"][0])
    control, first, diverged, failed = values["trials"]
    assert (control["number"], control["control"], control["params"], control["seed"]) == (-1, True, {}, 5)
    assert (first["state"], first["outcome"], first["epochs"]) == ("COMPLETE", "finished", 9)
    assert (diverged["state"], diverged["outcome"], diverged["epochs"]) == ("PRUNED", "diverged", 1)
    assert diverged["metrics"]["loss/task"] is None
    assert "loss/task" in diverged["reason"]
    assert (failed["state"], failed["outcome"], failed["epochs"]) == ("FAIL", "failed", 1)


@pytest.mark.parametrize("cohort", [1, 4])
def test_a_corrupted_process_ends_the_session_and_resume_continues(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch, cohort: int
) -> None:
    search = {"num_trials": 6, "scheduler": {"kind": "none"}}
    folder = create(home, make_loaded, search=search, resources={"cohort": cohort})
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {"*": {"epoch": 2, "kind": "device_error"}}}))
    first = Witness()
    with pytest.raises(StudyStoppedError) as caught:
        run_session(folder, tracker=first, callback=first, teacher_weights=None)
    assert str(caught.value) == (
        "study one stopped: trial 0: bug: RuntimeError: CUDA error: simulated in epoch 2; this process can train no "
        "other trial; no recorded epoch is lost: resuming starts a new process, then run: distune resume one"
    )
    assert [spec.key for spec in first.specs] == ["control-1", "0", "1", "2"][: max(2, cohort)], "no further one starts"
    failed = {key for key, outcome in first.outcomes().items() if outcome is Outcome.FAILED}
    assert failed == (set() if cohort > 1 else {"0"}), "which of several is the cause is not known"
    assert read_study(home, "one").state == "interrupted"
    if cohort > 1:
        assert ("control-1", 2) in first.points, "it was done before the error of another trial"
        assert any("retrying an epoch alone" in text for text in first.messages)

    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    second = Witness()
    assert run_session(folder, tracker=second, callback=second, teacher_weights=None).state == "finished"
    outcomes = {trial.key: trial.outcome for trial in read_study(home, "one").trials}
    assert len(outcomes) == 7
    assert {key for key, outcome in outcomes.items() if outcome is not Outcome.FINISHED} == failed
    epochs = [(key, epoch) for key, epoch, _ in first.decisions + second.decisions]
    assert len(epochs) == len(set(epochs)), "each epoch was recorded once"


def test_the_cause_of_a_corrupted_process_fails_when_it_is_alone(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = {"num_trials": 3, "scheduler": {"kind": "none"}}
    folder = create(home, make_loaded, search=search, resources={"cohort": 4})
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {"1": {"epoch": 2, "kind": "device_error"}}}))
    for _ in range(2):
        with pytest.raises(StudyStoppedError, match=r"trial 1: bug: .*; this process can train no other trial"):
            run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    assert run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None).state == "finished"
    outcomes = {trial.key: trial.outcome for trial in read_study(home, "one").trials}
    assert outcomes.pop("1") is Outcome.FAILED
    assert set(outcomes.values()) == {Outcome.FINISHED}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_and_resume_continues(home: Home, make_loaded: MakeLoaded, number: signal.Signals) -> None:
    undisturbed = create(home, make_loaded, "undisturbed", search={"num_trials": 5})
    run_session(undisturbed, tracker=Witness(), callback=Witness(), teacher_weights=None)
    folder = create(home, make_loaded, search={"num_trials": 5})
    before = signal.getsignal(number)
    first = SignalAfter(13, number)
    assert run_session(folder, tracker=first, callback=first, teacher_weights=None).state == "interrupted"
    assert signal.getsignal(number) is before
    assert first.study_ends == ["interrupted"]
    status = read_study(home, "one")
    assert status.state == "interrupted"
    assert [trial.outcome for trial in status.trials if trial.state is TrialState.RUNNING] == [Outcome.INTERRUPTED]

    second = Witness()
    assert run_session(folder, tracker=second, callback=second, teacher_weights=None).state == "finished"
    epochs = [(key, epoch) for key, epoch, _ in first.decisions + second.decisions]
    assert sorted(epochs) == sorted(set(first.points + second.points)), "each epoch was recorded exactly once"
    for mine, theirs in zip(read_study(home, "one").trials, read_study(home, "undisturbed").trials, strict=True):
        assert (mine.params, mine.epochs, mine.outcome) == (theirs.params, theirs.epochs, theirs.outcome)
        assert mine.metrics.get(METRIC) == theirs.metrics.get(METRIC)


def test_more_trials_are_asked_for_and_remembered(home: Home, make_loaded: MakeLoaded) -> None:
    folder = create(home, make_loaded, search={"num_trials": 2})
    run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    interrupted = SignalAfter(1, signal.SIGTERM)
    run_session(folder, tracker=interrupted, callback=interrupted, teacher_weights=None, num_trials=4)
    assert read_study(home, "one").state == "interrupted"
    run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    assert len(read_study(home, "one").trials) == 5
    assert read_study(home, "one").state == "finished"


def test_a_study_whose_trials_all_fail_has_failed(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, '{"faults": {"*": {"epoch": 1, "kind": "error"}}}')
    folder = create(home, make_loaded, search={"num_trials": 15})
    witness = Witness()
    with pytest.raises(StudyFailedError, match="10 trials in a row failed for the same reason: bug: RuntimeError") as e:
        run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    assert e.value.exit_status == 1
    assert witness.study_ends == ["failed"]
    status = read_study(home, "one")
    assert status.state == "failed"
    assert "simulated error" in (status.reason or "")
    with pytest.raises(StudyError, match="no trial has finished"):
        best_trial(status)


def test_one_session_at_a_time(home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.files.study_lock._TIMEOUT_S", 0.05)
    folder = create(home, make_loaded)
    with folder.lock():
        assert read_study(home, "one").state == "running"
        with pytest.raises(StudyError, match="is running in another process"):
            run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
        with pytest.raises(StudyError, match="is running in another process"):
            create(home, make_loaded, replace=True)
    assert read_study(home, "one").state == "interrupted"
    assert [path.name for path in home.studies.iterdir()] == ["one"]


def test_a_name_in_use(home: Home, make_loaded: MakeLoaded) -> None:
    folder = create(home, make_loaded)
    key = folder.identity().key
    with pytest.raises(StudyError, match=r"distune resume one.*--name.*--replace") as caught:
        create(home, make_loaded)
    assert caught.value.exit_status == 2
    assert folder.identity().key == key
    (folder.trials / "0").mkdir(parents=True)
    assert create(home, make_loaded, replace=True).identity().key != key
    assert not (folder.trials / "0").exists()
    assert [path.name for path in home.studies.iterdir()] == ["one"]


def test_nothing_is_written_when_something_is_wrong(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="a name must start"):
        create(home, make_loaded, "../elsewhere")
    with pytest.raises(ResourceError, match=r"cpus_per_trial = 4096"):
        create_study(
            make_loaded(resources={"cpus_per_trial": 4096.0}),
            home,
            name="one",
            simulate=False,
            runner="local",
            replace=False,
        )
    assert not home.root.exists()
    monkeypatch.setattr("distune.study.create.open_studies", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        create(home, make_loaded)
    assert list(home.studies.iterdir()) == []


def test_a_study_that_is_not_simulated_needs_a_teacher(home: Home, make_loaded: MakeLoaded) -> None:
    folder = create_study(make_loaded(), home, name="real", simulate=False, runner="local", replace=False)
    with pytest.raises(StudyError, match="teacher"):
        run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)


def test_an_unknown_study_names_those_that_exist(home: Home, make_loaded: MakeLoaded) -> None:
    with pytest.raises(StudyError, match="there is none yet"):
        find_study(home, "three")
    folder = create(home, make_loaded)
    shutil.copytree(folder.path, home.study("two"))
    assert study_names(home) == ["one", "two"]
    with pytest.raises(StudyError, match="known studies: one, two"):
        read_study(home, "three")


def test_there_is_no_gain_without_a_control(home: Home, make_loaded: MakeLoaded) -> None:
    folder = create(home, make_loaded, search={"num_trials": 1})
    run_session(folder, tracker=Witness(), callback=Witness(), teacher_weights=None)
    status = read_study(home, "one")
    status.trials.pop(0)
    assert best_trial(status)[1] is None


def test_the_files_of_a_trial_go_to_the_tracker(home: Home, make_loaded: MakeLoaded) -> None:
    class Trainer(Witness):
        """Leaves a picture and weights in the folder of each trial."""

        def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
            super().on_epoch_end(spec, report, decision)
            (Path(spec.folder) / "best.pt").write_bytes(b"student")
            (Path(spec.folder) / "pictures").mkdir(exist_ok=True)
            (Path(spec.folder) / "pictures" / "detections.png").write_bytes(b"picture")

    folder = create(home, make_loaded, search={"num_trials": 4})
    witness = Trainer()
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    outcomes = witness.outcomes()
    assert set(outcomes.values()) == {Outcome.FINISHED, Outcome.STOPPED}
    for key, outcome in outcomes.items():
        logged = {(name, target) for owner, name, target in witness.files if owner == key}
        student = {("best.pt", "student")} if outcome is Outcome.FINISHED else set()
        assert logged == {("trial.json", ""), ("detections.png", "pictures")} | student
        assert (folder.trials / key / "best.pt").exists() == (outcome is Outcome.FINISHED)


def test_the_name_of_a_study_that_was_given_none() -> None:
    assert default_name("mine", simulate=False) == "mine"
    assert default_name("mine", simulate=True) == "mine-simulated"
    longest = default_name(100 * "x", simulate=True)
    assert NAME_PATTERN.fullmatch(longest)
    assert longest.endswith("-simulated")
