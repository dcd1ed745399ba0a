"""The cost of a study for its driver: beside the plain composition of the libraries, and as the study grows.

Trials are simulated: five epochs of plausible metrics, no training. The rest is the driver's work: choosing values,
deciding after each epoch, Optuna's records, and MLflow's, into SQLite. Each study runs in a process of its own, from
empty databases that have their tables already, on a Ray that is up already.

``plain`` is OptunaSearch (TPE, in memory), ASHAScheduler and MLflowLoggerCallback under ``tune.run``; in its favour,
actors are used again, and there are neither snapshots nor Tune's own loggers. ``ours`` is a session of distune with an
SQLite storage for Optuna. Both have the same space, rungs, metrics and number of trials at a time; they take turns.
Costs are CPU time of the driver's process, all its threads included, and time on the clock until all has been logged.

Growth is of ours alone, in several sizes of study: cost per trial over the whole study and over tenths of it, of the
process and of the thread that the study runs in (another sends to MLflow, and may lag behind), and the resident
memory that the driver gains per trial (Linux only). ``--runner local`` measures the engine without Ray; the driver then
simulates the curves as well.

Prints one JSON line.

    python benchmarks/driver.py --trials 100 --rounds 3 --sizes 100 1000
    python benchmarks/driver.py --rounds 0 --sizes 100 1000 10000 --sampler random
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distune.config.home import Home
from distune.config.load import LoadedExperiment, experiment_from_dict
from distune.records import EpochReport, TrialRecord, TrialSpec
from distune.study.callback import Callback, Decision
from distune.study.create import create_study
from distune.study.runners.simulation import simulated_metrics
from distune.study.session import run_session
from distune.tracking.build import build_tracker, initialize_sqlite

NUM_EPOCHS = 5
AT_A_TIME = 2
SPACE: dict[str, Any] = {
    "name": "four",
    "parameters": {
        "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 50.0, "log": True},
        "distillation.soft_labels.weight": {"kind": "float", "low": 0.1, "high": 100.0, "log": True},
        "distillation.soft_labels.temperature": {"kind": "float", "low": 1.0, "high": 10.0},
        "distillation.prototypes.per_class": {"kind": "int", "low": 2, "high": 32, "log": True},
    },
}


def experiment(num_trials: int, sampler: str) -> LoadedExperiment:
    """The experiment of all studies here."""
    values = {
        "name": "driver",
        "data": {"kind": "shapes"},
        "teacher": {"family": "retinanet", "backbone": "resnet18"},
        "teacher_training": {"epochs": 1},
        "student": {"family": "retinanet", "backbone": "resnet10"},
        "training": {"epochs": NUM_EPOCHS},
        "distillation": {
            "global_knowledge": {"weight": 5.0, "unit": "raw"},
            "soft_labels": {"weight": 1.0, "unit": "raw"},
        },
        "search": {
            "space": "given",
            "num_trials": num_trials,
            "controls": 1,
            "sampler": {"kind": sampler},
            "scheduler": {"kind": "asha", "grace_epochs": 1, "reduction_factor": 3.0},
        },
        "resources": {"cpus_per_trial": 0.5, "max_concurrent": AT_A_TIME},
    }
    return experiment_from_dict(values, source="driver", space=SPACE)


@dataclasses.dataclass(frozen=True)
class Reading:
    """Resources used by the driver when a number of trials had ended."""

    trials: int
    wall_s: float
    cpu_s: float
    thread_cpu_s: float
    resident_kib: int

    @classmethod
    def now(cls, trials: int) -> Reading:
        """Read the clocks and the memory."""
        return cls(trials, time.perf_counter(), time.process_time(), time.thread_time(), _resident_kib())

    def until(self, other: Reading) -> dict[str, float]:
        """Costs per trial between two readings."""
        trials = other.trials - self.trials
        return {
            "cpu_ms": round(1e3 * (other.cpu_s - self.cpu_s) / trials, 2),
            "thread_cpu_ms": round(1e3 * (other.thread_cpu_s - self.thread_cpu_s) / trials, 2),
            "wall_ms": round(1e3 * (other.wall_s - self.wall_s) / trials, 2),
            "resident_kib": round((other.resident_kib - self.resident_kib) / trials, 2),
        }


class Meter(Callback):
    """A callback that reads the driver's clocks ten times in a study, and counts reports."""

    def __init__(self, num_trials: int) -> None:
        self.readings = [Reading.now(0)]
        self.num_reports = 0
        self._num_ended = 0
        self._every = max(1, num_trials // 10)

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Nothing."""

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Count."""
        self.num_reports += 1

    def on_trial_end(self, record: TrialRecord) -> None:
        """Read the clocks after every tenth of the trials."""
        self._num_ended += 1
        if self._num_ended % self._every == 0:
            self.readings.append(Reading.now(self._num_ended))

    def on_message(self, text: str) -> None:
        """Nothing."""


def run_ours(num_trials: int, *, sampler: str, runner: str) -> dict[str, Any]:
    """A study of ours, from its session's begin until MLflow has everything."""
    loaded = experiment(num_trials, sampler)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        initialize_sqlite(home.tracking_uri)
        study = create_study(
            loaded, home, name="driver", simulate=True, runner="ray" if runner == "ray" else "local", replace=False
        )
        if runner == "ray":
            _start_ray()
        meter = Meter(num_trials)
        tracker = build_tracker(
            loaded.experiment.tracking,
            home=home,
            study_folder=study.path,
            study="driver",
            study_key="driver-1",
            experiment="driver",
        )
        run_session(study, tracker=tracker, callback=meter, teacher_weights=None)
        tracker.close(timeout_s=3600.0)  # type: ignore[call-arg]  # of SpoolTracker: wait for all of it
        end = Reading.now(num_trials)
        offset = int((study.path / "spool.offset").read_text())
        assert offset == (study.path / "spool.jsonl").stat().st_size, "MLflow has everything"
    marks = meter.readings
    tenths = [earlier.until(later) for earlier, later in itertools.pairwise(marks)]
    return {
        "trials": num_trials,
        "reports_per_trial": round(meter.num_reports / num_trials, 2),
        "whole": marks[0].until(end),
        "tenths": tenths,
    }


def run_plain(num_trials: int, *, sampler: str, runner: str) -> dict[str, Any]:
    """A study of the plain composition."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    assert (sampler, runner) == ("tpe", "ray"), "the plain composition is measured as it comes"
    os.environ.update({"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": str(sys.maxsize)})
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    spec = _any_spec()

    class Curve(tune.Trainable):
        """The simulated curves of distune."""

        def setup(self, config: dict[str, Any]) -> None:
            self._params = dict(config)
            self._epoch = 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self._epoch += 1
            values = simulated_metrics(dataclasses.replace(spec, params=self._params), self._epoch)
            metrics = {name.replace("/", "_"): value for name, value in values.items()}
            return {**metrics, "time_epoch_s": 0.0, "done": self._epoch == NUM_EPOCHS}

    space = {
        "distillation.global_knowledge.weight": tune.loguniform(0.5, 50.0),
        "distillation.soft_labels.weight": tune.loguniform(0.1, 100.0),
        "distillation.soft_labels.temperature": tune.uniform(1.0, 10.0),
        "distillation.prototypes.per_class": tune.lograndint(2, 32),
    }
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        initialize_sqlite(uri)
        _start_ray()
        start = Reading.now(0)
        analysis = tune.run(
            tune.with_resources(Curve, {"cpu": 0.5}),
            config=space,
            search_alg=OptunaSearch(metric="search_AP", mode="max"),
            scheduler=ASHAScheduler(
                metric="search_AP", mode="max", max_t=NUM_EPOCHS, grace_period=1, reduction_factor=3
            ),
            callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="driver")],
            num_samples=num_trials,
            max_concurrent_trials=AT_A_TIME,
            reuse_actors=True,
            storage_path=folder,
            verbose=0,
        )
        end = Reading.now(num_trials)
        reports = sum(trial.last_result["training_iteration"] for trial in analysis.trials)
    return {
        "trials": num_trials,
        "reports_per_trial": round(reports / num_trials, 2),
        "whole": start.until(end),
    }


def compare(num_trials: int, rounds: int) -> dict[str, Any]:
    """Both, in turn. Ratios are ours over plain, of one round each."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    for index in range(rounds):
        for which in ("ours", "plain") if index % 2 == 0 else ("plain", "ours"):
            found[which].append(alone(which, num_trials, sampler="tpe", runner="ray"))
    return {
        "trials": num_trials,
        "rounds": rounds,
        **{
            which: {
                "reports_per_trial": _median(each["reports_per_trial"] for each in runs),
                **{cost: _median(each["whole"][cost] for each in runs) for cost in ("cpu_ms", "wall_ms")},
            }
            for which, runs in found.items()
        },
        "ratio": {
            cost: [
                round(ours["whole"][cost] / plain["whole"][cost], 3)
                for ours, plain in zip(found["ours"], found["plain"], strict=True)
            ]
            for cost in ("cpu_ms", "wall_ms")
        },
    }


def grow(sizes: list[int], *, sampler: str, runner: str) -> dict[str, Any]:
    """Ours in several sizes, and how the cost of a trial in the last tenth of the largest compares with its second.

    The first tenth loads libraries and starts workers.
    """
    runs = [alone("ours", size, sampler=sampler, runner=runner) for size in sizes]
    largest = runs[-1]
    return {
        "sampler": sampler,
        "runner": runner,
        "studies": runs,
        "last_over_second_tenth": {
            cost: round(largest["tenths"][-1][cost] / largest["tenths"][1][cost], 3)
            for cost in ("thread_cpu_ms", "wall_ms", "resident_kib")
        },
    }


def alone(which: str, num_trials: int, *, sampler: str, runner: str) -> dict[str, Any]:
    """A study in a process of its own; its result is its last line of output."""
    command = [sys.executable, __file__, "--one", which, "--sampler", sampler, "--runner", runner]
    output = subprocess.run(
        [*command, "--trials", str(num_trials)], check=True, stdout=subprocess.PIPE, text=True, env=_environment()
    )
    result: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    print(f"{which}, {num_trials} trials, {sampler}, {runner}: {result['whole']}", file=sys.stderr, flush=True)
    return result


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100, help="in each study of the comparison (100)")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison; 0 leaves it out (3)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000], help="of the growing studies (100 1000)")
    parser.add_argument(
        "--sampler", choices=["random", "tpe"], default="random", help="of the growing studies (random)"
    )
    parser.add_argument("--runner", choices=["ray", "local"], default="ray", help="of the growing studies (ray)")
    parser.add_argument("--one", choices=["ours", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        _quiet()
        run = run_ours if options.one == "ours" else run_plain
        print(json.dumps(run(options.trials, sampler=options.sampler, runner=options.runner)))
        return
    result: dict[str, Any] = {"benchmark": "driver", "processor": platform.processor() or platform.machine()}
    result |= {"cpus": os.cpu_count(), "epochs": NUM_EPOCHS, "at_a_time": AT_A_TIME}
    if options.rounds:
        result["comparison"] = compare(options.trials, options.rounds)
    if options.sizes:
        result["growth"] = grow(options.sizes, sampler=options.sampler, runner=options.runner)
    print(json.dumps(result))


def _any_spec() -> TrialSpec:
    values = experiment(1, "tpe").experiment.to_dict()
    return TrialSpec(
        study="driver",
        number=0,
        control=False,
        seed=0,
        num_epochs=NUM_EPOCHS,
        params={},
        experiment=values,
        folder="",
        teacher_weights=None,
    )


def _start_ray() -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=AT_A_TIME,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=2**27,
    )


def _environment() -> dict[str, str]:
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
    quiet |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **quiet}


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _median(values: Iterable[float]) -> float:
    return round(float(statistics.median(values)), 2)


def _resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    main()
