"""Real training that is killed, interrupted and loses a worker gives the same result as undisturbed training."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from distune.config.home import Home
from distune.records import Outcome
from distune.study.files.study_folder import StudyFolder
from distune.study.status import read_study
from study.torture import PRELOADED, assert_equal_studies, assert_in_mlflow_once, assert_on_record_once, num_lines
from support.experiments import small_values
from support.zygote import Zygote, is_running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
Answer = TypeVar("Answer")
SEED = 3
CHANGES: dict[str, Any] = {
    "teacher_training": {"epochs": 2},
    "training": {"epochs": 6},
    "search": {"num_trials": 3, "scheduler": {"grace_epochs": 2}},  # the next rung is the end
    "resources": {"max_concurrent": 1},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("real") / "home")


@pytest.fixture(scope="module")
def zygote(home: Home) -> Iterator[Zygote]:
    home.root.mkdir()
    modules = [*PRELOADED, "distune.training.solo_run", "distune.training.teacher", "pycocotools.cocoeval"]
    environment = {"DISTUNE_HOME": str(home.root), "OMP_NUM_THREADS": "1"}
    with Zygote(modules, environment=environment, folder=home.root.parent) as zygote:
        yield zygote


@pytest.fixture(scope="module")
def experiment(home: Home, zygote: Zygote) -> str:
    path = home.root.parent / "mine.yaml"
    path.write_text(yaml.safe_dump(small_values(CHANGES)))
    return str(path)


@pytest.fixture(scope="module")
def log(home: Home) -> Path:
    return home.root.parent / "log"


def epochs_by_trial(home: Home, name: str) -> dict[str, int]:
    return {path.parent.name: num_lines(path) for path in StudyFolder(home.study(name)).trials.glob("*/metrics.jsonl")}


def epochs_on_disk(home: Home, name: str) -> int:
    return sum(epochs_by_trial(home, name).values())


def wait_until(ask: Callable[[], Answer], pid: int, log: Path) -> Answer:
    """The first answer that is true, while this process lives."""
    deadline = time.monotonic() + 300
    while not (answer := ask()):
        assert time.monotonic() < deadline, log.read_text()
        assert is_running(pid), log.read_text()
        time.sleep(0.01)
    return answer


@pytest.mark.torture
def test_three_kills_a_sigterm_and_a_ctrl_c(zygote: Zygote, home: Home, experiment: str, log: Path) -> None:
    chance = random.Random(SEED)
    launch = ("launch", experiment, "--runner", "local", "--name", "tortured")
    pid = zygote.start(*launch, log=log)
    wait_until(lambda: any(num_lines(path) for path in home.teachers.glob("*/metrics.jsonl")), pid, log)
    os.kill(pid, signal.SIGKILL)
    assert zygote.wait(pid) == -signal.SIGKILL
    assert not home.study("tortured").exists(), "no study exists before its teacher"

    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        is_new = not home.study("tortured").exists()
        wanted = epochs_on_disk(home, "tortured") + 1
        pid = zygote.start(*(launch if is_new else ("resume", "tortured")), log=log)
        wait_until(lambda wanted=wanted: epochs_on_disk(home, "tortured") >= wanted, pid, log)  # type: ignore[misc]
        time.sleep(chance.random() * 0.3)
        os.kill(pid, number)
        status = zygote.wait(pid)
        assert read_study(home, "tortured").state == "interrupted"
        if number is signal.SIGKILL:
            assert status == -signal.SIGKILL
        else:
            assert status == 1
            open_trials = [trial.outcome for trial in read_study(home, "tortured").trials if trial.metrics]
            assert Outcome.RUNNING not in open_trials
            assert "continue with: distune resume tortured" in log.read_text().splitlines()[-1]
    assert zygote.run("resume", "tortured", log=log) == 0, log.read_text()
    assert "Traceback" not in log.read_text()

    assert zygote.run("launch", experiment, "--runner", "local", "--name", "calm", log=log) == 0, log.read_text()
    assert_equal_studies(home, "tortured", "calm")
    status_read = read_study(home, "tortured")
    assert_on_record_once(home, status_read)
    assert_in_mlflow_once(home, status_read)
    assert not list(home.study("tortured").rglob("previous.pt"))


@pytest.mark.ray
def test_a_driver_and_a_worker_are_killed(zygote: Zygote, home: Home, experiment: str, log: Path) -> None:
    """One trial at a time, so that the study is the one that the local runner makes of it."""
    if not home.study("calm").exists():
        assert zygote.run("launch", experiment, "--runner", "local", "--name", "calm", log=log) == 0, log.read_text()
    pid = zygote.start("launch", experiment, "--runner", "ray", "--name", "on-ray", log=log)
    wait_until(lambda: epochs_on_disk(home, "on-ray") >= 1, pid, log)
    os.kill(pid, signal.SIGKILL)
    assert zygote.wait(pid) == -signal.SIGKILL

    wait_until(lambda: not workers_of(home), os.getpid(), log)  # for those of the session that was killed to end
    before = epochs_by_trial(home, "on-ray")
    pid = zygote.start("resume", "on-ray", log=log)
    send(signal.SIGKILL, wait_until(lambda: halt_amid_a_trial(home, before), pid, log))
    assert zygote.wait(pid) == 0, log.read_text()
    assert "retrying with another worker" in log.read_text()
    assert_equal_studies(home, "on-ray", "calm")
    status = read_study(home, "on-ray")
    assert_on_record_once(home, status)
    assert_in_mlflow_once(home, status)


def halt_amid_a_trial(home: Home, before: dict[str, int]) -> list[int]:
    """Stop the workers while one is between two rungs of a trial, so that it cannot get to its end meanwhile.

    Returns them; none when there is no trial, or none has continued since ``before``.
    """

    def is_amid() -> bool:
        trials = epochs_by_trial(home, "on-ray").items()
        return any(num_epochs in (3, 4) and num_epochs > before.get(trial, 0) for trial, num_epochs in trials)

    workers = workers_of(home) if is_amid() else []
    send(signal.SIGSTOP, workers)
    if workers and is_amid():
        return workers
    send(signal.SIGCONT, workers)
    return []


def send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, number)


def workers_of(home: Home) -> list[int]:
    """Return Ray's processes that train for studies in this home only."""
    found: list[int] = []
    mark = f"DISTUNE_HOME={home.root}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            is_worker = b"TrialTrainable" in (folder / "cmdline").read_bytes()
            if is_worker and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found
