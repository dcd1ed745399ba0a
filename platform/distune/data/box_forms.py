"""Finds boxes that are given in another form than their format has, such as corners for width and height.

Every form is tried on all boxes of a split. A box fits a form when it then has an area of at least about a pixel and
lies in its image. Where the annotations state areas, they must be those of the boxes or smaller. The data are refused
when the form of the format fits badly, or another fits clearly better; a box across the border alone is no reason.

Shape legend: ``N`` boxes of a split.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distune.data.check import listing
from distune.data.raw_split import RawSplit
from distune.errors import DataError

Numbers = NDArray[np.float64]

FORMS: dict[str, str] = {
    "xyxy": "xmin, ymin, xmax, ymax in pixels",
    "xywh": "x, y, width, height in pixels",
    "cxcywh": "center x, center y, width, height in pixels",
    "relative xyxy": "xmin, ymin, xmax, ymax as fractions of the image",
    "relative xywh": "x, y, width, height as fractions of the image",
    "relative cxcywh": "center x, center y, width, height as fractions of the image",
}
"""Name of a form to its description."""

_FEW_BOXES = 5
"""With fewer boxes nothing can be said about all of them."""
_OUTSIDE_PX = 2.0
"""A box may exceed its image by this, or by ``_OUTSIDE_SHARE`` of the image."""
_OUTSIDE_SHARE = 0.02
_FITS_WELL = 0.99
_FITS_BADLY = 0.5
_OFTEN_OUTSIDE = 0.9
"""Below this fraction of fitting boxes, another form that fits nearly all is taken to be the right one."""


def stop_if_other_form(name: str, split: RawSplit, form: str) -> None:
    """Check the form of the boxes of a split.

    Args:
        name: of the split and its data set, for messages.
        split: with the sizes of its images.
        form: that its format has, a name in ``FORMS``.

    Raises:
        DataError: most boxes do not fit, or another form fits clearly better; with the form that does.
    """
    given_N4 = np.array([box.given for box in split.boxes], dtype=np.float64).reshape(-1, 4)
    sizes_N2 = np.array([_size(split, box.row) for box in split.boxes], dtype=np.float64).reshape(-1, 2)
    area_N = np.array([np.nan if box.area is None else box.area for box in split.boxes], dtype=np.float64)
    finite_N = np.asarray(np.isfinite(given_N4).all(axis=1), dtype=np.bool_)
    if finite_N.sum() < _FEW_BOXES:
        return
    given_N4, sizes_N2, area_N = given_N4[finite_N], sizes_N2[finite_N], area_N[finite_N]
    fits = {each: _fits(given_N4, sizes_N2, each) for each in FORMS}
    share = {each: float(fits_N.mean()) for each, fits_N in fits.items()}
    best = max(share, key=lambda each: (share[each], each.removeprefix("relative ") == form, each == form))
    equal = {each: _share_of_equal_areas(given_N4, sizes_N2, area_N, each) for each in FORMS}
    best_area = max(FORMS, key=lambda each: (equal[each] > _FITS_WELL, share[each]))
    has_other_areas = equal[best_area] > _FITS_WELL and equal[form] < _FITS_BADLY
    if has_other_areas and share[best_area] >= share[form] - 0.01:
        best = best_area
    elif share[form] >= _FITS_BADLY and not (share[form] < _OFTEN_OUTSIDE and share[best] > _FITS_WELL):
        return
    examples = [box for box, is_finite in zip(split.boxes, finite_N.tolist(), strict=True) if is_finite]
    lines = [
        f"{box.location}: [{', '.join(f'{value:g}' for value in box.given)}] in an image of "
        f"{split.images[box.row].width} x {split.images[box.row].height} pixels"
        for box, fits_form in zip(examples, fits[form].tolist(), strict=True)
        if has_other_areas or not fits_form
    ]
    num_good, total = int(fits[form].sum()), len(given_N4)
    reason = (
        f"the stated areas are those of other boxes than {FORMS[form]}"
        if has_other_areas
        else f"only {num_good} of {total} boxes lie in their images and have a pixel, read as {FORMS[form]}"
    )
    is_known = has_other_areas or share[best] > max(_FITS_BADLY, share[form])
    advice = (
        f"As {FORMS[best]}, {int(fits[best].sum())} of {total} fit: convert the boxes to {FORMS[form]}."
        if is_known
        else f"Convert the boxes to {FORMS[form]}, or use the images that were annotated."
    )
    raise DataError(f"{name}: {reason}\n{listing(lines)}\n{advice}")


def _size(split: RawSplit, row: int) -> tuple[int, int]:
    image = split.images[row]
    return image.width, image.height


def _fits(given_N4: Numbers, sizes_N2: Numbers, form: str) -> NDArray[np.bool_]:
    """Return which boxes have a pixel and lie in their images."""
    with np.errstate(over="ignore", invalid="ignore"):
        corners_N4 = _corners(given_N4, sizes_N2, form)
        slack_N2 = np.maximum(_OUTSIDE_PX, _OUTSIDE_SHARE * sizes_N2)
        sides_N2 = corners_N4[:, 2:] - corners_N4[:, :2]
        inside_N = (corners_N4[:, :2] >= -slack_N2).all(axis=1) & (corners_N4[:, 2:] <= sizes_N2 + slack_N2).all(axis=1)
        # A box of one pixel of VOC has equal corners. Fractions of pixels are those of a normalized box.
        return np.asarray(inside_N & (sides_N2 >= 0).all(axis=1) & (sides_N2.max(axis=1) >= 1), dtype=np.bool_)


def _share_of_equal_areas(given_N4: Numbers, sizes_N2: Numbers, area_N: Numbers, form: str) -> float:
    """Return the fraction of boxes whose stated area is width times height; 0 where hardly any is stated."""
    stated_N = np.isfinite(area_N) & (area_N > 0)
    if stated_N.sum() < max(_FEW_BOXES, 0.5 * len(area_N)):
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        corners_N4 = _corners(given_N4[stated_N], sizes_N2[stated_N], form)
        own_N = (corners_N4[:, 2:] - corners_N4[:, :2]).prod(axis=1)
        return float((np.abs(own_N - area_N[stated_N]) <= 0.01 * area_N[stated_N] + 0.5).mean())


def _corners(given_N4: Numbers, sizes_N2: Numbers, form: str) -> Numbers:
    if form.startswith("relative "):
        given_N4 = given_N4 * np.tile(sizes_N2, 2)
    return _CORNERS[form.removeprefix("relative ")](given_N4[:, :2], given_N4[:, 2:])


_CORNERS: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "xyxy": lambda first_N2, second_N2: np.concatenate([first_N2, second_N2], axis=1),
    "xywh": lambda first_N2, second_N2: np.concatenate([first_N2, first_N2 + second_N2], axis=1),
    "cxcywh": lambda first_N2, second_N2: np.concatenate([first_N2 - second_N2 / 2, first_N2 + second_N2 / 2], axis=1),
}
