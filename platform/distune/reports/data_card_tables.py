"""The data card as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from distune.data.data_card import DataCard

_SHOWN = 10


def data_card_tables(card: DataCard) -> Iterator[Table]:
    """Return the table of the splits, and that of the boxes per class."""
    yield _split_table(card)
    yield _class_table(card)


def data_card_lines(card: DataCard) -> list[str]:
    """Return what is wrong, faults first."""
    more = len(card.faults) - _SHOWN
    return [
        *(f"skipped: {fault}" for fault in card.faults[:_SHOWN]),
        *([f"skipped: ... and {more} more"] if more > 0 else []),
        *(f"note: {note}" for note in card.notes),
        *(f"warning: {warning}" for warning in card.warnings),
    ]


def _split_table(card: DataCard) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("5% / 50% / 95%")
    for split in card.splits:
        table.add_column(split.name, justify="right")
    rows = {
        "images": [f"{split.num_images}" for split in card.splits],
        "without boxes": [f"{split.num_empty}" for split in card.splits],
        "boxes": [f"{split.num_boxes}" for split in card.splits],
        "crowd or difficult": [f"{split.num_ignored}" for split in card.splits],
        "width, px": [_show(split.widths) for split in card.splits],
        "height, px": [_show(split.heights) for split in card.splits],
        "side of boxes, px": [_show(split.box_sides) for split in card.splits],
        "the same, resized": [_show(split.resized_box_sides) for split in card.splits],
        "brightness, of 255": [_show(split.brightness) for split in card.splits],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _class_table(card: DataCard) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("boxes (images)")
    for split in card.splits:
        table.add_column(split.name, justify="right")
    for name in card.classes:
        table.add_row(name, *(f"{split.boxes[name]} ({split.images[name]})" for split in card.splits))
    return table


def _show(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in values) or "none"
