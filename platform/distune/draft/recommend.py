"""Recommends settings for measured images and a machine. Pure functions."""

from __future__ import annotations

import dataclasses
import math

from distune.draft.measurements import Measurements

SMALLEST_BOX_PX = 8.0
"""Boxes below one cell of the finest level (stride 8) are hardly seen: 95% of the boxes should be larger."""
MEDIAN_BOX_PX = 16.0
"""Half of the boxes should cover at least two cells of the finest level in each direction."""

_SIZE_STEP_PX = 32
_SMALLEST_SIZE_PX = 128
_LARGEST_SIZE_PX = {"cpu": 320, "gpu": 800}
_ANCHOR_SCALES = (0.25, 0.35, 0.5, 0.7, 1.0)
_ANCHOR_PX = 32.0  # the smallest anchor of RetinaNet
_BATCH_SIZE = {"cpu": 4, "gpu": 8}
_NUM_STEPS = {"cpu": 800, "gpu": 6000}
_FEWEST_EPOCHS, _MOST_EPOCHS = 6, 60
_NUM_TRIALS = {"cpu": 8, "gpu": 24}
_REDUCTION_FACTOR = {"cpu": 2, "gpu": 3}


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """A setting.

    Attributes:
        value: of the setting.
        reason: why, in one line.
    """

    value: float
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendations:
    """The settings of an experiment that follow from its data and its machine."""

    min_size_px: Recommendation
    max_size_px: Recommendation
    anchor_scale: Recommendation
    batch_size: Recommendation
    epochs: Recommendation
    teacher_epochs: Recommendation
    num_trials: Recommendation
    startup_trials: Recommendation
    grace_epochs: Recommendation
    reduction_factor: Recommendation


def recommend(measured: Measurements, *, has_gpu: bool) -> Recommendations:
    """Recommend settings.

    Args:
        measured: the training images.
        has_gpu: whether trials run on a GPU.

    Returns:
        Each setting with its reason.
    """
    device = "gpu" if has_gpu else "cpu"
    min_size = _min_size(measured, device)
    max_size = max(min_size.value, _round_up(min_size.value * measured.aspect_ratio - 1))
    low, _, _ = measured.box_sides
    smallest_px = low * min_size.value
    scale = min(_ANCHOR_SCALES, key=lambda each: abs(math.log(each * _ANCHOR_PX / smallest_px)))
    batch_size = max(1, min(_BATCH_SIZE[device], measured.num_images // 4))
    steps = max(1, measured.num_images // batch_size)  # an incomplete last batch is dropped, unless it is the only one
    epochs = min(max(round(_NUM_STEPS[device] / steps), _FEWEST_EPOCHS), _MOST_EPOCHS)
    factor = _REDUCTION_FACTOR[device]
    return Recommendations(
        min_size_px=min_size,
        max_size_px=Recommendation(max_size, f"95% of the images have a ratio of at most {measured.aspect_ratio:.2f}"),
        anchor_scale=Recommendation(
            scale,
            f"the smallest anchor has {scale * _ANCHOR_PX:.0f} px; 95% of the resized boxes are larger than "
            f"{smallest_px:.0f} px",
        ),
        batch_size=Recommendation(batch_size, "images per step on " + ("a GPU" if has_gpu else "a CPU")),
        epochs=Recommendation(epochs, f"{epochs * steps} steps of {batch_size} of {measured.num_images} images"),
        teacher_epochs=Recommendation(
            2 * epochs, "a teacher must be better than a control with the whole budget, so it trains twice as long"
        ),
        num_trials=Recommendation(_NUM_TRIALS[device], "for the two parameters of the space loss_weights"),
        startup_trials=Recommendation(
            _NUM_TRIALS[device] // 2 if device == "cpu" else _NUM_TRIALS[device] // 3,
            "trials that are drawn at random before the sampler uses results",
        ),
        grace_epochs=Recommendation(max(2, epochs // 4), "no trial is stopped before a quarter of its epochs"),
        reduction_factor=Recommendation(factor, f"one of {factor} trials continues at each rung"),
    )


def _min_size(measured: Measurements, device: str) -> Recommendation:
    low, middle, _ = measured.box_sides
    wanted = max(SMALLEST_BOX_PX / low, MEDIAN_BOX_PX / middle)
    largest = min(_LARGEST_SIZE_PX[device], max(_round_up(measured.short_side_px), _SMALLEST_SIZE_PX))
    size = min(max(_round_up(wanted), _SMALLEST_SIZE_PX), largest)
    reason = f"half of the boxes then have {middle * size:.0f} px or more, and 95% have {low * size:.0f} px or more"
    if wanted > largest and largest == _LARGEST_SIZE_PX[device]:
        reason += f"; {_round_up(wanted)} would be better for small boxes, but costs more"
    return Recommendation(size, reason)


def _round_up(value: float) -> int:
    return math.ceil(value / _SIZE_STEP_PX) * _SIZE_STEP_PX
