"""Boxes, names, panels and legends as pictures."""

from __future__ import annotations

import torch
from torchvision.transforms.v2.functional import to_pil_image

from distune.data.draw_boxes import PALETTE, class_legend, color_of, draw_boxes, panels, resize_to, scored_names

GRAY = torch.full((3, 60, 100), 128, dtype=torch.uint8)


def colors_in(picture: torch.Tensor) -> set[str]:
    """The colors of a picture, as ``#rrggbb``."""
    return {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in set(map(tuple, picture.flatten(1).T.tolist()))}


def test_each_class_has_its_color() -> None:
    drawn = draw_boxes(GRAY, torch.tensor([[5.0, 30, 40, 55], [50.0, 30, 90, 55]]), [1, 2], ["cat", "dog"])
    assert {color_of(1), color_of(2)} <= colors_in(drawn)
    assert color_of(3) not in colors_in(drawn)
    assert color_of(len(PALETTE) + 1) == color_of(1)
    assert colors_in(GRAY) == {"#808080"}


def test_without_boxes_the_image_stays() -> None:
    assert torch.equal(draw_boxes(GRAY, torch.zeros(0, 4), [], []), GRAY)


def test_the_names_have_scores() -> None:
    assert scored_names(["cat", "dog"], [2, 1], [0.934, 0.5]) == ["dog 0.93", "cat 0.50"]


def test_panels_stand_side_by_side_above_the_legend() -> None:
    legend = class_legend(["cat", "dog", "cow"], [3, 1, 3])
    assert legend == {"cat": color_of(1), "cow": color_of(3)}
    picture = panels({"student": GRAY, "teacher": GRAY}, legend)
    assert picture.shape[2] == 2 * 100 + 8
    assert picture.shape[1] > 60
    assert {color_of(1), color_of(3)} <= colors_in(picture)
    assert to_pil_image(picture).getpixel((50, 40)) == (128, 128, 128)


def test_a_long_legend_is_wrapped() -> None:
    few = panels({"student": GRAY}, {"one": "#ff0000"})
    many = panels({"student": GRAY}, {f"class number {number}": "#ff0000" for number in range(6)})
    assert many.shape[1] > few.shape[1]
    assert many.shape[2] == few.shape[2]


def test_only_large_images_shrink() -> None:
    same, factor = resize_to(GRAY, 100)
    assert same is GRAY
    assert factor == 1.0
    small, factor = resize_to(GRAY, 50)
    assert (tuple(small.shape), factor) == ((3, 30, 50), 0.5)
