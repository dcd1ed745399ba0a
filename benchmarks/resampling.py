"""The cost of average precision on 1,000 resamples of a split, per detector::

    python benchmarks/resampling.py --images 5000 --classes 20 --detections 40

Matches are simulated: a fixed number of detections per image over all classes, with fewer hits at low scores. Prints a
JSON line with the CPU seconds for one table of matches. A gain over five seeds needs ten tables on each split.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from distune.evidence.average_precision import resampled_scores
from distune.evidence.matches import ClassMatches, MatchTable
from distune.evidence.resampling import draw_counts

NUM_THRESHOLDS = 10


def make_table(num_images: int, num_classes: int, per_image: int, random: np.random.Generator) -> MatchTable:
    """A table in which a box per eight detections is found, or somewhat more."""
    entries = []
    for _ in range(num_classes):
        num_detections = num_images * per_image // num_classes
        images_N = random.integers(0, num_images, num_detections).astype(np.int32)
        chance_N = np.exp(-np.arange(num_detections) / (num_detections / 8))
        luck_N = random.random(num_detections)
        hits_TN = np.stack([luck_N < chance_N * (1 - 0.08 * step) for step in range(NUM_THRESHOLDS)])
        missed_I = random.integers(0, 2, num_images)
        truths_I = np.bincount(images_N, weights=hits_TN[0], minlength=num_images) + missed_I
        entries.append(ClassMatches(images_N, hits_TN, np.zeros_like(hits_TN), truths_I.astype(np.int32)))
    return MatchTable(np.arange(num_images), {"all": tuple(entries)})


def main() -> None:
    """Measures one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--detections", type=int, default=40, help="per image, of all classes together")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    table = make_table(options.images, options.classes, options.detections, random)
    counts_RI = draw_counts(options.images, num_resamples=options.resamples, generator=random)
    started = time.process_time()
    resampled_scores(table, "AP", counts_RI)
    seconds = time.process_time() - started
    print(json.dumps({"benchmark": "resampling", **vars(options), "cpu_s": round(seconds, 2)}))


if __name__ == "__main__":
    main()
