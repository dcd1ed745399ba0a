"""Whole simulated studies on Ray: trials, faults, quiet terminals, signals and restarts."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from distune.config.home import Home
from distune.config.search import ResourceSettings
from distune.errors import ResourceError
from distune.records import Outcome, TrialState
from distune.study.create import create_study
from distune.study.engine import StudyEngine
from distune.study.failures.retries import Company
from distune.study.resources import Resources
from distune.study.runners import ray_adapters, ray_connection
from distune.study.runners.ray_cohorts import WORKER, CohortWorkers
from distune.study.runners.ray_failures import describe_worker_failure
from distune.study.runners.ray_trainable import limit_threads
from distune.study.runners.ray_tune import run_on_ray
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.runners.watchdog import Watchdog
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import Computed, EngineHarness, MakeHarness, MakeLoaded, Witness, read_epoch_log, take

pytestmark = pytest.mark.ray

REPOSITORY = Path(__file__).parents[2]
FAULTS = {
    "3": {"epoch": 2, "kind": "kill"},
    "5": {"epoch": 1, "kind": "error"},
    "6": {"epoch": 1, "kind": "nan"},
    "7": {"epoch": 1, "kind": "device_error"},
    "8": {"epoch": 2, "kind": "kill", "once": True},
    "9": {"epoch": 3, "kind": "out_of_memory", "once": True},
    "10": {"epoch": 1, "kind": "out_of_memory"},
    "11": {"epoch": 1, "kind": "hang"},
}
CUT_OFF = {("3", 2): 2, ("5", 1): 1, ("7", 1): 1, ("8", 2): 1, ("9", 3): 1, ("10", 1): 2, ("11", 1): 1}
"""Epochs that these faults cut off, and how often."""
SESSION = """
import sys
from pathlib import Path
from distune.study.files.study_folder import StudyFolder
from distune.study.callback import CallbackList
from distune.study.session import run_session
from distune.tracking.tracker import NullTracker

folder = StudyFolder(Path(sys.argv[1]))
result = run_session(folder, tracker=NullTracker(), callback=CallbackList(), teacher_weights=None)
sys.exit(0 if result.state == "interrupted" else 3)
"""


@pytest.fixture(scope="module")
def epoch_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gets a line for each epoch that any worker of this module computes, from the shared cluster."""
    return tmp_path_factory.mktemp("ray") / "epoch_log"


@pytest.fixture(scope="module")
def cluster(epoch_log: Path) -> Iterator[None]:
    """One Ray for the whole module; workers inherit the environment that it was started in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": FAULTS, "epoch_log": str(epoch_log)}))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
        patch.chdir(REPOSITORY)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
        yield
        ray.shutdown()


def run_whole(engine: StudyEngine, harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run 14 trials. A study that makes no progress says what its workers do, and is given up."""
    monkeypatch.setattr(ray_adapters, "Watchdog", functools.partial(Watchdog, first_warning_s=100.0))
    gives_up_at = time.monotonic() + 450.0
    run_on_ray(
        engine,
        harness.loaded.experiment.resources,
        num_trials=14,
        simulate=True,
        should_stop=lambda: time.monotonic() > gives_up_at,
        callback=harness.witness,
    )
    assert time.monotonic() < gives_up_at, "\n".join(harness.witness.messages)


@pytest.mark.timeout(600)
def test_a_whole_study(
    cluster: None, epoch_log: Path, make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(
        search={"num_trials": 14, "scheduler": {"kind": "asha", "grace_epochs": 3}}, resources={"epoch_timeout_s": 6.0}
    )
    epoch_log.unlink(missing_ok=True)
    engine = harness.engine()
    environment = variables()
    run_whole(engine, harness, monkeypatch)
    assert ray.is_initialized(), "a connection that was there before is not closed"
    assert variables() == environment
    assert engine.is_done

    states = harness.states()
    assert len(states) == 14
    assert {TrialState.COMPLETE, TrialState.PRUNED} <= set(states)
    outcomes = harness.witness.outcomes()
    assert outcomes.pop("control-1") is Outcome.FINISHED
    assert outcomes.pop("3") is Outcome.FAILED
    assert outcomes.pop("5") is Outcome.FAILED
    assert outcomes.pop("7") is Outcome.FAILED
    assert outcomes.pop("10") is Outcome.FAILED
    assert outcomes.pop("11") is Outcome.FAILED
    assert outcomes.pop("6") is Outcome.DIVERGED
    assert set(outcomes.values()) == {Outcome.FINISHED, Outcome.STOPPED}
    known = harness.known()
    assert re.match("worker died: .*SYSTEM_ERROR", known[3].reason or "")
    assert "The actor is dead" in (harness.folder("3").path / "error.txt").read_text()
    assert known[7].reason == "bug: RuntimeError: CUDA error: simulated in epoch 1"
    assert known[5].reason == "bug: RuntimeError: simulated error in epoch 1"
    assert "Traceback" in (harness.folder("5").path / "error.txt").read_text()

    assert known[10].reason == "out of memory: simulated in epoch 1"
    assert known[11].reason == "timeout: an epoch took more than resources.epoch_timeout_s = 6"
    assert "simulation.py" in (harness.folder("11").path / "error.txt").read_text(), "where it hung"
    assert [len(known[number].retries) for number in (3, 5, 7, 8, 9, 10)] == [1, 0, 0, 1, 1, 1]
    assert "trial 8: worker died" in "\n".join(harness.witness.messages)

    computed = Counter((each.key, each.epoch) for each in read_epoch_log(epoch_log))
    assert computed - Counter(harness.witness.points) == CUT_OFF, "only what a fault cut off was computed for nothing"
    assert max(Counter(harness.witness.points).values()) == 1
    assert_alone("9", read_epoch_log(epoch_log))
    assert_alone("10", read_epoch_log(epoch_log))
    for key in harness.witness.outcomes():
        reports = harness.folder(key).reports()
        assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))


