"""Text of users is printed as it is."""

from __future__ import annotations

import pytest
from rich.table import Table

from distune.reports.console import make_console


@pytest.mark.parametrize("text", ["a[/b]", "[red]", ":car:", "[link=x]y", "\\[bold]"])
def test_names_are_neither_markup_nor_emoji(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console(width=200)
    console.print(f"class {text}", style="bold")
    table = Table(title=f"title {text}")
    table.add_column(f"column {text}")
    table.add_row(f"cell {text}")
    console.print(table)
    printed = capsys.readouterr().out
    for place in ("class", "title", "column", "cell"):
        assert f"{place} {text}" in printed
