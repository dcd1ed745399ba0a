"""Confirmations with faults: they continue, or name what is missing."""

from __future__ import annotations

import errno
import gc
import json
import shutil
import signal
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest

from confirmation.confirming import EPOCHS, METRIC, computed_epochs, confirm, searched_study
from distune.config.home import Home
from distune.confirmation import joint_training as joint
from distune.confirmation import seed_job
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.arms import candidates
from distune.confirmation.confirmation_plan import plan_confirmation
from distune.confirmation.seed_job import SeedJob
from distune.confirmation.simulated_arms import SimulatedRun
from distune.errors import TrialError
from distune.records import EpochReport, Outcome, TrialSpec
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import read_study
from distune.study.storage.optuna_storage import StudyStoppedError
from study.harness import MakeLoaded, Witness
from study.test_session import SignalAfter


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("epochs", [1, 7, 17])
def test_a_signal_interrupts_and_the_same_command_resumes(
    home: Home, make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    folder = searched_study(home, make_loaded)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"epoch_log": str(tmp_path / "epoch_log")}))
    first = SignalAfter(epochs, signal.SIGTERM)
    assert confirm(home, folder, first) is None
    assert folder.confirmation.read() is None
    assert Outcome.INTERRUPTED in first.outcomes().values()
    second = Witness()
    result = confirm(home, folder, second)
    lines = computed_epochs(tmp_path / "epoch_log")
    assert len(lines) == len(set(lines)) == 8 * EPOCHS
    assert len(set(first.points + second.points)) == 8 * EPOCHS
    outcomes = {**first.outcomes(), **second.outcomes()}
    assert set(outcomes.values()) == {Outcome.FINISHED}
    assert result is not None


