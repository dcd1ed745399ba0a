"""A fault at an operation that changes a file: the study is continued, and equals one without faults.

Launch, resume, confirm and replace; a kill, a full disk, an input/output error and a read-only disk. A fault at each
80th operation, every other one a kill; in the torture tests all of them at each operation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.confirmation.confirmation_plan import plan_confirmation
from distune.confirmation.confirmation_session import run_confirmation
from distune.errors import StudyError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.records import TrialState
from distune.study.create import create_study, remove_unfinished
from distune.study.files import session_files
from distune.study.files.study_folder import StudyFolder
from distune.study.session import run_session
from distune.study.status import read_study
from distune.tracking.events import EpochLogged, TrialEnded, decode
from distune.tracking.spool_tracker import SpoolTracker
from study.harness import METRIC, MakeLoaded, Witness
from support.faults import KINDS, Ended, Kind, run_in_fork

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.timeout(3600),
]
COMMANDS = ("launch", "resume", "confirm", "replace")
STEP = 160
NAME = "one"


class NoServer:
    """A tracking server that takes everything."""

    def apply(self, events: Any) -> None: ...


class Disturbed:
    """A study in a home of its own, and what is asked of it."""

    def __init__(self, make_loaded: MakeLoaded, folder: Path) -> None:
        self.make_loaded = make_loaded
        self.folder = folder
        self.home = Home(folder / "home")
        self.study = StudyFolder(self.home.study(NAME))

    def create(self, *, replace: bool = False, num_trials: int = 4) -> None:
        loaded = self.make_loaded(search={"num_trials": num_trials}, training={"epochs": 3})
        create_study(loaded, self.home, name=NAME, simulate=True, runner="local", replace=replace)

    def run(self, stop_after: int | None = None) -> None:
        class Stopper(Witness):
            def on_epoch_end(self, *args: Any) -> None:
                super().on_epoch_end(*args)
                if len(self.decisions) == stop_after:
                    raise KeyboardInterrupt

        with self.study.lock():
            tracker = SpoolTracker(self.study.path, make_sink=NoServer)
            try:
                run_session(self.study, tracker=tracker, callback=Stopper(), teacher_weights=None, is_locked=True)
            finally:
                tracker.close()

    def confirm(self) -> None:
        status, experiment = read_study(self.home, NAME), self.study.load().experiment
        plan = plan_confirmation(self.study, status, experiment, top=2, num_seeds=2, teacher_weights=None)
        with self.study.lock():
            tracker = SpoolTracker(self.study.path, make_sink=NoServer)
            options: dict[str, Any] = {"metric": "AP", "has_test": True, "state": status.state, "is_locked": True}
            try:
                run_confirmation(self.study, plan, tracker=tracker, callback=Witness(), **options)
            finally:
                tracker.close()

    def prepare(self, command: str) -> None:
        """Do all that comes before the command."""
        if command == "launch":
            return
        self.create(num_trials=2 if command == "replace" else 4)
        self.run(stop_after=6 if command == "resume" else None)

    def do(self, command: str) -> None:
        """Do what the command does, from its start or from what an earlier one has left."""
        if command == "confirm":
            self.confirm()
        elif command == "resume":
            self.run()
        else:
            is_former = self.study.study_file.is_file() and self.study.load().experiment.search.num_trials == 2
            if is_former or not self.study.study_file.is_file():
                self.create(replace=command == "replace")
            self.run()

    def result(self) -> tuple[list[Any], ConfirmationResult | None]:
        """Return all that the study holds, without times, after a check that its records agree."""
        status = read_study(self.home, NAME)
        assert status.state == "finished"
        assert (status.lost, status.unrecorded, status.damaged, status.copied_from) == ((), (), (), None)
        rows = []
        points: set[tuple[str, int]] = set()
        for trial in status.trials:
            assert trial.state is not TrialState.FAIL
            reports = self.study.trial(trial.number).reports()
            curve = [(each.epoch, each.metrics[METRIC], each.metrics["loss/task"]) for each in reports]
            assert [epoch for epoch, *_ in curve] == list(range(1, trial.epochs + 1)), "each epoch once"
            rows.append((trial.key, trial.params, trial.state, trial.outcome, trial.seed, curve))
            points |= {(trial.key, epoch) for epoch in range(1, trial.epochs + 1)}
        sent, outcomes = self.sent()
        assert {point for point in sent if not point[0].startswith("confirm")} == points
        assert {trial.key: trial.outcome.value for trial in status.trials}.items() <= outcomes.items()
        return rows, status.confirmation

    def sent(self) -> tuple[set[tuple[str, int]], dict[str, str]]:
        """Return the epochs and the outcomes that a server has, once all of the spool is sent."""
        events = [decode(line) for line in (self.study.path / "spool.jsonl").read_bytes().splitlines()]
        epochs = {(event.key, event.report.epoch) for event in events if isinstance(event, EpochLogged)}
        ends = {event.record.key: event.record.outcome.value for event in events if isinstance(event, TrialEnded)}
        return epochs, ends

    def leftovers(self) -> list[str]:
        hidden = [path for path in self.home.root.rglob(".*") if not path.name.endswith(".lock")]
        return [str(path.relative_to(self.home.root)) for path in hidden if not path.name.endswith(".tmp")]


@pytest.fixture
def disturb(make_loaded: MakeLoaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command with faults. Returns the number of cases."""
    monkeypatch.setattr("distune.confirmation.gain_figure.draw_confirmation", lambda folder, _: folder.study_file)
    monkeypatch.setattr(session_files, "_YOUNG_S", -1.0)  # what a kill has left is removed at once

    def check(command: str, cases_of: Callable[[int], list[tuple[Kind, int]]]) -> int:
        before, calm = (Disturbed(make_loaded, tmp_path / name) for name in ("before", "calm"))
        before.folder.mkdir()
        before.prepare(command)
        fresh(before, calm)
        ended = run_in_fork(lambda: calm.do(command), calm.home.root)
        assert ended.status == 0, ended.text
        expected = calm.result()
        cases = cases_of(ended.num_operations)
        for kind, at in cases:
            one = Disturbed(make_loaded, tmp_path / "one")
            fresh(before, one)
            run_one(one, command, kind, at, expected)
            shutil.rmtree(one.folder)
        return len(cases)

    return check


