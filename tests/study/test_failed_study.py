"""A study of which nothing has finished, because its trials failed, has failed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import distune
from distune.config.home import Home
from distune.errors import StudyError
from distune.records import Outcome
from distune.study.create import create_study
from distune.study.failures.failed_study import describe_failed_controls, describe_failed_search
from distune.study.failures.reasons import StudyFailedError
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import MakeLoaded, Witness


@dataclasses.dataclass(frozen=True)
class Ended:
    number: int
    outcome: Outcome
    reason: str | None = None


FINISHED, STOPPED = Ended(0, Outcome.FINISHED), Ended(1, Outcome.STOPPED)
CONTROL = Ended(-1, Outcome.FINISHED)


def failed(number: int, reason: str = "bug: x") -> Ended:
    return Ended(number, Outcome.FAILED, reason)


@pytest.mark.parametrize(
    "trials", [[], [CONTROL], [CONTROL, FINISHED], [CONTROL, STOPPED, STOPPED], [failed(-1), FINISHED, failed(1)]]
)
def test_a_search_that_has_not_failed(trials: list[Ended]) -> None:
    assert describe_failed_search(trials) is None


def test_the_commonest_reason_is_given_with_its_count() -> None:
    diverged = [Ended(n, Outcome.DIVERGED, f"loss/task was nan in epoch {n}") for n in (1, 2)]
    trials = [CONTROL, failed(0), *diverged]
    expected = "no trial has finished; the commonest reason, in 2 of 3 trials: loss/task was nan in epoch 1"
    assert describe_failed_search(trials) == expected
    assert describe_failed_search([*trials, STOPPED]) == expected.replace("of 3", "of 4")
    assert describe_failed_search([failed(0)]) == "no trial has finished; the commonest reason, in 1 of 1 trial: bug: x"


def test_controls_that_all_failed_are_named() -> None:
    assert describe_failed_controls([failed(-1), failed(-2, "data: y"), FINISHED]) == (
        "no control has finished; the commonest reason, in 1 of 2 controls: bug: x"
    )
    assert describe_failed_controls([failed(-1), Ended(-2, Outcome.FINISHED), FINISHED]) is None
    assert describe_failed_controls([FINISHED]) is None


def simulate(monkeypatch: pytest.MonkeyPatch, **faults: dict[str, Any]) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))


def make_study(home: Home, make_loaded: MakeLoaded, num_trials: int = 3) -> StudyFolder:
    loaded = make_loaded(search={"num_trials": num_trials, "scheduler": {"kind": "none"}})
    return create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)


@pytest.mark.parametrize("kind", ["error", "nan"])
def test_a_session_in_which_every_trial_fails(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    simulate(monkeypatch, **{"*": {"epoch": 2, "kind": kind}})
    home, witness = Home(tmp_path), Witness()
    folder = make_study(home, make_loaded)
    expected = r"^study one failed: no trial has finished; the commonest reason, in 3 of 3 trials: .*--trials 13"
    with pytest.raises(StudyFailedError, match=expected) as error:
        run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    assert "\n" not in str(error.value)
    assert witness.study_ends == ["failed"]
    assert witness.study_tags["reason"].startswith("no trial has finished; ")
    status = read_study(home, "one")
    assert (status.state, status.reason) == ("failed", witness.study_tags["reason"])
    note = folder.session_file.read_bytes()
    folder.session_file.unlink()  # as after a kill
    assert read_study(home, "one").state == "failed"

    folder.session_file.write_bytes(note)
    study = distune.load_study("one", home=tmp_path)
    assert study.state == "failed"
    for call in (lambda: study.best_trial, lambda: study.confirm(callbacks=[])):
        with pytest.raises(StudyError, match="study one: no trial has finished; the commonest reason, in 3 of 3"):
            call()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StudyFailedError, match=r"nothing is left to run: no trial has finished; .*--trials 13"):
        study.resume(callbacks=[])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    second = Witness()
    assert run_session(folder, tracker=second, callback=second, teacher_weights=None, num_trials=4).state == "finished"
    assert second.study_tags["reason"] == ""
    assert read_study(home, "one").state == "finished"


def test_a_study_that_was_interrupted_has_not_failed(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(monkeypatch, **{"0": {"epoch": 1, "kind": "error"}, "1": {"epoch": 1, "kind": "error"}})
    folder = make_study(Home(tmp_path), make_loaded)

    class Interrupting(Witness):
        def on_epoch_end(self, *event: Any) -> None:
            super().on_epoch_end(*event)
            if event[0].key == "2":
                raise KeyboardInterrupt

    witness = Interrupting()
    assert run_session(folder, tracker=witness, callback=witness, teacher_weights=None).state == "interrupted"
    assert read_study(Home(tmp_path), "one").state == "interrupted"


def test_a_study_whose_control_fails_is_finished(
    tmp_path: Path, make_loaded: MakeLoaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(monkeypatch, **{"control-1": {"epoch": 1, "kind": "error"}})
    folder, witness = make_study(Home(tmp_path), make_loaded), Witness()
    assert run_session(folder, tracker=witness, callback=witness, teacher_weights=None).state == "finished"
    assert read_study(Home(tmp_path), "one").state == "finished"
