"""The data card as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from distune.reports.page.data_card_values import card_tables

if TYPE_CHECKING:
    from distune.data.data_card import DataCard

_SHOWN = 10


def data_card_tables(card: DataCard) -> Iterator[Table]:
    """Return the table of the splits, and that of the boxes per class."""
    for values in card_tables(card.to_dict()):
        table = Table(box=None, header_style="bold", pad_edge=False)
        for index, name in enumerate(values.columns):
            table.add_column(name, justify="left" if index == 0 else "right")
        for row in values.rows:
            table.add_row(*row)
        yield table


def data_card_lines(card: DataCard) -> list[str]:
    """Return what is wrong, faults first."""
    more = len(card.faults) - _SHOWN
    return [
        *(f"skipped: {fault}" for fault in card.faults[:_SHOWN]),
        *([f"skipped: ... and {more} more"] if more > 0 else []),
        *(f"note: {note}" for note in card.notes),
        *(f"warning: {warning}" for warning in card.warnings),
    ]
