"""The data card as tables of text, from the plain data of ``report/data_card.json``. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distune.reports.page.page_blocks import Table


def card_tables(card: Mapping[str, Any]) -> list[Table]:
    """Return the table of the splits, and that of the boxes per class.

    Args:
        card: of ``DataCard.to_dict``.

    Returns:
        The tables.

    Raises:
        KeyError: it is no data card.
    """
    splits: Sequence[Mapping[str, Any]] = card["splits"]
    names = [split["name"] for split in splits]
    quantiles = " / ".join(f"{quantile:.0%}" for quantile in card["quantiles"])
    rows = {
        "images": [f"{split['num_images']}" for split in splits],
        "without boxes": [f"{split['num_empty']}" for split in splits],
        "boxes": [f"{split['num_boxes']}" for split in splits],
        "crowd or difficult": [f"{split['num_ignored']}" for split in splits],
        "width, px": [_show(split["widths"]) for split in splits],
        "height, px": [_show(split["heights"]) for split in splits],
        "side of boxes, px": [_show(split["box_sides"]) for split in splits],
        "the same, resized": [_show(split["resized_box_sides"]) for split in splits],
        "brightness, of 255": [_show(split["brightness"]) for split in splits],
    }
    classes = [
        [name, *(f"{split['boxes'].get(name, 0)} ({split['images'].get(name, 0)})" for split in splits)]
        for name in card["classes"]
    ]
    return [
        Table(
            title="Splits",
            columns=[quantiles, *names],
            rows=[[name, *cells] for name, cells in rows.items()],
            note=f"Sizes and brightness: {quantiles} quantiles.",
        ),
        Table(title="Boxes of each class, and images with one", columns=["boxes (images)", *names], rows=classes),
    ]


def card_lines(card: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a card, and its verdict."""
    return [*(f"warning: {warning}" for warning in card.get("warnings", ())), str(card.get("verdict", ""))]


def _show(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in values) or "none"
