"""Any file of a study may be damaged: every command succeeds or gives one message that names a place, and soon.

Seeded: each seed damages a file in the same way each time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from study.harness import MakeLoaded
from support.command_line import Answer
from support.command_line import run as command
from support.mutations import damaged

NUM_MUTATIONS, NUM_TORTURES = 32, 4000
LIMIT_S, MEMORY_BYTES = 60.0, 4 * 2**30
PATTERNS = (
    *("settings.json", "session.json", "study.json", "changes.jsonl", "experiment.yaml", "space.yaml"),
    *("spool.jsonl", "spool.offset", "spool.refused.jsonl", "teacher.json", "optuna.db", "optuna.db", "optuna.db"),
    *("trials/*/metrics.jsonl", "trials/*/trial.json", "trials/*/outcome.json", "optuna.journal"),
    *("confirmation/*.json*", "confirmation/*/*/outcome.json", "confirmation/*/*/metrics.jsonl"),
    *("confirmation/*/*/trial.json", "confirmation/*/*/matches*"),
)
COMMANDS = (
    ("resume",),
    ("repair",),
    ("resume", "--trials", "5"),
    ("confirm", "--top", "1", "--seeds", "2"),
    ("report",),
    ("compare",),
)


class Server:
    """A tracking server that takes everything."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def has_runs(self) -> bool:
        return True

    def apply(self, events: Any) -> None: ...


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home for studies that need no server, and whose sessions draw nothing."""
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("distune.tracking.build.MlflowSink", Server)
    monkeypatch.setattr("distune.api.repair_study.find_study_runs", lambda *_, **__: None)
    for module in ("study_session", "confirm_study", "report_study"):
        monkeypatch.setattr(f"distune.api.{module}.write_session_report", lambda *_, **__: None)
    monkeypatch.setattr("distune.api.study_session.draw_figures", lambda *_, **__: [])
    monkeypatch.setattr("distune.confirmation.gain_figure.draw_confirmation", lambda folder, _: folder.study_file)
    return Home(tmp_path / "home")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    return lambda name, *options: command(capsys, monkeypatch, name, "one", *options)


@pytest.fixture
def originals(home: Home, make_loaded: MakeLoaded, ask: Callable[..., Answer], tmp_path: Path) -> list[Path]:
    """A confirmed study with an SQLite file, and one with a journal that was extended after it had finished."""
    found: list[Path] = []
    for storage in (None, "journal"):
        loaded = make_loaded(
            search={"num_trials": 2, "scheduler": {"kind": "none"}, "storage": storage},
            training={"epochs": 3},
            tracking={"uri": "http://127.0.0.1:9"},
        )
        study = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
        assert ask("resume").status == 0
        options = ("resume", "--trials", "3") if storage else ("confirm", "--top", "1", "--seeds", "2")
        assert ask(*options).status == 0
        found.append(study.path.rename(tmp_path / f"original-{len(found)}"))
    return found


def run_mutations(originals: list[Path], home: Home, ask: Callable[..., Answer], seeds: range) -> None:
    failures = [failure for seed in seeds for failure in run_mutation(originals, home, ask, seed)]
    assert not failures, f"{len(failures)} failures, the first:\n" + "\n".join(failures[:10])


def run_mutation(originals: list[Path], home: Home, ask: Callable[..., Answer], seed: int) -> Iterator[str]:
    """Damage a file, run commands, and yield what is wrong with their answers."""
    original, folder = originals[seed % 5 == 0], StudyFolder(home.study("one"))
    storage = original / ("optuna.journal" if seed % 5 == 0 else "optuna.db")
    files = sorted(original.glob(PATTERNS[seed % len(PATTERNS)])) or [storage]
    file = files[seed % len(files)]
    shutil.rmtree(folder.path, ignore_errors=True)
    shutil.copytree(original, folder.path)
    target = folder.path / file.relative_to(original)
    target.write_bytes(damaged(seed, file.read_bytes(), is_json=".json" in file.suffix))
    for name, *options in (("status",), ("best",), COMMANDS[seed // 3 % len(COMMANDS)], ("resume",)):
        start = time.process_time()
        try:
            answer = ask(name, *options)
        except BaseException:
            problem = traceback.format_exc()
        else:
            problem = problem_of(answer)
        if not problem and time.process_time() - start > LIMIT_S:
            problem = f"took {time.process_time() - start:.1f} s"
        if problem:
            yield f"seed {seed}, {target.relative_to(folder.path)}, distune {name}: {problem}"
            return


def problem_of(answer: Answer) -> str:
    """Return what is wrong with an answer; empty when it is a success, or one message that names a place."""
    is_message = answer.err.count("error: ") == 1 and ("/" in answer.err or "one" in answer.err)
    is_well = answer.status == 0 or (answer.status in (1, 2) and is_message)
    return "" if is_well and "Traceback" not in answer.err + answer.out else f"{answer}"


def test_a_damaged_file_of_a_study(originals: list[Path], home: Home, ask: Callable[..., Answer]) -> None:
    run_mutations(originals, home, ask, range(NUM_MUTATIONS))


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_many_damaged_files_of_a_study(originals: list[Path], home: Home, ask: Callable[..., Answer]) -> None:
    run_mutations(originals, home, ask, range(1000, 1000 + NUM_TORTURES))


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def make_endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def make_sparse(path: Path) -> None:
    """A file of a terabyte that takes no space, as a damaged file system shows."""
    os.truncate(path, 2**40)


KINDS_OF_FILES = (Path.unlink, make_pipe, make_folder, make_loop, make_endless, make_sparse)


def run_kinds_of_files(originals: list[Path], home: Home, ask: Callable[..., Answer], step: int) -> None:
    """Replace a file by a thing of another kind: it is never waited for, and never read without an end."""
    folder = StudyFolder(home.study("one"))
    original = originals[0]
    patterns = dict.fromkeys(PATTERNS)
    files = [found[0].relative_to(original) for each in patterns if (found := sorted(original.glob(each)))]
    cases = [(file, kind) for file in files for kind in KINDS_OF_FILES]
    failures = []
    for number, (file, kind) in enumerate(cases):
        if number % step:
            continue
        shutil.rmtree(folder.path, ignore_errors=True)
        shutil.copytree(original, folder.path)
        kind(folder.path / file)
        for name, *options in (("status",), ("best",), ("repair",), ("resume", "--trials", "4"), COMMANDS[3]):
            try:
                with limits(60.0):
                    problem = problem_of(ask(name, *options))
            except BaseException:
                problem = traceback.format_exc()
            if problem:
                failures.append(f"{file}, {kind.__name__}, distune {name}: {problem}")
                break
    assert not failures, f"{len(failures)} failures, the first:\n" + "\n".join(failures[:30])


@contextlib.contextmanager
def limits(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` or ``MemoryError`` in the block when it takes too much."""

    def interrupt(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, interrupt)
    usual = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, usual[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, usual)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_kinds_of_files(originals: list[Path], home: Home, ask: Callable[..., Answer]) -> None:
    run_kinds_of_files(originals, home, ask, 25)


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_all_other_kinds_of_files(originals: list[Path], home: Home, ask: Callable[..., Answer]) -> None:
    run_kinds_of_files(originals, home, ask, 1)
