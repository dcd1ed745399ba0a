"""Magnitudes of the maps of a pyramid, level by level: of the teacher of a task of ``gain.py``, and of a new student::

    python benchmarks/map_scales.py shapes
    python benchmarks/map_scales.py bccd --root PATH/OF/BCCD

Prints one JSON line: stride to the standard deviation over the cells and channels of a batch of training images.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch

from distune.config.home import Home
from distune.data.build import build_splits
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.teacher import prepare_teacher
from gain import TASKS, build_task


def main() -> None:
    """Measures one batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--root", help="folder of the real images")
    options = parser.parse_args()
    task, device = build_task(options.task, options.root), torch.device("cpu")
    ready = prepare_teacher(
        task.teacher,
        build_splits(task.teacher.data),
        home=Home.from_environment(),
        device=device,
        on_progress=_say,
    )
    bench = TrialBuilder(task.student, build_splits(task.student.data), device)
    batch = next(iter(bench.stream(task.student.training, seed=0).epoch(0)))
    detectors = {
        "teacher": bench.teacher(str(ready.weights)),
        "new student": bench.detector(task.student.student, seed=0),
    }
    with torch.no_grad():
        necks = {name: detector.forward_teacher(batch.images).view.neck for name, detector in detectors.items()}
    scales = {
        name: {stride: round(float(neck[stride].std()), 2) for stride in sorted(neck)} for name, neck in necks.items()
    }
    print(json.dumps({"benchmark": "map_scales", "task": task.name, "standard_deviations": scales}))


def _say(report: EpochReport, epochs: int) -> None:
    print(f"teacher: epoch {report.epoch}/{epochs}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
