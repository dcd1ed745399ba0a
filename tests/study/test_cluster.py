"""A study over several nodes, one of which is lost during the study."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from distune.config.home import Home
from distune.records import EpochReport, Outcome, TrialSpec, TrialState
from distune.study.callback import Decision
from distune.study.create import create_study
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.session import run_session
from distune.study.status import read_study
from study.harness import MakeLoaded, Witness

pytestmark = pytest.mark.ray

NUM_TRIALS, NUM_EPOCHS = 6, 9
HEALTH_CHECKS = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500}
"""A node that is gone is missed after three seconds, not twenty."""
SMALL: dict[str, Any] = {"object_store_memory": 2**27, "include_dashboard": False}


@pytest.fixture
def epoch_log(tmp_path: Path) -> Path:
    """Gets a line for each epoch that any worker computes."""
    return tmp_path / "epoch_log"


@pytest.fixture
def cluster(request: pytest.FixtureRequest, epoch_log: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that takes no trials, and two nodes for one trial each; their workers inherit this environment."""
    simulation = {"epoch_s": 0.3, "epoch_log": str(epoch_log), **getattr(request, "param", {})}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps(simulation))
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH_CHECKS, **SMALL})
    for _ in range(2):
        nodes.add_node(num_cpus=1, **SMALL)
    try:
        nodes.wait_for_nodes(timeout=120)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()  # type: ignore[no-untyped-call]


class NodeKiller(Witness):
    """Kills a node with all that runs on it once both nodes are in the middle of a trial."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._thread: threading.Thread | None = None

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        super().on_epoch_end(spec, report, decision)
        done = Counter(key for key, _, _ in self.decisions)
        if self._thread is None and sum(epochs <= NUM_EPOCHS // 2 for epochs in done.values()) == 2:
            node = next(iter(self._cluster.worker_nodes))
            self._thread = threading.Thread(target=self._cluster.remove_node, args=(node, False))
            self._thread.start()

    def join(self) -> None:
        assert self._thread is not None, "the study was over before the node was killed"
        self._thread.join(60)
        assert not self._thread.is_alive()


class LargestKiller(Witness):
    """Kills the largest node when a trial has begun to wait for all of it."""

    def __init__(self, cluster: Cluster, largest: Any) -> None:
        super().__init__()
        self._cluster, self._largest = cluster, largest
        self.threads: list[threading.Thread] = []

    def on_message(self, text: str) -> None:
        super().on_message(text)
        if "alone on its device" in text:
            # Later, for Tune to have asked for the node, on which others still run.
            self.threads.append(threading.Timer(1.0, self._cluster.remove_node, args=(self._largest, False)))
            self.threads[-1].start()


@pytest.mark.parametrize(
    "cluster",
    [{"epoch_s": 0.5, "faults": {"1": {"epoch": 1, "kind": "out_of_memory", "once": True}}}],
    ids=["out of memory"],
    indirect=True,
)
def test_a_trial_that_waits_for_a_machine_of_its_own_gets_another_one(
    cluster: Cluster, make_loaded: MakeLoaded, tmp_path: Path
) -> None:
    largest = cluster.add_node(num_cpus=3, **SMALL)
    cluster.wait_for_nodes(timeout=120)
    loaded = make_loaded(
        training={"epochs": NUM_EPOCHS},
        search={"num_trials": NUM_TRIALS, "scheduler": {"kind": "none"}},
        resources={"cpus_per_trial": 1.0, "address": cluster.address},
    )
    folder = create_study(loaded, Home(tmp_path / "home"), name="one", simulate=True, runner="ray", replace=False)
    witness = LargestKiller(cluster, largest)
    assert run_session(folder, tracker=witness, callback=witness, teacher_weights=None).state == "finished"
    assert witness.threads
    status = read_study(Home(tmp_path / "home"), "one")
    assert {(trial.state, trial.outcome) for trial in status.trials} == {(TrialState.COMPLETE, Outcome.FINISHED)}


def test_the_trials_of_a_lost_node_continue_elsewhere(
    cluster: Cluster, epoch_log: Path, make_loaded: MakeLoaded, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    loaded = make_loaded(
        training={"epochs": NUM_EPOCHS},
        search={"num_trials": NUM_TRIALS, "scheduler": {"kind": "none"}},
        resources={"cpus_per_trial": 1.0, "address": cluster.address},
    )
    folder = create_study(loaded, home, name="one", simulate=True, runner="ray", replace=False)
    witness = NodeKiller(cluster)
    assert run_session(folder, tracker=witness, callback=witness, teacher_weights=None).state == "finished"
    witness.join()

    status = read_study(home, "one")
    assert len(status.trials) == NUM_TRIALS + 1
    assert {(trial.state, trial.outcome) for trial in status.trials} == {(TrialState.COMPLETE, Outcome.FINISHED)}
    lost = [message for message in witness.messages if "worker died" in message]
    assert len(lost) == 1, witness.messages
    for trial in status.trials:
        reports = folder.trial(trial.number).reports()
        assert [report.epoch for report in reports] == list(range(1, NUM_EPOCHS + 1))
    expected = {(trial.key, epoch) for trial in status.trials for epoch in range(1, NUM_EPOCHS + 1)}
    assert {(key, epoch) for key, epoch, _ in witness.decisions} == expected
    assert len(witness.decisions) == len(expected), "no epoch counts twice"
    computed = Counter(tuple(line.split()) for line in epoch_log.read_text().splitlines())
    again = [epoch for epoch, times in computed.items() if times > 1]
    assert len(again) <= 1, "at most the current epoch was computed again"
    assert not again or again[0][0] == lost[0].split()[1].rstrip(":")
