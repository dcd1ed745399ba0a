"""Coverage of a true gain of zero by intervals of the gain: distune's (Howe), Satterthwaite's, and the bootstrap's.

Scores are means over images, so that 1,000 repetitions take seconds: the benchmark is about combining seeds and images,
not about average precision. Each case states how much of the variance of the gain is due to the seed, to the images
(common to all seeds) and to both together::

    python benchmarks/interval.py --repetitions 1000

Satterthwaite's interval has the same variance as distune's and one t quantile, whose degrees of freedom follow from the
sizes of the two parts. The percentile bootstrap draws seeds with replacement, then images, the same for both arms, and
takes the quantiles at 2.5% and 97.5%. Prints one JSON line: for each case and number of seeds, and for each of the
three, the fraction of covering intervals and their mean width.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
from scipy import special

from distune.evidence.gain import ERROR, Gain, gain_from_scores
from distune.evidence.resampling import draw_counts

CASES = {
    "seeds decide": (1.0, 0.0, 0.0),
    "images decide": (0.0, 100.0, 0.0),
    "seed and image together": (0.0, 0.0, 100.0),
    "seeds and images": (3.0, 100.0, 0.0),
    "all three": (1.0, 100.0, 100.0),
    "mostly seeds": (27.0, 100.0, 0.0),
}
"""Variance of the seed's part, of the part of each image, and of the part of each seed and image.

The mean over 100 images has a hundredth of the second. With three seeds, "seeds and images" contribute alike, and the
seeds nine times as much in "mostly seeds".
"""
NUM_IMAGES, NUM_RESAMPLES = 100, 300

Interval = tuple[float, float]


def satterthwaite(gain: Gain) -> Interval:
    """Return the interval with one t quantile, for Satterthwaite's degrees of freedom of the whole variance."""
    of_seeds, of_images = gain.error_seeds**2, gain.error_images**2
    per_degree = of_seeds**2 / (gain.num_seeds - 1) + of_images**2 / (gain.num_images - 1)
    quantile = float(special.stdtrit((of_seeds + of_images) ** 2 / per_degree, 1 - ERROR / 2))
    half = quantile * math.sqrt(of_seeds + of_images)
    return gain.mean - half, gain.mean + half


def percentile(gains_SR: np.ndarray, random: np.random.Generator) -> Interval:
    """Return the quantiles of the mean gain over resampled seeds and images."""
    num_seeds, num_columns = gains_SR.shape
    drawn_RS = random.integers(0, num_seeds, (num_columns - 1, num_seeds))
    means_R = np.take_along_axis(gains_SR[:, 1:].T, drawn_RS, axis=1).mean(axis=1)
    low, high = np.quantile(means_R, [ERROR / 2, 1 - ERROR / 2])
    return float(low), float(high)


def repeat(
    num_seeds: int, variances: tuple[float, float, float], random: np.random.Generator
) -> dict[str, tuple[bool, float]]:
    """Simulate one study without a gain: for each interval, if it covers zero, and its width."""
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
    intervals = {
        "howe": (gain.low, gain.high),
        "satterthwaite": satterthwaite(gain),
        "percentile": percentile(gains_SR, random),
    }
    return {name: (low <= 0 <= high, high - low) for name, (low, high) in intervals.items()}


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 3, 5, 10])
    options = parser.parse_args()
    random = np.random.default_rng(0)
    cases: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for name, variances in CASES.items():
        for num_seeds in options.seeds:
            studies = [repeat(num_seeds, variances, random) for _ in range(options.repetitions)]
            means = {each: np.mean([study[each] for study in studies], axis=0).round(3).tolist() for each in studies[0]}
            cases.setdefault(name, {})[str(num_seeds)] = {
                each: {"covers": covers, "width": width} for each, (covers, width) in means.items()
            }
    print(json.dumps({"benchmark": "interval", "repetitions": options.repetitions, "cases": cases}))


if __name__ == "__main__":
    main()