def test_a_trial_that_diverges_under_a_selection_seed_is_not_chosen(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    chosen = confirm(home, folder)
    assert chosen is not None
    shutil.rmtree(folder.confirmation.path)
    faults = {f"confirm-{chosen.winner}-seed-2005": {"epoch": 2, "kind": "nan"}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    witness = Witness()
    result = confirm(home, folder, witness)
    assert result is not None
    assert result.winner != chosen.winner
    assert result.candidates[1].number == chosen.winner
    assert "loss/task was nan in epoch 2" in result.candidates[1].failures[0]
    assert witness.study_tags["verdict"] == result.summary


def test_a_failed_run_is_tried_again_and_a_diverged_one_is_not(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    number = candidates(read_study(home, "one").trials, METRIC, top=1)[0].number
    faults = {
        f"confirm-{number}-seed-1006": {"epoch": 2, "kind": "nan"},
        f"confirm-{number}-seed-1007": {"epoch": 2, "kind": "error"},
    }
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    witness = Witness()
    result = confirm(home, folder, witness, top=1, seeds=4)
    assert result is not None
    assert ", 2 of 4 seeds, 1 diverged, 1 failed" in result.summary
    outcomes = witness.outcomes()
    assert outcomes[f"confirm-{number}-seed-1006"] is Outcome.DIVERGED
    assert outcomes[f"confirm-{number}-seed-1007"] is Outcome.FAILED
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    again = Witness()
    result = confirm(home, folder, again, top=1, seeds=4)
    assert result is not None
    assert {spec.key for spec in again.specs} == {f"confirm-{number}-seed-1007"}
    assert sorted(result.gain.by_seed) == [1005, 1007, 1008]
    assert result.num_analyses == 2, "the first had fewer seeds"


@pytest.mark.parametrize("is_short_for_one", [False, True])
def test_arms_that_run_out_of_memory_together_are_trained_one_at_a_time(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch, is_short_for_one: bool
) -> None:
    folder = searched_study(home, make_loaded)
    number = candidates(read_study(home, "one").trials, METRIC, top=1)[0].number
    key = f"confirm-{number}-seed-1005"
    faults = {"faults": {key: {"epoch": 2, "kind": "out_of_memory"}}}

    def crowded(specs: Sequence[TrialSpec]) -> SimulatedRun:
        is_short = len(specs) > 1 or is_short_for_one
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps(faults if is_short else {}))
        return SimulatedRun(specs)

    monkeypatch.setattr(joint, "SimulatedRun", crowded)
    witness = Witness()
    result = confirm(home, folder, witness, top=1, seeds=2)
    assert result is not None
    outcomes = witness.outcomes()
    errors = folder.confirmation.path / "seed-1005" / str(number) / "error.txt"
    if is_short_for_one:
        assert outcomes.pop(key) is Outcome.FAILED
        assert errors.read_text().count("MemoryError: simulated in epoch 2") == 1, (
            "only the failure in its own attempt counts"
        )
    assert set(outcomes.values()) == {Outcome.FINISHED}
    assert errors.exists() == is_short_for_one


def test_arms_that_are_trained_again_find_the_memory_of_the_first_attempt_free(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    models: list[weakref.ref[Model]] = []
    alive: list[int] = []

    class Run(SimulatedRun):
        def __init__(self, specs: Sequence[TrialSpec]) -> None:
            super().__init__(specs)
            alive.append(sum(each() is not None for each in models))

        def run_epoch(self) -> dict[str, EpochReport | Exception]:
            if len(models) == 2:
                return super().run_epoch()
            return {key: self._fail() for key in self.behind}

        def _fail(self) -> Exception:
            model = Model()
            models.append(weakref.ref(model))
            try:
                raise MemoryError("no memory")
            except MemoryError as error:
                answer = error  # a cycle: the frame holds the error, which holds the frame
            return answer

    monkeypatch.setattr(joint, "SimulatedRun", Run)
    monkeypatch.setattr(seed_job, "free_memory", lambda: None)
    gc.disable()
    try:
        assert confirm(home, folder, top=1, seeds=1) is not None
    finally:
        gc.enable()
    assert len(models) == 2
    assert alive == [0] * len(alive)


class Model:
    """Memory."""


def test_a_full_disk_fails_no_run(home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files, such as the outcome of a run, still fit."""
    folder = searched_study(home, make_loaded)

    def run_epoch(run: SimulatedRun) -> dict[str, Exception]:
        error = TrialError("last.pt: the checkpoint could not be written")
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        return dict.fromkeys(run.behind, error)

    witness = Witness()
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedRun, "run_epoch", run_epoch)
        with pytest.raises(StudyStoppedError, match=r"last\.pt.*then run: distune confirm one"):
            confirm(home, folder, witness, top=1, seeds=1)
    assert set(witness.outcomes().values()) == {Outcome.INTERRUPTED}
    assert witness.study_ends == ["finished"]
    assert confirm(home, folder, top=1, seeds=1) is not None


def test_a_hanging_epoch_fails_only_its_seed(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded, resources={"epoch_timeout_s": 0.4})
    number = candidates(read_study(home, "one").trials, METRIC, top=1)[0].number
    faults = {f"confirm-{number}-seed-1005": {"epoch": 2, "kind": "hang"}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    witness = Witness()
    result = confirm(home, folder, witness, top=1, seeds=2)
    assert result is not None
    reasons = {each.key: each.reason for each in witness.records if each.outcome is Outcome.FAILED}
    assert reasons == dict.fromkeys(
        ("confirm-control-seed-1005", f"confirm-{number}-seed-1005"),
        "timeout: an epoch took more than resources.epoch_timeout_s = 0.4 for each trial that was trained together",
    )
    assert "time.sleep" in (folder.confirmation.path / "seed-1005" / str(number) / "error.txt").read_text()


def test_notes_of_a_resumed_run_become_messages(
    home: Home, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = searched_study(home, make_loaded)
    note = "last.pt is damaged; continuing from previous.pt"
    monkeypatch.setattr(SimulatedRun, "notes", {"confirm-control-seed-1005": (note,)})
    witness = Witness()
    confirm(home, folder, witness, top=1, seeds=1)
    assert witness.messages == [f"confirm-control-seed-1005: {note}"]


def test_a_lost_worker_fails_only_its_seed(home: Home, make_loaded: MakeLoaded) -> None:
    folder = searched_study(home, make_loaded)
    plan = plan_confirmation(
        folder, read_study(home, "one"), folder.load().experiment, top=1, num_seeds=2, teacher_weights=None
    )
    by_seed = list(zip(*plan.result_runs(plan.arms.trials[0].number), strict=True))
    for spec in by_seed[0]:
        ArmFolder.of(spec).prepare(spec)
    job = SeedJob(specs=by_seed[0], simulate=True, split="search")
    job.fail("worker died: out of luck")
    assert job.is_done
    assert not SeedJob(specs=by_seed[1], simulate=True, split="search").is_done
    assert {ArmFolder.of(spec).outcome() for spec in by_seed[0]} == {(Outcome.FAILED, "worker died: out of luck")}
