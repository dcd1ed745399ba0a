"""A study that is killed at twenty random moments is the study that it would have been, on disk and in MLflow."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distune.config.home import Home
from distune.records import Outcome, TrialState
from distune.study.folder import StudyFolder
from distune.study.simulation import ENVIRONMENT_VARIABLE
from distune.study.status import StudyStatus, read_study
from distune.tracking.mlflow_sink import find_study_runs, open_client
from study.bench import EXPERIMENT, SPACE, read_journal
from support.zygote import Zygote

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

NUM_TRIALS, NUM_KILLS, SEED = 40, 20, 7
PRELOADED = [
    "distune.cli.main",
    "distune.study.summary",
    "mlflow.tracking.client",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.db.utils",
    "optuna.storages._rdb.storage",
    "matplotlib.backends.backend_agg",
    "scipy.stats",
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def zygote(home: Home, tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(PRELOADED, environment={"DISTUNE_HOME": str(home.root)}, folder=tmp_path) as zygote:
        yield zygote


def write_experiment(folder: Path) -> str:
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    search = {**EXPERIMENT["search"], "space": "space.yaml", "num_trials": NUM_TRIALS}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**EXPERIMENT, "search": search}))
    return str(path)


def simulation(journal: Path) -> dict[str, str]:
    return {ENVIRONMENT_VARIABLE: json.dumps({"epoch_s": 0.01, "journal": str(journal)})}


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills(zygote: Zygote, home: Home, tmp_path: Path) -> None:
    path, journal, log = write_experiment(tmp_path), tmp_path / "journal", tmp_path / "log"
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
    while num_kills < NUM_KILLS:
        is_new = not StudyFolder(home.study("tortured")).study_file.is_file()
        pid = zygote.start(*(launch if is_new else ("resume", "tortured")), log=log, environment=simulation(journal))
        wanted = num_lines(journal) + chance.choice((0, 1, 2, 4, 6, 8))
        deadline = time.monotonic() + 120
        while num_lines(journal) < wanted and os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        os.kill(pid, signal.SIGKILL)
        assert zygote.wait(pid) == -signal.SIGKILL, "the study was over before all the kills"
        num_kills += 1
    assert zygote.run("resume", "tortured", log=log, environment=simulation(journal)) == 0, log.read_text()

    assert_equal_studies(home, "tortured", "calm")
    status = read_study(home, "tortured")
    assert len(status.trials) == NUM_TRIALS + 1
    recorded = assert_on_record_once(home, status)
    computed = Counter((each.key, each.epoch) for each in read_journal(journal))
    assert set(computed) == recorded, "what was computed is on record"
    num_repeated = computed.total() - len(recorded)
    assert num_repeated <= NUM_KILLS, "a kill costs the epoch at hand at most"
    assert_in_mlflow_once(home, status)
    assert "Traceback" not in log.read_text()


def assert_equal_studies(home: Home, name: str, other: str) -> None:
    """The same trials with the same parameters, ends and scores, epoch by epoch."""
    mine, theirs = read_study(home, name), read_study(home, other)
    assert (mine.state, theirs.state) == ("finished", "finished")
    for trial, twin in zip(mine.trials, theirs.trials, strict=True):
        told = (trial.key, trial.params, trial.state, trial.outcome, trial.epochs, trial.seed)
        assert told == (twin.key, twin.params, twin.state, twin.outcome, twin.epochs, twin.seed)
        curves = [
            [timeless(report.metrics) for report in StudyFolder(home.study(study)).trial(trial.number).reports()]
            for study in (name, other)
        ]
        assert curves[0] == curves[1], f"trial {trial.key} has other scores"


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def assert_on_record_once(home: Home, status: StudyStatus) -> set[tuple[str, int]]:
    """Every trial has ended, with each of its epochs once in its folder. Returns all of them."""
    recorded: set[tuple[str, int]] = set()
    for trial in status.trials:
        assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        lines = StudyFolder(home.study(status.study)).trial(trial.number).metrics_file.read_text().splitlines()
        epochs = [json.loads(line)["epoch"] for line in lines]
        assert epochs == list(range(1, trial.epochs + 1))
        recorded |= {(trial.key, epoch) for epoch in epochs}
    return recorded


def assert_in_mlflow_once(home: Home, status: StudyStatus) -> None:
    """A run per trial and one for the study, none RUNNING, and each point once."""
    folder = StudyFolder(home.study(status.study))
    experiment = folder.load().experiment.name
    runs = find_study_runs(home.tracking_uri, experiment=experiment, study_key=folder.identity().tracking_key)
    assert runs is not None
    client = open_client(home.tracking_uri)
    found = client.search_runs(
        [runs.experiment_id], f"tags.`distune.study_key` = '{folder.identity().tracking_key}'", max_results=500
    )
    assert len(found) == len(status.trials) + 1
    expected = {Outcome.FINISHED: "FINISHED", Outcome.STOPPED: "FINISHED", Outcome.DIVERGED: "FAILED"}
    parent = next(run for run in found if run.info.run_id == runs.study_run_id)
    assert parent.info.status == "FINISHED"
    for trial in status.trials:
        run = client.get_run(runs.trial_run_ids[trial.key])
        assert run.info.status == expected[trial.outcome], trial.key
        assert run.data.tags["distune.outcome"] == trial.outcome
        for name in ("search/AP", "loss/task"):
            points: Any = client.get_metric_history(run.info.run_id, name)
            assert [point.step for point in points] == list(range(1, trial.epochs + 1)), (trial.key, name)
    assert not (folder.path / "spool.refused.jsonl").exists()
