"""Padded pixels of training batches, with and without groups of similar aspect ratios.

A batch has the size of its largest height and its largest width, rounded up to multiples of 32, as in torchvision's
detectors. All pixels that belong to no image are padding, which costs time and memory like any others::

    python benchmarks/padding.py

No pixels are computed: the sizes are drawn from ``SIZES``, a simulated distribution like that of COCO. The longer side
of COCO's images has at most 640 px; 90% of the training images have between 167,500 and 355,840 pixels, and a ratio of
height to width between 0.6 and 1.5 (the collection Lextal/SotA-CV, content/datasets/coco_detection.md). The usual
formats of cameras in the proportions below agree with that; the proportions themselves are assumed. The line gives both
ranges for the drawn sizes.

Prints one JSON line: the fraction of padding among all pixels of an epoch for each way to resize, batch size and
``data.aspect_ratio_group_factor``.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from distune.config.image_size import resized_size
from distune.data.epoch_batches import EpochBatches
from distune.data.image_groups import groups_of_ratios

SIZES = {
    (640, 480): 0.32,
    (480, 640): 0.13,
    (640, 427): 0.21,
    (427, 640): 0.07,
    (500, 375): 0.06,
    (375, 500): 0.03,
    (500, 333): 0.04,
    (333, 500): 0.01,
    (640, 360): 0.04,
    (360, 640): 0.01,
    (640, 640): 0.03,
    (612, 612): 0.01,
    (640, 512): 0.02,
    (640, 400): 0.02,
}
"""Width and height to the fraction of the images."""
RESIZING = {"min_size_px 800": [800], "min_sizes_px 480 to 800": list(range(480, 801, 32))}
MAX_SIZE_PX, DIVISOR = 1333, 32
FACTORS = (None, 0, 3)


def padded_fraction(batches: list[list[tuple[int, int]]]) -> float:
    """Return the fraction of padding in batches of images, each with its height and width."""
    pixels = sum(height * width for batch in batches for height, width in batch)
    whole = 0
    for batch in batches:
        sides = (max(size[axis] for size in batch) for axis in (0, 1))
        height, width = (-(-side // DIVISOR) * DIVISOR for side in sides)
        whole += len(batch) * height * width
    return 1 - pixels / whole


def measure(sizes_N2: np.ndarray, min_sizes: list[int], batch_size: int, factor: int | None, *, seed: int) -> float:
    """Return the fraction of padding in an epoch."""
    groups_N = None if factor is None else groups_of_ratios(sizes_N2[:, 0] / sizes_N2[:, 1], factor=factor)
    plan = EpochBatches(num_images=len(sizes_N2), batch_size=batch_size, seed=seed, groups_N=groups_N)
    drawn_N = np.random.default_rng(seed).choice(min_sizes, size=len(sizes_N2))
    resized = [
        resized_size(int(height), int(width), min_size_px=int(shorter), max_size_px=MAX_SIZE_PX)
        for (width, height), shorter in zip(sizes_N2, drawn_N, strict=True)
    ]
    return padded_fraction([[resized[index] for index, _ in batch] for batch in plan.of_epoch(0)])


def main() -> None:
    """Measure all cases and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="number of images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen_N = np.random.default_rng(options.seed).choice(len(SIZES), size=options.images, p=list(SIZES.values()))
    sizes_N2 = np.array(list(SIZES))[chosen_N]
    padding = {
        name: {
            f"batch {batch_size}": {
                "mixed" if factor is None else f"factor {factor}": round(
                    measure(sizes_N2, min_sizes, batch_size, factor, seed=options.seed), 4
                )
                for factor in FACTORS
            }
            for batch_size in (2, 8, 16)
        }
        for name, min_sizes in RESIZING.items()
    }
    drawn = {
        "pixels, 90%": np.quantile(sizes_N2.prod(axis=1), [0.05, 0.95]).round().tolist(),
        "height / width, 90%": np.quantile(sizes_N2[:, 1] / sizes_N2[:, 0], [0.05, 0.95]).round(2).tolist(),
        "upright": round(float((sizes_N2[:, 1] > sizes_N2[:, 0]).mean()), 3),
    }
    print(json.dumps({"images": options.images, "sizes": drawn, "padding": padding}))


if __name__ == "__main__":
    main()
