"""Magnitudes of the maps of a pyramid, level by level: of the teacher of an experiment, and of a new student::

    python benchmarks/map_scales.py benchmarks/pairs/shapes_scratch.yaml
    python benchmarks/map_scales.py benchmarks/pairs/bccd_scratch.yaml --set data.root=PATH/OF/BCCD

Prints one JSON line: stride to the standard deviation over the cells and channels of a batch of training images.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch

from distune.cli.options import assignments
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.data.build import build_splits
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.teacher import prepare_teacher


def main() -> None:
    """Measures one batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="an experiment file, or the name of a shipped experiment")
    parser.add_argument("--set", metavar="PATH=VALUE", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    overrides = assignments("--set", options.overrides)
    experiment = load_experiment(options.experiment, overrides=overrides, check_space=False).experiment
    device, splits = torch.device("cpu"), build_splits(experiment.data)
    ready = prepare_teacher(experiment, splits, home=Home.from_environment(), device=device, on_progress=_say)
    builder = TrialBuilder(experiment, splits, device)
    batch = next(iter(builder.stream(experiment.training, seed=0).epoch(0)))
    detectors = {
        "teacher": builder.teacher(str(ready.weights)),
        "new student": builder.detector(experiment.student, seed=0),
    }
    with torch.no_grad():
        necks = {name: detector.forward_teacher(batch.images).view.neck for name, detector in detectors.items()}
    scales = {
        name: {stride: round(float(neck[stride].std()), 2) for stride in sorted(neck)} for name, neck in necks.items()
    }
    print(json.dumps({"benchmark": "map_scales", "experiment": experiment.name, "standard_deviations": scales}))


def _say(report: EpochReport, epochs: int) -> None:
    print(f"teacher: epoch {report.epoch}/{epochs}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
