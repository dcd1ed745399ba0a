"""The cost of K students as a cohort beside K separate runs: CPU seconds and memory.

Students of a cohort share each batch (L) and the teacher's forward pass (T); each pays its own step (S). So K students
should cost L + T + K S instead of K (L + T + S), and where the teacher's maps are kept, L + K S. Each size runs in a
process of its own; sizes take turns, so that other work on the machine meets all alike. All seconds are CPU seconds of
one thread. Prints one JSON line per pair::

    OMP_NUM_THREADS=1 python benchmarks/cohort.py
    OMP_NUM_THREADS=1 python benchmarks/cohort.py --pairs quickstart cells --cells-root PATH --sizes 1 2 4

Pairs. ``quickstart``: that experiment. ``cells``: its pair on blood cells (BCCD in VOC format). ``lite``:
EfficientNet-Lite2 to Lite0, images of 144 px. ``resnet``: RetinaNet R101 to R18, images of 320 px.
All weights are random; the default preset distils. The arm ``cached`` repeats its batches (``data.augmentation.copies:
1``), and its measured epoch takes all maps from memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import subprocess
import sys
import time
import types
from typing import Any

import torch

from distune.config.experiment import Experiment
from distune.config.load import load_experiment
from distune.config.paths import merge
from distune.config.search import TeacherCacheSettings
from distune.data.build import build_splits
from distune.data.dataset import Subset
from distune.training import step_timing
from distune.training.builder import TrialBuilder
from distune.training.step_timing import StepTimer
from distune.training.teacher_cache import TeacherCache

Values = dict[str, Any]
Arm = tuple[int, bool]
"""Number of students, and whether the teacher's maps are kept."""

SHAPES: Values = {"kind": "shapes", "num_train": 64, "num_search": 2, "num_test": 0, "num_classes": 3}
LITE: Values = {"family": "retinanet", "fpn_channels": 64, "norm": "batch", "head": "v2", "anchor_scale": 0.5}
PAIRS: dict[str, Values] = {
    "lite": {
        "data": {**SHAPES, "image_size_px": 192, "min_size_px": 144, "max_size_px": 192},
        "teacher": {**LITE, "backbone": "timm/tf_efficientnet_lite2"},
        "student": {**LITE, "backbone": "timm/tf_efficientnet_lite0"},
    },
    "resnet": {
        "data": {**SHAPES, "image_size_px": 320, "min_size_px": 320, "max_size_px": 320},
        "teacher": {"family": "retinanet", "backbone": "resnet101"},
        "student": {"family": "retinanet", "backbone": "resnet18"},
        "training": {"batch_size": 2},
    },
}
COMMON: Values = {
    "name": "cohort",
    "teacher_training": {"epochs": 1},
    "training": {"epochs": 12, "batch_size": 4, "optimizer": {"kind": "adamw", "learning_rate": 1e-4}},
}


def experiment_of(pair: str, cells_root: str | None, *, is_cached: bool = False) -> Experiment:
    """The experiment of a pair."""
    copies = 1 if is_cached else None
    overrides = {"data.augmentation.copies": copies}
    if pair == "quickstart":
        return load_experiment("quickstart", overrides=overrides).experiment
    if pair == "cells":
        return load_experiment("bccd", overrides={**overrides, "data.root": cells_root}).experiment
    augmentation = {"data": {"augmentation": {"copies": copies}}}
    return Experiment.model_validate(merge(COMMON, merge(PAIRS[pair], augmentation)))


