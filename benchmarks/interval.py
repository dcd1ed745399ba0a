"""Coverage of a true gain of zero by intervals of the gain: distune's, and the plain percentile bootstrap.

Scores are means over images, so that 1,000 repetitions take seconds: the benchmark is about combining seeds and images,
not about average precision. Each case states how much of the variance of the gain is due to the seed, to the images
(common to all seeds) and to both together::

    python benchmarks/interval.py --repetitions 1000

The percentile bootstrap draws seeds with replacement, then images, the same for both arms, and takes the quantiles at
2.5% and 97.5%. Prints one JSON line: for each number of seeds and each case the fraction of covering intervals and
their mean width, of both.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from distune.evidence.gain import gain_from_scores
from distune.evidence.resampling import draw_counts

CASES = {
    "seeds decide": (1.0, 0.0, 0.0),
    "images decide": (0.0, 100.0, 0.0),
    "seed and image together": (0.0, 0.0, 100.0),
    "all three": (1.0, 100.0, 100.0),
}
"""Variance of the seed's part, of the part of each image, and of the part of each seed and image."""
NUM_IMAGES, NUM_RESAMPLES = 100, 300


def repeat(num_seeds: int, variances: tuple[float, float, float], random: np.random.Generator) -> list[float]:
    """One study without a gain: whether each interval covers zero, and how wide it is."""
    of_seed, of_image, of_both = (variance**0.5 for variance in variances)
    values_SI = (
        random.normal(0.0, of_seed, (num_seeds, 1))
        + random.normal(0.0, of_image, (1, NUM_IMAGES))
        + random.normal(0.0, of_both, (num_seeds, NUM_IMAGES))
    )
    counts_RI = draw_counts(NUM_IMAGES, num_resamples=NUM_RESAMPLES, generator=random)
    gains_SR = values_SI @ (counts_RI / NUM_IMAGES).T
    gain = gain_from_scores(
        list(range(num_seeds)), gains_SR, np.zeros_like(gains_SR), metric="AP", num_images=NUM_IMAGES
    )
    drawn_RS = random.integers(0, num_seeds, (NUM_RESAMPLES, num_seeds))
    means_R = np.take_along_axis(gains_SR[:, 1:].T, drawn_RS, axis=1).mean(axis=1)
    low, high = np.quantile(means_R, [0.025, 0.975])
    return [gain.low <= 0 <= gain.high, gain.high - gain.low, low <= 0 <= high, high - low]


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 3, 5, 10])
    options = parser.parse_args()
    random = np.random.default_rng(0)
    cases: dict[str, dict[str, Any]] = {}
    for name, variances in CASES.items():
        for num_seeds in options.seeds:
            rows = [repeat(num_seeds, variances, random) for _ in range(options.repetitions)]
            covers, width, percentile_covers, percentile_width = np.mean(rows, axis=0).round(3).tolist()
            cases.setdefault(name, {})[str(num_seeds)] = {
                "covers": covers,
                "width": width,
                "percentile_covers": percentile_covers,
                "percentile_width": percentile_width,
            }
    print(json.dumps({"benchmark": "interval", "repetitions": options.repetitions, "cases": cases}))


if __name__ == "__main__":
    main()
