"""Does a teacher tell its classes apart? What it loses when two classes are swapped in its detections.

Trains the teacher of an experiment, or takes it where it is trained already, and scores it on the search and the test
split: as it is, and for each pair of classes with the two labels swapped in all detections. A detector that finds
objects but guesses their classes loses nothing. One that tells all classes apart loses all of the AP of the two. So two
fractions are given, both averaged over pairs: what is lost of the AP of all C classes, which is about 2/C at most, and
what is lost of the AP of the two classes, 1 at most::

    python benchmarks/class_confusion.py quickstart
    python benchmarks/class_confusion.py quickstart --set data.num_classes=2

Prints one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import torch

from distune.cli.options import assignments
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.evaluation.predict_and_score import Prediction, metric_names, predict, score
from distune.training.teacher import prepare_teacher


def swap_labels(predictions: Sequence[Prediction], first: int, second: int) -> list[Prediction]:
    """The same detections with two labels swapped."""
    swapped = []
    for prediction in predictions:
        labels_n = prediction["labels"]
        other_n = torch.where(labels_n == first, second, torch.where(labels_n == second, first, labels_n))
        swapped.append({**prediction, "labels": other_n})
    return swapped


def class_confusion(predictions: Sequence[Prediction], dataset: DetectionDataset) -> dict[str, Any]:
    """AP, AP after each swap, and the lost fractions of the AP of all classes and of the two; None where AP is 0."""
    if len(dataset.classes) < 2:
        raise ValueError("two classes are needed")
    names = metric_names(dataset.classes)
    before = score(predictions, dataset)
    swaps: dict[str, float] = {}
    lost, lost_of_two = [], []
    for first, second in itertools.combinations(range(len(names)), 2):
        after = score(swap_labels(predictions, first + 1, second + 1), dataset)
        swaps[f"{dataset.classes[first]}/{dataset.classes[second]}"] = round(after["AP"], 2)
        two_before, two_after = (sum(each.get(names[k], 0.0) for k in (first, second)) for each in (before, after))
        if before["AP"] > 0:
            lost.append(1 - after["AP"] / before["AP"])
        if two_before > 0:
            lost_of_two.append(1 - two_after / two_before)
    return {
        "AP": round(before["AP"], 2),
        "AP_swapped": swaps,
        "lost": round(statistics.mean(lost), 3) if lost else None,
        "lost_of_the_two": round(statistics.mean(lost_of_two), 3) if lost_of_two else None,
    }


def main() -> None:
    """Prints what the swaps cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="the name of a shipped experiment or the path of a file")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    experiment = load_experiment(options.experiment, overrides=assignments("--set", options.overrides)).experiment
    splits, device = build_splits(experiment.data, with_masks=experiment.learns_masks), torch.device("cpu")
    teacher = prepare_teacher(experiment, splits, home=Home.from_environment(), device=device, on_progress=_say)
    model = TrialBuilder(experiment, splits, device).teacher(str(teacher.weights)).model
    found = {
        split.name: class_confusion(predict(model, split, device=device, batch_size=16), split)
        for split in (splits.search, splits.test)
        if split is not None
    }
    print(json.dumps({"benchmark": "class_confusion", "experiment": experiment.name, "splits": found}))


def _say(report: EpochReport, epochs: int) -> None:
    print(f"teacher: epoch {report.epoch}/{epochs}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