def measure(pair: str, size: int, *, is_cached: bool, batches: int, cells_root: str | None) -> Values:
    """Train a cohort for an epoch after one that is not measured."""
    vars(step_timing)["time"] = types.SimpleNamespace(perf_counter=time.process_time)
    experiment = experiment_of(pair, cells_root, is_cached=is_cached)
    training = experiment.training
    splits = build_splits(experiment.data)
    few = Subset(splits.train, range(min(len(splits.train), batches * training.batch_size)))
    builder = TrialBuilder(experiment, dataclasses.replace(splits, train=few), torch.device("cpu"))
    teacher = builder.teacher_or_random(None)
    stream = builder.stream(training, seed=0)
    cache = TeacherCache(TeacherCacheSettings(memory_gb=64.0)) if is_cached else None
    cohort = builder.cohort(training, stream, teacher, epochs_done=0, cache=cache)
    for number in range(size):
        student = builder.student(
            str(number),
            experiment.student.from_scratch(),
            training,
            seed=0,
            steps_per_epoch=len(stream),
            teacher=teacher,
        )
        cohort.join(student)
    cohort.run_epoch(evaluate=False)
    started = time.process_time()
    results = cohort.run_epoch(evaluate=False)
    cpu_s = time.process_time() - started
    errors = [str(result.error) for result in results.values() if result.error is not None]
    assert not errors, errors
    metrics = results["0"].metrics
    assert not is_cached or metrics["speed/cached_batches"] == 1.0
    return {
        "cpu_s": cpu_s,
        "load_s": metrics["time/load_s"],
        "teacher_s": metrics["time/teacher_s"],
        "student_s": statistics.fmean(result.metrics["time/student_s"] for result in results.values()),
        "epoch_s": metrics["time/epoch_s"],
        "peak_mb": StepTimer(torch.device("cpu")).peak_memory_mb(),
        "steps": len(stream),
    }


def in_process(pair: str, arm: Arm, options: argparse.Namespace) -> Values:
    """Measure in a process of its own."""
    size, is_cached = arm
    command = [sys.executable, __file__, "--one", pair, str(size), "--batches", str(options.batches)]
    command += ["--cached"] if is_cached else []
    command += [] if options.cells_root is None else ["--cells-root", options.cells_root]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    values: Values = json.loads(answer.stdout)
    return values


def compare(pair: str, options: argparse.Namespace) -> Values:
    """All sizes in turns, and their medians over the rounds."""
    found: dict[Arm, list[Values]] = {(size, is_cached): [] for size in options.sizes for is_cached in (False, True)}
    for _ in range(options.rounds):
        for arm, values in found.items():
            values.append(in_process(pair, arm, options))

    def median(arm: Arm, name: str) -> float:
        return float(statistics.median(each[name] for each in found[arm]))

    one = (options.sizes[0], False)
    steps = found[one][0]["steps"]
    shared_s, own_s = median(one, "load_s") + median(one, "teacher_s"), median(one, "student_s")
    other_s = median(one, "epoch_s") - shared_s - own_s
    sizes: Values = {}
    for size in options.sizes:
        separate = [size * each["cpu_s"] for each in found[one]]
        ratios = [each["cpu_s"] / alone for each, alone in zip(found[size, False], separate, strict=True)]
        cached = [each["cpu_s"] / alone for each, alone in zip(found[size, True], separate, strict=True)]
        ideal = (shared_s + size * (own_s + other_s)) / (size * (shared_s + own_s + other_s))
        sizes[str(size)] = {
            "cpu_s_per_student": round(median((size, False), "cpu_s") / size, 3),
            "over_separate": round(statistics.median(ratios), 3),
            "ideal_over_separate": round(ideal, 3),
            "over_ideal": round(statistics.median(ratios) / ideal, 3),
            "peak_mb": round(median((size, False), "peak_mb")),
            "peak_mb_separate": round(size * median(one, "peak_mb")),
            "cached_cpu_s_per_student": round(median((size, True), "cpu_s") / size, 3),
            "cached_over_separate": round(statistics.median(cached), 3),
            "cached_over_student": round(median((size, True), "cpu_s") / (size * (own_s + other_s)), 3),
            "cached_peak_mb": round(median((size, True), "peak_mb")),
        }
    per_step = {name: round(1000 * median(one, f"{name}_s") / steps, 1) for name in ("load", "teacher", "student")}
    return {"pair": pair, "ms_per_step": per_step, "steps": steps, "rounds": options.rounds, "sizes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=["quickstart", "lite", "resnet"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=12, help="steps of the measured epoch")
    parser.add_argument("--cells-root", help="folder of BCCD in VOC format, for the pair cells")
    parser.add_argument("--cached", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("PAIR", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        torch.set_num_threads(1)
        pair, size = options.one
        arm: Values = {"is_cached": options.cached, "batches": options.batches, "cells_root": options.cells_root}
        print(json.dumps(measure(pair, int(size), **arm)))
        return
    for pair in options.pairs:
        line = {**compare(pair, options), "torch": torch.__version__, "machine": platform.machine()}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
