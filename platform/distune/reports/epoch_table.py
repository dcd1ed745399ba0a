"""The table of a trial's epochs: its score, and the gradients of the terms of its distillation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table

from distune.records import EpochReport

_SHARE = re.compile(r"share/(\w+)")


def epoch_rows(reports: Sequence[EpochReport], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return the table as text.

    Args:
        reports: of the trial, in order.
        metric: of the study.

    Returns:
        The header: epoch, the metric, ``clipped`` where gradients are clipped, and each measured term. And a row per
        epoch. A term has the share of the task's gradient that it delivered, ``of`` the one that was asked where its
        unit is a share, and the cosine between both gradients.
    """
    names = dict.fromkeys(name for report in reports for name in report.metrics)
    terms = [found[1] for name in names if (found := _SHARE.fullmatch(name)) is not None]
    with_clipping = "gradient/clipped" in names
    header = ["epoch", metric, *(["clipped"] if with_clipping else []), *terms]
    rows = []
    for report in reports:
        values = report.metrics
        row = [str(report.epoch), _text(values.get(metric), ".1f")]
        row += [_text(values.get("gradient/clipped"), ".0%")] if with_clipping else []
        rows.append([*row, *(_term(values, term) for term in terms)])
    return header, rows


def epoch_table(reports: Sequence[EpochReport], metric: str, *, title: str) -> Table:
    """Return the table for a terminal."""
    header, rows = epoch_rows(reports, metric)
    caption = "terms: share of the task's gradient on the neck, delivered of asked; cosine to the task's gradient"
    has_terms = any(name not in ("epoch", metric, "clipped") for name in header)
    table = Table(
        title=title,
        title_justify="left",
        caption=caption if has_terms else None,
        caption_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for name in header:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _term(values: dict[str, float], term: str) -> str:
    share = values.get(f"share/{term}")
    if share is None:
        return ""
    asked, cosine = values.get(f"share_asked/{term}"), values.get(f"gradient_cosine/{term}")
    text = _share(share) + ("" if asked is None else f" of {_share(asked)}")
    return text if cosine is None else f"{text}; {_text(cosine, '+.2f')}"


def _share(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
