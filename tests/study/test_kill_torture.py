"""A study that is killed at random moments equals an uninterrupted one, on disk and in MLflow."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from distune.config.home import Home
from distune.study.files.study_folder import StudyFolder
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import read_study
from study.harness import EXPERIMENT, SPACE, read_epoch_log
from study.torture import PRELOADED, assert_equal_studies, assert_in_mlflow_once, assert_on_record_once, num_lines
from support.zygote import Zygote, is_running

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

NUM_TRIALS, SEED = 40, 7


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def zygote(home: Home, tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(PRELOADED, environment={"DISTUNE_HOME": str(home.root)}, folder=tmp_path) as zygote:
        yield zygote


def write_experiment(folder: Path, cohort: int) -> str:
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    search = {**EXPERIMENT["search"], "space": "space.yaml", "num_trials": NUM_TRIALS}
    path = folder / "mine.yaml"
    resources = {**EXPERIMENT["resources"], "cohort": cohort}
    path.write_text(yaml.safe_dump({**EXPERIMENT, "search": search, "resources": resources}))
    return str(path)


def simulation(epoch_log: Path) -> dict[str, str]:
    return {ENVIRONMENT_VARIABLE: json.dumps({"epoch_s": 0.03, "epoch_log": str(epoch_log)})}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("cohort", "num_kills_wanted"),
    [
        (1, 6),
        (3, 4),
        pytest.param(1, 20, marks=pytest.mark.torture),
        pytest.param(3, 8, marks=pytest.mark.torture),
    ],
)
def test_many_kills(zygote: Zygote, home: Home, tmp_path: Path, cohort: int, num_kills_wanted: int) -> None:
    """In a cohort, the trials that a kill cuts off in the middle of an epoch depend on the moment of the kill.

    So other trials may be proposed afterwards than in the calm study; but nothing is lost or repeated there either.
    """
    path, epoch_log, log = write_experiment(tmp_path, cohort), tmp_path / "epoch_log", tmp_path / "log"
    calm = zygote.run(
        "launch",
        path,
        "--simulate",
        "--runner",
        "local",
        "--name",
        "calm",
        log=log,
        environment=simulation(tmp_path / "calm"),
    )
    assert calm == 0, log.read_text()

    chance = random.Random(SEED)
    launch = ("launch", path, "--simulate", "--runner", "local", "--name", "tortured")
    num_kills = 0
    while num_kills < num_kills_wanted:
        is_new = not StudyFolder(home.study("tortured")).study_file.is_file()
        pid = zygote.start(*(launch if is_new else ("resume", "tortured")), log=log, environment=simulation(epoch_log))
        wanted = num_lines(epoch_log) + chance.choice((0, 1, 2, 4, 6, 8))
        deadline = time.monotonic() + 120
        while num_lines(epoch_log) < wanted and is_running(pid):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        os.kill(pid, signal.SIGKILL)
        assert zygote.wait(pid) == -signal.SIGKILL, "the study was over before all the kills"
        num_kills += 1
    assert zygote.run("resume", "tortured", log=log, environment=simulation(epoch_log)) == 0, log.read_text()

    if cohort == 1:
        assert_equal_studies(home, "tortured", "calm")
    status = read_study(home, "tortured")
    assert len(status.trials) == NUM_TRIALS + 1
    recorded = assert_on_record_once(home, status)
    computed = Counter((each.key, each.epoch) for each in read_epoch_log(epoch_log))
    assert set(computed) == recorded, "what was computed is on record"
    num_repeated = computed.total() - len(recorded)
    assert num_repeated <= num_kills * cohort, "a kill costs the current epoch at most"
    assert_in_mlflow_once(home, status)
    assert "Traceback" not in log.read_text()
