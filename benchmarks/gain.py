"""Does distillation help, and which part of it? Paired comparison against controls over seeds.

All arms of a seed are one cohort: they start from the same weights, see the same batches in the same order, have the
same budget, and share one teacher. Two arms differ only in their distillation, so their difference in AP
is paired by seed. AP is that of the last epoch, on the test split, which nothing was chosen by::

    python benchmarks/gain.py shapes --seeds 0 1 2 3 4 --results gain.jsonl
    python benchmarks/gain.py bccd --root PATH/OF/BCCD --seeds 0 1 2 3 4 --results gain.jsonl
    python benchmarks/gain.py shapes --results gain.jsonl --summary

Each arm of each seed is one line of the results file. Lines that are there already are not computed again, so that a
run can be cut off, continued, or split over processes that share the file. The summary prints one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from distune.config.distillation import DistillationSettings
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import experiment_from_dict
from distune.config.paths import merge
from distune.data.build import build_splits
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.evaluation.predict_and_score import evaluate
from distune.training.teacher import prepare_teacher

Values = dict[str, Any]


def _gradient_share(weight: float) -> Values:
    return {"weight": weight, "unit": "gradient_share"}


OFF: Values = {
    "standardize": "none",
    "filter": {"weight": "uniform"},
    **{name: {"weight": 0.0} for name in DistillationSettings().terms},
}
LOCAL: Values = {"standardize": "level", "local_knowledge": {"weight": 5.0, "unit": "raw"}}
SOFT: Values = {"soft_labels": {"weight": 0.3, "unit": "raw"}}
FILTER: Values = {"filter": {"weight": "gaussian"}}
GLOBAL: Values = {"global_knowledge": _gradient_share(0.3)}
CELLS: Values = {
    "global_knowledge": {
        **_gradient_share(0.3),
        "at": "cells",
        "form": "divergence",
        "space": "teacher",
        "background_weight": 0.2,
        "levels": "own",
        "base_size_px": 8.0,
    }
}


def _arm(*parts: Values) -> Values:
    values: Values = dict(OFF)
    for part in parts:
        values = merge(values, part)
    return values


ARMS: dict[str, Values] = {
    "control": _arm(),
    "gkd_raw": {"preset": "gkd_raw"},
    "decoupled": _arm(LOCAL),
    "soft": _arm(SOFT),
    "decoupled+soft": _arm(LOCAL, SOFT),
    "decoupled+soft+filter": _arm(LOCAL, SOFT, FILTER),
    "decoupled+soft+global": _arm(LOCAL, SOFT, GLOBAL),
    "gkd_global": _arm(LOCAL, SOFT, FILTER, GLOBAL),
    "decoupled+soft+cells": _arm(LOCAL, SOFT, CELLS),
    "decoupled+soft@56px": _arm(LOCAL, SOFT, {"local_knowledge": {"base_size_px": 56.0}}),
}
"""``gkd_global`` is the preset's decoupled + soft + filter + global. ``cells`` is another form of the global loss,
``56px`` the paper's line between the levels of boxes."""