def some_cases(num_operations: int) -> list[tuple[Kind, int]]:
    """Return kind and operation of the faults: a kill at each 160th, and the other ones in turn between them."""
    kills: list[tuple[Kind, int]] = [("kill", at) for at in range(1, num_operations + 1, STEP)]
    others = enumerate(range(1 + STEP // 2, num_operations + 1, STEP))
    return [*kills, *((KINDS[1 + number % (len(KINDS) - 1)], at) for number, at in others)]


def all_cases(num_operations: int) -> list[tuple[Kind, int]]:
    return [(kind, at) for at in range(1, num_operations + 1) for kind in KINDS]


def fresh(before: Disturbed, other: Disturbed) -> None:
    """Copy the home, with the times of its files: the order in which trials started follows from them."""
    shutil.copytree(before.folder, other.folder)


def run_one(one: Disturbed, command: str, kind: Kind, at: int, expected: object) -> None:
    place = f"{command}, {kind} at operation {at}"
    first = run_in_fork(lambda: one.do(command), one.home.root, at=at, kind=kind)
    assert is_expected(first, kind), f"{place}: {first}"
    if kind == "kill" and command in ("launch", "replace"):
        remove_unfinished(one.home)
    second = run_in_fork(lambda: one.do(command), one.home.root)
    assert second.status == 0, f"{place}: {second}"
    try:
        assert one.result() == expected, place
    except (StudyError, KeyError) as error:
        raise AssertionError(place) from error
    assert one.leftovers() == [], place


def is_expected(ended: Ended, kind: Kind) -> bool:
    """Return whether work with a fault was killed, was stopped with one message, or did without the operation."""
    if kind == "kill":
        return ended.status in (-9, 0)
    return ended.status == 0 or (ended.status == 1 and "\n" not in ended.text)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_fault_at_some_operations(disturb: Callable[..., int], command: str) -> None:
    assert disturb(command, some_cases) >= len(KINDS)


@pytest.mark.torture
@pytest.mark.parametrize("command", COMMANDS)
def test_a_fault_at_every_operation(disturb: Callable[..., int], command: str) -> None:
    assert disturb(command, all_cases) > STEP * len(KINDS)