@pytest.mark.timeout(600)
def test_a_whole_study_in_cohorts(
    cluster: None, epoch_log: Path, make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers train four trials each. The same faults: each ends the trial that causes it, and no other one."""
    harness = make_harness(
        search={"num_trials": 14, "scheduler": {"kind": "asha", "grace_epochs": 3}},
        resources={"epoch_timeout_s": 6.0, "cohort": 4, "cpus_per_trial": 1.0},
    )
    epoch_log.unlink(missing_ok=True)
    engine = harness.engine()
    run_whole(engine, harness, monkeypatch)
    assert engine.is_done
    outcomes = harness.witness.outcomes()
    assert outcomes.pop("control-1") is Outcome.FINISHED
    assert {key for key, outcome in outcomes.items() if outcome is Outcome.FAILED} == {"3", "5", "7", "10", "11"}
    assert {key for key, outcome in outcomes.items() if outcome is Outcome.DIVERGED} == {"6"}
    known = harness.known()
    assert "is restarting" not in "\n".join(harness.witness.messages), "trials wait for a worker that Ray restarts"
    assert re.match("worker died: ", known[3].reason or "")
    assert known[5].reason == "bug: RuntimeError: simulated error in epoch 1"
    assert known[7].reason == "bug: RuntimeError: CUDA error: simulated in epoch 1"
    assert known[10].reason == "out of memory: simulated in epoch 1"
    assert known[11].reason == "timeout: an epoch took more than resources.epoch_timeout_s = 6"
    assert "simulation.py" in (harness.folder("11").path / "error.txt").read_text(), "where it hung"
    assert max(Counter(harness.witness.points).values()) == 1
    for key in harness.witness.outcomes():
        reports = harness.folder(key).reports()
        assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))


def test_workers_that_do_not_fit_are_not_waited_for_and_get_no_trial(cluster: None, make_harness: MakeHarness) -> None:
    engine = make_harness().engine()
    started = time.monotonic()
    with CohortWorkers(
        number=4, num_at_start=2, size=2, num_first=0, reserved=Resources(1.0), simulate=True
    ) as workers:
        assert time.monotonic() - started < 50, "they would be waited for a minute"
        specs = [take(engine) for _ in range(4)]
        assert len({workers.config_of(spec, Company.SHARED)[WORKER] for spec in specs}) == 2
        assert not workers.may_start()
        workers.release(specs[0].key)
        assert workers.may_start()


def test_the_last_trials_do_not_wait_for_those_that_have_ended(cluster: None, make_harness: MakeHarness) -> None:
    """One worker trains two trials at a time. Tune keeps the actor of a trial that has ended, for the next one."""
    harness = make_harness(
        search={"num_trials": 4, "scheduler": {"kind": "asha", "grace_epochs": 2}},
        resources={"cohort": 2, "cpus_per_trial": 2.0},
    )
    engine = harness.engine()
    gives_up_at = time.monotonic() + 60.0
    run_on_ray(
        engine,
        harness.loaded.experiment.resources,
        num_trials=4,
        simulate=True,
        should_stop=lambda: time.monotonic() > gives_up_at,
        callback=harness.witness,
    )
    assert engine.is_done
    assert len(harness.witness.outcomes()) == 5


def variables() -> dict[str, str]:
    """The environment without what scikit-learn sets when it is imported."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}


def assert_alone(key: str, computed: list[Computed]) -> None:
    """Assert that no other trial computed an epoch while this one did, after it ran out of memory."""
    mine = [each for each in computed if each.key == key]
    again = mine[[each.epoch for each in mine].index(mine[0].epoch if key == "10" else 3) + 1 :]
    assert again
    begin, end = again[0].began_at, again[-1].ended_at
    others = {each.key for each in computed if each.key != key and each.began_at < end and each.ended_at > begin}
    assert not others, f"trial {key} was not alone"


def test_exceptions_of_the_engine_are_raised_unchanged(
    cluster: None, make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(search={"num_trials": 2})
    engine = harness.engine()

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(engine._trial_store, "report", fail)
    with pytest.raises(OSError, match="disk full"):
        run_on_ray(
            engine,
            harness.loaded.experiment.resources,
            num_trials=2,
            simulate=True,
            should_stop=lambda: False,
            callback=harness.witness,
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Failure # 1 (occurred at 2026-01-01)\nray::TrialTrainable.train() (pid=1)\n  File x\n"
            "distune.errors.TrialError: bug: RuntimeError: CUDA error: an illegal access\n",
            "bug: RuntimeError: CUDA error: an illegal access",
        ),
        (
            "Failure # 1 (occurred at x)\nThe actor died unexpectedly.\n\tpid: 7\nThe actor is dead because its node "
            "has died. Some common causes include: (1) the machine",
            "worker died: its node has died.",
        ),
        (
            "Task was killed due to the node running low on memory.\nMemory on the node was 7/8",
            "out of memory: Ray has ended the worker, because its machine was running low on memory",
        ),
        ("", "worker died: no reason given"),
    ],
)
def test_reasons_of_worker_failures(text: str, reason: str) -> None:
    assert describe_worker_failure(text) == reason


