"""Write the tables of metrics in docs/mlflow.md from distune's metric catalog: python docs/make_metrics_table.py."""

from __future__ import annotations

from pathlib import Path

from distune.metric_catalog import to_markdown

PAGE = Path(__file__).with_name("mlflow.md")
BEGIN = "<!-- metrics: written by docs/make_metrics_table.py -->"
END = "<!-- end of metrics -->"


def with_tables(page: str) -> str:
    """Return the text of the page with the present tables between the two marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{to_markdown()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
