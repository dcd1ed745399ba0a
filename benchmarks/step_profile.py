"""Where the time of a student's training step goes: CPU milliseconds of its parts, with and without distillation.

One thread. Each part is timed by the calls that it consists of; the rest of a step is ``other``. Prints one JSON line
per pair; pairs are those of ``cohort.py``::

    python benchmarks/step_profile.py --pairs quickstart lite resnet
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from cohort import experiment_of
from distune.data.build import build_splits
from distune.data.dataset import Subset
from distune.training.builder import TrialBuilder
from distune.training.student import Student

PARTS = (
    "forward",
    "terms",
    "measurement of gradient shares",
    "backward of the task",
    "backward of the terms",
    "clipping",
    "optimizer",
    "other",
)


class Clock:
    """Adds up the CPU seconds of calls that it wraps."""

    def __init__(self) -> None:
        self.seconds: collections.defaultdict[str, float] = collections.defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is timed."""

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds[name] += time.thread_time() - started

        return call


def profile(student: Student, clock: Clock) -> None:
    """Wrap the parts of a student's step."""
    student.step = clock.timed("step", student.step)  # type: ignore[method-assign]
    student.detector.forward_train = clock.timed("forward", student.detector.forward_train)  # type: ignore[method-assign]
    if student.objective is not None:
        student.objective.forward = clock.timed("terms", student.objective.forward)  # type: ignore[method-assign]
        balance = student.objective.balance
        assert balance is not None
        balance._measure = clock.timed("measurement of gradient shares", balance._measure)  # type: ignore[method-assign]
    for method in ("add", "add_task", "add_terms", "finish"):
        setattr(student._backward, method, clock.timed("all of backward", getattr(student._backward, method)))
    student._optimizer.step = clock.timed("optimizer", student._optimizer.step)  # type: ignore[method-assign]


def measure(pair: str, *, batches: int, cells_root: str | None, is_distilled: bool) -> dict[str, float]:
    """Profile an epoch after one that is not measured: milliseconds of each part of a step."""
    experiment = experiment_of(pair, cells_root)
    training = experiment.training
    splits = build_splits(experiment.data)
    few = Subset(splits.train, range(min(len(splits.train), batches * training.batch_size)))
    builder = TrialBuilder(experiment, dataclasses.replace(splits, train=few), torch.device("cpu"))
    teacher = builder.teacher_or_random(None) if is_distilled else None
    stream = builder.stream(training, seed=0)
    student = builder.student(
        "profiled",
        experiment.student.from_scratch(),
        training,
        seed=0,
        steps_per_epoch=len(stream),
        teacher=teacher,
    )
    cohort = builder.cohort(training, stream, teacher, epochs_done=0)
    cohort.join(student)
    cohort.run_epoch(evaluate=False)
    clock = Clock()
    profile(student, clock)
    backward = torch.Tensor.backward
    calls = 0

    def counted(*arguments: Any, **keywords: Any) -> None:
        nonlocal calls
        name = "backward of the task" if calls % (1 + is_distilled) == 0 else "backward of the terms"
        calls += 1
        clock.timed(name, backward)(*arguments, **keywords)

    torch.Tensor.backward = counted  # type: ignore[method-assign]
    try:
        result = cohort.run_epoch(evaluate=False)["profiled"]
    finally:
        torch.Tensor.backward = backward  # type: ignore[method-assign]
    if result.error is not None:
        raise result.error
    seconds = clock.seconds
    seconds["terms"] -= seconds["measurement of gradient shares"]
    seconds["clipping"] = seconds.pop("all of backward") - sum(
        seconds[name] for name in PARTS if name.startswith("backward")
    )
    seconds["other"] = seconds["step"] - sum(seconds[name] for name in PARTS if name != "other")
    found = {name: round(1000 * seconds[name] / len(stream), 1) for name in ("step", *PARTS)}
    found["teacher"] = round(1000 * result.metrics["time/teacher_s"] / len(stream), 1)
    found["load"] = round(1000 * result.metrics["time/load_s"] / len(stream), 1)
    return found


def main() -> None:
    """Profile the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=["quickstart", "lite", "resnet"])
    parser.add_argument("--batches", type=int, default=12, help="steps of the measured epoch (12)")
    parser.add_argument("--cells-root", help="folder of BCCD in VOC format, for the pair cells")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for pair in options.pairs:
        parts = {
            name: measure(pair, batches=options.batches, cells_root=options.cells_root, is_distilled=is_distilled)
            for name, is_distilled in (("control", False), ("distilled", True))
        }
        print(json.dumps({"benchmark": "step_profile", "pair": pair, "ms_per_step": parts}), flush=True)


if __name__ == "__main__":
    main()