def test_nothing_is_unpickled_from_a_file() -> None:
    """Tune writes a pickle of each error beside its text; whoever could replace that file would run code here."""
    checked = "sampler_state.py"  # its reader builds nothing but arrays, see tests/study/test_sampler_state.py
    files = (path for path in (REPOSITORY / "platform" / "distune").rglob("*.py") if path.name != checked)
    sources = "".join(path.read_text() for path in files)
    assert not re.search(
        r"pickle\.loads?\(|import c?l?o?u?d?pickle|weights_only=False|yaml\.(unsafe_|full_)?load\(", sources
    )


def test_ray_is_started_twice_before_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    def never(**arguments: Any) -> None:
        calls.append(arguments)
        raise Exception("The current node\ntimed out during startup")

    monkeypatch.setattr(ray, "init", never)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(ResourceError, match=r"on this machine: The current node timed out.*--runner local"):
        ray_connection._connect(ResourceSettings(), simulate=True, folder=tmp_path)
    assert len(calls) == 2
    with pytest.raises(ResourceError, match=r"on ray://\*\*\*@head:10001: "):
        ray_connection._connect(ResourceSettings(address="ray://ann:secret@head:10001"), simulate=True, folder=tmp_path)


def test_torch_gets_as_many_threads_as_the_trial_has_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=threads.append))
    for cpus in (0.5, 1.0, 3.9):
        limit_threads(cpus)
        assert os.environ["OMP_NUM_THREADS"] == str(threads[-1])
    assert threads == [1, 1, 3]


def test_platform_is_the_module_of_the_standard_library_in_a_worker(cluster: None) -> None:
    """The checkout, this process's working directory, holds a folder of that name."""
    assert (REPOSITORY / "platform").is_dir()
    assert not (REPOSITORY / "platform" / "__init__.py").exists()

    def module_files() -> tuple[str, str]:
        import platform

        return str(platform.__file__), str(Path.cwd()) if platform.python_version() else ""

    for file, folder in (ray.get(ray.remote(module_files).remote()), module_files()):
        assert file == os.__file__.replace("os.py", "platform.py")
        assert folder == str(REPOSITORY)


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        pytest.param(signal.SIGTERM, False, id="SIGTERM to the driver", marks=pytest.mark.torture),
        pytest.param(signal.SIGINT, True, id="Ctrl-C, which the terminal sends to all its processes"),
    ],
)
def test_a_signal_and_a_resume(
    cluster: None, epoch_log: Path, make_loaded: MakeLoaded, tmp_path: Path, number: signal.Signals, to_all: bool
) -> None:
    """Epochs computed are epochs on record, none twice, and nothing stays RUNNING."""
    home = Home(tmp_path)
    loaded = make_loaded(search={"num_trials": 5, "scheduler": {"kind": "asha", "grace_epochs": 3}})
    folder = create_study(loaded, home, name="one", simulate=True, runner="ray", replace=False)
    faults = {"0": {"epoch": 2, "kind": "kill"}, "1": {"epoch": 1, "kind": "error"}}
    simulation = json.dumps({"epoch_s": 0.15, "epoch_log": str(epoch_log), "faults": faults})
    epoch_log.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(folder.path)],
        env={**os.environ, ENVIRONMENT_VARIABLE: simulation},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not (epoch_log.is_file() and len(epoch_log.read_text().splitlines()) > 6):
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (os.killpg if to_all else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, b""), "a session prints nothing, whatever happens to a worker"
    status = read_study(home, "one")
    assert status.state == "interrupted"
    assert any(trial.outcome is Outcome.INTERRUPTED for trial in status.trials)

    witness = Witness()
    assert run_session(folder, tracker=witness, callback=witness, teacher_weights=None).state == "finished"
    status = read_study(home, "one")
    assert status.state == "finished"
    assert len(status.trials) == 6
    assert all(trial.state is not TrialState.RUNNING for trial in status.trials)
    computed = Counter((each.key, each.epoch) for each in read_epoch_log(epoch_log))
    recorded = {(trial.key, epoch) for trial in status.trials for epoch in range(1, trial.epochs + 1)}
    cut_off = {("0", 2), ("1", 1), ("3", 2)}  # by the faults of both clusters
    assert set(computed) - recorded <= cut_off
    assert {epoch for epoch, count in computed.items() if count > 1} <= cut_off