RECIPE: Values = {"optimizer": {"kind": "adamw", "learning_rate": 1e-3}, "gradient_clip_norm": 5.0}
TASKS: dict[str, Values] = {
    "shapes": {
        "name": "gain-shapes",
        "teacher": {"family": "retinanet", "backbone": "resnet18", "fpn_channels": 96},
        "student": {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 64},
        "data": {
            "kind": "shapes",
            "num_train": 300,
            "num_search": 100,
            "num_test": 400,
            "num_classes": 3,
            "max_objects": 3,
            "clutter": 0.1,
        },
        "training": {**RECIPE, "epochs": 12, "batch_size": 8},
        "teacher_training": {**RECIPE, "epochs": 24, "batch_size": 8},
    },
    "bccd": {
        "name": "gain-bccd",
        "teacher": {"family": "retinanet", "backbone": "resnet18", "fpn_channels": 64, "norm": "group"},
        "student": {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 32, "norm": "group"},
        "data": {
            "kind": "voc",
            "train_set": "train",
            "search_set": "val",
            "test_set": "test",
            "min_size_px": 144,
            "max_size_px": 192,
            "augmentation": {"horizontal_flip": 0.5, "vertical_flip": 0.5},
        },
        "training": {**RECIPE, "epochs": 16, "batch_size": 4},
        "teacher_training": {**RECIPE, "epochs": 14, "batch_size": 4},
    },
}
SMALL_IMAGES: Values = {"prototypes": {"min_box_side_px": 8.0}, "local_knowledge": {"base_size_px": 8.0}}
ANCHOR_SCALES = {"shapes": 0.5, "bccd": 0.6}
TEACHER_IMAGES = 1200
"""Generated images cost nothing: the teacher sees more of them than the students, as a large teacher would have."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A comparison: the experiment without arms, and the experiment of the teacher."""

    name: str
    student: Experiment
    teacher: Experiment
    values: Values

    def arm(self, distillation: Values) -> Experiment:
        """The experiment of an arm."""
        values = merge(self.values, {"distillation": distillation})
        return experiment_from_dict(values, source=self.name, check_space=False).experiment


def build_task(name: str, root: str | None) -> Task:
    """The task of that name; ``root`` is the folder of real images."""
    values = merge({**TASKS[name], "distillation": SMALL_IMAGES}, {"data": {"root": root}} if name == "bccd" else {})
    for role in ("teacher", "student"):
        values = merge(values, {role: {"anchor_scale": ANCHOR_SCALES[name]}})
    more = {"data": {"num_train": TEACHER_IMAGES}} if name == "shapes" else {}
    student = experiment_from_dict(values, source=name, check_space=False).experiment
    teacher = experiment_from_dict(merge(values, more), source=name, check_space=False).experiment
    return Task(name, student, teacher, values)


def run_seed(task: Task, arms: dict[str, Values], seed: int, *, home: Home, say: Any) -> list[Values]:
    """Trains every arm under one seed, side by side, and scores it on the test split."""
    device = torch.device("cpu")
    splits = build_splits(task.student.data)
    ready = prepare_teacher(
        task.teacher, build_splits(task.teacher.data), home=home, device=device, on_progress=_tell_teacher(say)
    )
    builders = {name: TrialBuilder(task.arm(distillation), splits, device) for name, distillation in arms.items()}
    any_builder = next(iter(builders.values()))
    training = task.student.training
    teacher = any_builder.teacher(str(ready.weights))
    stream = any_builder.stream(training, seed=seed)
    cohort = any_builder.cohort(training, stream, teacher, epochs_done=0)
    students = {
        name: builder.student(
            name,
            builder.experiment.student,
            training,
            seed=seed,
            steps_per_epoch=len(stream),
            teacher=teacher if builder.experiment.distillation.is_active else None,
        )
        for name, builder in builders.items()
    }
    for student in students.values():
        cohort.join(student)
    started = time.monotonic()
    metrics: dict[str, dict[str, float]] = {}
    for epoch in range(training.epochs):
        results = cohort.run_epoch(evaluate=False)
        metrics = {name: result.metrics for name, result in results.items() if result.error is None}
        for name, result in results.items():
            if result.error is not None:
                say(f"{task.name} seed {seed}: {name} failed: {result.error}")
        say(f"{task.name} seed {seed}: epoch {epoch + 1}/{training.epochs}, {time.monotonic() - started:.0f} s")
    lines: list[Values] = []
    assert splits.test is not None
    for name in metrics:
        figures = evaluate(students[name].detector.model, splits.test, device=device, batch_size=16)
        losses = {key: value for key, value in metrics[name].items() if not key.startswith(("search/", "time/"))}
        lines.append(
            {
                "task": task.name,
                "arm": name,
                "seed": seed,
                **figures,
                "teacher_search_AP": ready.metrics["search/AP"],
                "last_epoch": losses,
                "distillation": builders[name].experiment.distillation.model_dump(mode="json"),
            }
        )
        say(f"{task.name} seed {seed}: {name} AP {figures['AP']:.2f}")
    return lines


