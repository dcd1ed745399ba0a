"""A signal while Ray starts, and a server of Ray that is killed: sessions end in order, and can be continued."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from distune.config.home import Home
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import read_study
from study.harness import EXPERIMENT, SPACE
from study.torture import PRELOADED, num_lines
from support.processes import descendants, still_running
from support.zygote import Zygote, is_running

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
TIMEOUT_S = 400.0
"""On a busy machine, Ray needs minutes to start its workers."""
EPOCH_S = 0.3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("faults") / "home")


@pytest.fixture(scope="module")
def ray_parent() -> Iterator[Path]:
    """Sessions make their folders here; the paths of sockets are short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def zygote(home: Home, ray_parent: Path) -> Iterator[Zygote]:
    home.root.mkdir()
    environment = {
        "DISTUNE_HOME": str(home.root),
        "RAY_TMPDIR": str(ray_parent),
        ENVIRONMENT_VARIABLE: json.dumps({"epoch_s": EPOCH_S, "epoch_log": str(home.root / "epoch_log")}),
    }
    with Zygote(PRELOADED, environment=environment, folder=home.root.parent) as zygote:
        yield zygote


@pytest.fixture(scope="module")
def experiment(home: Home) -> str:
    folder = home.root.parent
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    path = folder / "mine.yaml"
    search = {**EXPERIMENT["search"], "space": "space.yaml", "num_trials": 4, "scheduler": {"kind": "none"}}
    path.write_text(yaml.safe_dump({**EXPERIMENT, "search": search, "tracking": {"enabled": False}}))
    return str(path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def wait_until(is_so: Callable[[], bool], pid: int, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        assert is_running(pid), log.read_text()
        time.sleep(0.005)


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def has_child(pid: int, name: str) -> bool:
    return name in map(name_of, descendants(pid))


@pytest.mark.parametrize("moment", ["folder", "raylet"])
def test_a_signal_while_ray_starts(
    zygote: Zygote, home: Home, ray_parent: Path, experiment: str, log: Path, moment: str
) -> None:
    """Slurm sends SIGTERM to all processes of a job."""
    name = f"signal-{moment}"
    pid = zygote.start("launch", experiment, "--simulate", "--runner", "ray", "--name", name, log=log)
    is_moment = {"folder": lambda: any(ray_parent.glob("distune-*/session.lock"))}
    wait_until(is_moment.get(moment, lambda: has_child(pid, moment)), pid, log)
    started = descendants(pid)
    os.killpg(pid, signal.SIGTERM)
    status = zygote.wait(pid)
    text = log.read_text()
    assert status == 1, text
    assert f"continue with: distune resume {name}" in text
    assert "Traceback" not in text
    assert still_running(started, timeout_s=20) == []
    assert list(ray_parent.iterdir()) == []
    assert read_study(home, name).state == "interrupted"


@pytest.mark.parametrize(("command", "server"), [("launch", "gcs_server"), ("confirm", "raylet")])
def test_a_killed_server_of_ray_ends_the_session(
    zygote: Zygote, home: Home, experiment: str, log: Path, command: str, server: str
) -> None:
    name, epoch_log = f"{command}-{server}", home.root / "epoch_log"
    launch = ("launch", experiment, "--simulate", "--name", name)
    arguments: tuple[str, ...] = (*launch, "--runner", "ray")
    if command == "confirm":
        quick = {ENVIRONMENT_VARIABLE: json.dumps({"epoch_s": 0.0})}
        assert zygote.run(*launch, "--runner", "local", log=log, environment=quick) == 0, log.read_text()
        study = home.study(name) / "study.json"
        study.write_text(json.dumps({**json.loads(study.read_bytes()), "runner": "ray"}))
        arguments = ("confirm", name, "--top", "1", "--seeds", "3")
    before = num_lines(epoch_log)
    pid = zygote.start(*arguments, log=log)
    wait_until(lambda: num_lines(epoch_log) > before, pid, log)
    started = descendants(pid)
    os.kill(next(each for each in started if name_of(each) == server), signal.SIGKILL)
    status = zygote.wait(pid)
    text = " ".join(log.read_text().split())
    assert status == 1, text
    assert f"Ray's process {server} has ended" in text
    assert f"run: distune {'resume' if command == 'launch' else 'confirm'} {name}" in text
    assert "Traceback" not in text
    assert still_running(started, timeout_s=20) == []
    if command == "confirm":
        outcomes = list(home.study(name).glob("confirmation/**/outcome.json"))
        assert not any("worker died" in each.read_text() for each in outcomes), "no seed has failed"
