"""Time until a study has found a good student: random search, TPE with ASHA, and TPE with ASHA in cohorts.

Three studies of the same experiment per seed, with the same number of trials and workers, one after the other:

- ``random``: random search, no trial is stopped, each trial trains alone;
- ``tpe_asha``: TPE and ASHA as the experiment has them, each trial trains alone;
- ``cohorts``: the same, with several trials side by side.

The seed is that of sampler and training. The score of a study at a time is the best AP on the search split that any
trial had reported. The target of a seed is the lowest final score of its three studies, so that each study reaches it.
Seconds count from the first trial's start: the teacher is trained before, once. Epochs are those of searched trials.
The scores of each study are appended to a file, by default ``benchmarks/results/time_to_quality.jsonl``; a study that
is there is not run again. Prints one JSON line per study, and one with the medians::

    python benchmarks/time_to_quality.py --trials 16 --cohort 4 --seeds 0 1 2
    python benchmarks/time_to_quality.py --trials 8 --cohort 2 --set data.num_train=100
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import distune
from distune.cli.options import assignments
from distune.records import EpochReport, TrialRecord, TrialSpec
from distune.study.callback import Callback, Decision

ARMS: dict[str, dict[str, Any]] = {
    "random": {
        "search.sampler": {"kind": "random"},
        "search.scheduler": {"kind": "none"},
        "resources.cohort": 1,
    },
    "tpe_asha": {"resources.cohort": 1},
    "cohorts": {},
}


class Scores(Callback):
    """Notes when which score was reported."""

    def __init__(self, metric: str) -> None:
        self.points: list[tuple[float, float]] = []
        self._metric = metric
        self._started_at: float | None = None

    def on_trial_start(self, spec: TrialSpec) -> None:
        """Start the clock."""
        if self._started_at is None:
            self._started_at = time.monotonic()

    def on_epoch_end(self, spec: TrialSpec, report: EpochReport, decision: Decision) -> None:
        """Note a score."""
        assert self._started_at is not None
        if not spec.control:
            self.points.append((time.monotonic() - self._started_at, report.metrics[self._metric]))

    def on_trial_end(self, record: TrialRecord) -> None:
        """Nothing."""

    def on_message(self, text: str) -> None:
        """Nothing."""


def first_reached(points: Sequence[tuple[float, float]], target: float) -> tuple[int, float]:
    """Return after how many epochs and seconds a score was at least ``target``. Each point is a time and a score."""
    ordered = sorted(points)
    index = next(index for index, (_, score) in enumerate(ordered) if score >= target)
    return index + 1, ordered[index][0]


def overrides_of(options: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Return the settings of an arm."""
    values: dict[str, Any] = {
        "search.num_trials": options.trials,
        "training.seed": seed,
        "search.sampler.seed": seed,
        "resources.cohort": options.cohort,
        "tracking.enabled": False,
        **ARMS[arm],
    }
    if arm == "random":
        values["search.sampler"] = {"kind": "random", "seed": seed}
        del values["search.sampler.seed"]
    if options.root is not None:
        values["data.root"] = options.root
    return values | assignments("--set", options.overrides)


def run_study(options: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Run one study in this process."""
    scores = Scores("search/AP")
    distune.launch(
        options.experiment,
        name=f"{arm}-{seed}",
        overrides=overrides_of(options, arm, seed),
        runner="ray",
        home=options.home,
        replace=True,
        callbacks=[scores],
    )
    return {"arm": arm, "seed": seed, "split": "search", "points": scores.points}


def main() -> None:
    """Run the studies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="quickstart", help="shipped experiment or file (quickstart)")
    parser.add_argument("--root", help="sets data.root")
    parser.add_argument("--trials", type=int, default=16, help="searched trials of each study (16)")
    parser.add_argument("--cohort", type=int, default=4, help="trials side by side in the third study (4)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of sampler and training (0 1 2)")
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], dest="overrides")
    parser.add_argument("--home", type=Path, help="keeps the teacher between runs (a temporary folder)")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "time_to_quality.jsonl")
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(run_study(options, options.one[0], int(options.one[1]))))
        return
    options.results.parent.mkdir(parents=True, exist_ok=True)
    settings = [options.experiment, "--trials", str(options.trials), "--cohort", str(options.cohort)]
    settings += [part for each in options.overrides for part in ("--set", each)]
    stored = Stored(options.results, settings)
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        if any(stored.find(arm, seed) is None for arm in ARMS for seed in options.seeds):
            distune.prepare_teacher(
                options.experiment,
                overrides=overrides_of(options, "cohorts", options.seeds[0]),
                home=home,
                callbacks=[],
            )
        passed = [*settings, "--home", str(home), *(["--root", options.root] if options.root else [])]
        lines = [line for seed in options.seeds for line in compare(passed, seed, stored)]
    medians = {
        arm: {
            name: statistics.median(line[name] for line in lines if line["arm"] == arm)
            for name in ("seconds_to_target", "epochs_to_target", "total_s", "best", "epochs")
        }
        for arm in ARMS
    }
    print(json.dumps({"benchmark": "time_to_quality", "seeds": options.seeds, "medians": medians}))


class Stored:
    """The file of studies that have been run.

    Args:
        file: one JSON line per study.
        settings: of the comparison; other lines of the file are ignored.
    """

    def __init__(self, file: Path, settings: Sequence[str]) -> None:
        self._file, self._settings = file, list(settings)

    def find(self, arm: str, seed: int) -> dict[str, Any] | None:
        """Return the stored study, None if there is none."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        studies = [study for study in map(json.loads, lines) if study.pop("settings") == self._settings]
        return next((study for study in studies if (study["arm"], study["seed"]) == (arm, seed)), None)

    def add(self, study: dict[str, Any]) -> None:
        """Append a study."""
        points = [[round(seconds, 1), round(score, 3)] for seconds, score in study["points"]]
        with self._file.open("a") as file:
            file.write(json.dumps({"settings": self._settings, **study, "points": points}) + "\n")


def compare(passed: Sequence[str], seed: int, stored: Stored) -> list[dict[str, Any]]:
    """Run the three studies of a seed that are not stored, each in a process of its own, and print their lines."""
    studies: list[dict[str, Any]] = []
    for arm in ARMS if seed % 2 == 0 else reversed(ARMS):
        study = stored.find(arm, seed)
        if study is None:
            command = [sys.executable, __file__, *passed, "--one", arm, str(seed)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_environment()).stdout
            stored.add(json.loads(output.splitlines()[-1]))
            study = stored.find(arm, seed)
        assert study is not None
        studies.append(study)
    target = min(max(score for _, score in study["points"]) for study in studies)
    lines = []
    for study in studies:
        points = [(seconds, score) for seconds, score in study.pop("points")]
        epochs_to_target, seconds_to_target = first_reached(points, target)
        lines.append(
            {
                "benchmark": "time_to_quality",
                **study,
                "epochs": len(points),
                "target": round(target, 2),
                "seconds_to_target": round(seconds_to_target, 1),
                "epochs_to_target": epochs_to_target,
                "total_s": round(max(seconds for seconds, _ in points), 1),
                "best": round(max(score for _, score in points), 2),
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    return lines


def _environment() -> dict[str, str]:
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "true"}
    return {**os.environ, **quiet}


if __name__ == "__main__":
    main()