def paired(first: dict[int, float], second: dict[int, float]) -> Values:
    """Mean of ``second - first`` over common seeds with its two-sided 95% t interval, in AP points."""
    seeds = sorted(first.keys() & second.keys())
    differences = np.array([second[seed] - first[seed] for seed in seeds])
    mean = float(differences.mean())
    if len(seeds) < 2:
        return {"mean": mean, "low": None, "high": None, "seeds": len(seeds)}
    half = float(stats.t.ppf(0.975, len(seeds) - 1) * differences.std(ddof=1) / len(seeds) ** 0.5)
    return {
        "mean": round(mean, 2),
        "low": round(mean - half, 2),
        "high": round(mean + half, 2),
        "seeds": len(seeds),
        "better_in": int((differences > 0).sum()),
    }


def summarize(lines: list[Values], base: str, metric: str = "AP") -> Values:
    """The mean of each arm, its paired difference from the control and from ``base``, and what the filter finds."""
    by_arm: dict[str, dict[int, float]] = {}
    areas: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        by_arm.setdefault(line["arm"], {})[line["seed"]] = line[metric]
        for name, value in line["last_epoch"].items():
            if name.startswith("filter/auc_"):
                areas.setdefault(line["arm"], {}).setdefault(name, []).append(value)
    return {
        arm: {
            metric: round(float(np.mean(list(values.values()))), 2),
            "over_control": paired(by_arm["control"], values) if "control" in by_arm else None,
            f"over_{base}": paired(by_arm[base], values) if base in by_arm else None,
            "areas_under_roc": {name: round(float(np.mean(each)), 3) for name, each in areas.get(arm, {}).items()},
        }
        for arm, values in by_arm.items()
    }


def main() -> None:
    """Runs what is missing, then prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="*", default=list(ARMS), help="some of: " + ", ".join(ARMS))
    parser.add_argument("--more-arms", type=Path, help="a JSON file of further arms: name to distillation settings")
    parser.add_argument("--root", help="folder of the real images")
    parser.add_argument("--results", type=Path, default=Path("gain.jsonl"))
    parser.add_argument("--base", default="decoupled+soft", help="the arm that additions are compared with")
    parser.add_argument("--metric", default="AP", help="of the summary: AP50, AP_small, or AP/CLASS of one class")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="run nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    more = json.loads(options.more_arms.read_text()) if options.more_arms else {}
    known = {**ARMS, **{name: _arm(values) for name, values in more.items()}}
    arms = {name: known[name] for name in [*options.arms, *more]}
    lines = _read(options.results, options.task)
    if not options.summary:
        task = build_task(options.task, options.root)
        for seed in options.seeds:
            done = {line["arm"] for line in _read(options.results, options.task) if line["seed"] == seed}
            missing = {name: values for name, values in arms.items() if name not in done}
            if missing:
                new = run_seed(task, missing, seed, home=Home.from_environment(), say=_say)
                with options.results.open("a") as file:
                    file.writelines(json.dumps(line) + "\n" for line in new)
        lines = _read(options.results, options.task)
    print(
        json.dumps({"benchmark": "gain", "task": options.task, "arms": summarize(lines, options.base, options.metric)})
    )


def _read(path: Path, task: str) -> list[Values]:
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["task"] == task]


def _tell_teacher(say: Any) -> Any:
    def tell(report: EpochReport, epochs: int) -> None:
        say(f"teacher: epoch {report.epoch}/{epochs}, AP {report.metrics['search/AP']:.1f}")

    return tell


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
