"""Whole studies: distune beside the usual composition of Ray Tune, Optuna and MLflow.

``usual`` is what most people write: a function trainable for ``tune.Tuner``, ``OptunaSearch`` (TPE), ``ASHAScheduler``,
``MLflowLoggerCallback``, and actors that are used again. Its trials train with distune's own step, so that both do the
same work for an epoch: the same data, teacher, student, terms, evaluation and checkpoints. ``distune`` is
``distune.launch`` with the Ray runner. Both search the same space with as many trials, and one control more in
distune. The teacher is trained before, once for both. Studies take turns in processes of their own.

Which trials ASHA stops differs, so figures are per trained epoch. ``--no-stopping`` trains all trials for the whole
budget in both. CPU seconds are those of all processes, Ray's own included; memory is what the processes do not share.
Prints one JSON line per study and one with the ratios::

    python benchmarks/study.py --trials 24 --cohort auto
    python benchmarks/study.py bccd --root PATH/OF/BCCD --trials 8 --epochs 2 --cohort 4 --no-stopping \\
        --set teacher_training.epochs=1
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import distune
from distune.cli.options import assignments
from distune.config.load import LoadedExperiment, load_experiment
from distune.config.space import Choice, FloatRange
from distune.records import TrialSpec
from process_meter import run_metered

CPUS = 2


def settings(options: argparse.Namespace) -> LoadedExperiment:
    """The experiment of both."""
    overrides: dict[str, Any] = {
        "search.num_trials": options.trials,
        "resources.cohort": options.cohort if options.cohort == "auto" else int(options.cohort),
        "resources.cpus_per_trial": 1,
        "tracking.pictures": 0,
    }
    if options.epochs is not None:
        overrides["training.epochs"] = options.epochs
    if options.root is not None:
        overrides["data.root"] = options.root
    if options.no_stopping:
        overrides["search.scheduler"] = {"kind": "none"}
    return load_experiment(options.experiment, overrides=overrides | assignments("--set", options.overrides))


def run_distune(loaded: LoadedExperiment, home: Path) -> dict[str, float]:
    """A study of distune."""
    study = distune.launch(loaded.experiment, name="ours", home=home, replace=True, callbacks=[])
    status = study.status
    trials, times = status.trials, status.time
    assert times is not None
    assert times.last_epoch_at is not None
    return {
        "epochs": sum(trial.epochs for trial in trials),
        "trials": len(trials),
        "best": study.best_value,
        "run_s": times.last_epoch_at - times.started_at,
    }


def run_usual(loaded: LoadedExperiment, home: Path) -> dict[str, float]:
    """The same work with the libraries alone."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    experiment = loaded.experiment
    teacher = distune.prepare_teacher(experiment, home=home, callbacks=[])
    num_epochs, weights = experiment.training.epochs, str(teacher.weights)

    def train(config: dict[str, Any]) -> None:
        from distune.config.load import trial_experiment
        from distune.training.solo_run import open_trial

        run = open_trial(
            TrialSpec(
                study="usual",
                number=0,
                control=False,
                seed=experiment.training.seed,
                num_epochs=num_epochs,
                params=config,
                experiment=trial_experiment(experiment, config),
                folder=str(Path.cwd()),
                teacher_weights=weights,
            )
        )
        for _ in range(num_epochs):
            metrics = run.run_epoch().metrics
            tune.report({name.replace("/", "_"): value for name, value in metrics.items()})
        run.close()

    space: dict[str, Any] = {}
    for path, parameter in loaded.searched.items():
        if isinstance(parameter, FloatRange):
            draw = tune.loguniform if parameter.log else tune.uniform
            space[path] = draw(parameter.low, parameter.high)
        else:
            assert isinstance(parameter, Choice)
            space[path] = tune.choice(parameter.values)
    rung = experiment.search.scheduler
    scheduler = (
        ASHAScheduler(max_t=num_epochs, grace_period=rung.grace_epochs, reduction_factor=rung.reduction_factor)
        if rung.kind == "asha"
        else FIFOScheduler()  # type: ignore[no-untyped-call]
    )
    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="search_AP",
                mode="max",
                search_alg=ConcurrencyLimiter(OptunaSearch(), max_concurrent=CPUS),
                scheduler=scheduler,
                num_samples=experiment.search.num_trials,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="usual")],
            ),
        ).fit()
        assert not results.errors, results.errors
        table = results.get_dataframe()
        best = float(table["search_AP"].max())
    return {
        "epochs": int(table["training_iteration"].sum()),
        "trials": len(table),
        "best": best,
        "run_s": float(table["timestamp"].max() - (table["timestamp"] - table["time_total_s"]).min()),
    }


def measure(which: str, arguments: list[str], home: Path) -> dict[str, Any]:
    """One study in a process of its own."""
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet |= {"DO_NOT_TRACK": "true", "RAY_AIR_NEW_OUTPUT": "0"}
    run = run_metered(
        [sys.executable, __file__, "--one", which, "--home", str(home), *arguments], {**os.environ, **quiet}
    )
    found: dict[str, Any] = {"benchmark": "study", "which": which} | json.loads(run.output.splitlines()[-1])
    found |= {"wall_s": round(run.wall_s, 1), "cpu_s": round(run.cpu_s, 1), "peak_mb": round(run.peak_mb)}
    found["cpu_s_per_epoch"] = round(run.cpu_s / found["epochs"], 2)
    found["epochs_per_hour"] = round(3600 * found["epochs"] / run.wall_s, 1)
    found["trials_per_hour"] = round(3600 * found["trials"] / run.wall_s, 1)
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="quickstart", help="shipped experiment or file (quickstart)")
    parser.add_argument("--root", help="sets data.root")
    parser.add_argument("--trials", type=int, default=24, help="searched trials (24)")
    parser.add_argument("--epochs", type=int, help="of each trial (those of the experiment)")
    parser.add_argument("--cohort", default="auto", help="resources.cohort of distune (auto)")
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], dest="overrides")
    parser.add_argument("--no-stopping", action="store_true", help="train all trials for the whole budget")
    parser.add_argument("--rounds", type=int, default=1, help="studies of each kind (1)")
    parser.add_argument("--home", type=Path, help="keeps the teacher between runs (a temporary folder)")
    parser.add_argument("--one", choices=["usual", "distune"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        run = run_usual if options.one == "usual" else run_distune
        print(json.dumps(run(settings(options), options.home)))
        return
    passed = [options.experiment, "--trials", str(options.trials), "--cohort", options.cohort]
    passed += ["--root", options.root] if options.root else []
    passed += ["--epochs", str(options.epochs)] if options.epochs else []
    passed += [part for each in options.overrides for part in ("--set", each)]
    passed += ["--no-stopping"] if options.no_stopping else []
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        distune.prepare_teacher(settings(options).experiment, home=home, callbacks=[])
        found: dict[str, list[dict[str, Any]]] = {"usual": [], "distune": []}
        for index in range(options.rounds):
            for which in list(found) if index % 2 == 0 else reversed(list(found)):
                found[which].append(measure(which, passed, home))
    ratios = {
        name: round(
            statistics.median(o[name] / u[name] for o, u in zip(found["distune"], found["usual"], strict=True)), 3
        )
        for name in ("cpu_s_per_epoch", "epochs_per_hour", "trials_per_hour", "peak_mb")
    }
    print(
        json.dumps({"benchmark": "study", "experiment": options.experiment, "rounds": options.rounds, "ratio": ratios})
    )


if __name__ == "__main__":
    main()
