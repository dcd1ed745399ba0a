"""The report page as HTML: one file that loads nothing. All text is escaped by the template."""

from __future__ import annotations

import re
import time

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from distune.reports.page.page_blocks import Box, Figure, Section
from distune.reports.page.page_input import PageInput
from distune.reports.page.result_sections import (
    confirmation_section,
    cost_section,
    curves_section,
    explanation_section,
    verdict_section,
)
from distune.reports.page.search_sections import (
    image_section,
    parameter_section,
    prototype_section,
    settings_section,
    stopping_section,
    time_section,
)

CLASS_COLORS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#b04ae0", "#42d4f4", "#f032e6", "#bfef45",
)  # fmt: skip
"""Colors of boxes, by the index of the class; those of a trial's pictures."""
_LABEL_PX, _LIGHT = 24, 150
_JOINT = re.compile(r"([._])(?=[a-z])")
_CONFIG = {"displayModeBar": False, "responsive": True, "displaylogo": False}


def page_sections(page: PageInput) -> list[Section]:
    """Return the sections of a page, in order; those without content are left out."""
    facts = page.facts
    sections = (
        verdict_section(facts),
        curves_section(facts),
        explanation_section(page.explanation),
        parameter_section(facts, page.parameters),
        stopping_section(facts),
        cost_section(facts),
        time_section(facts),
        image_section(page.pictures),
        prototype_section(page.pictures),
        confirmation_section(facts),
        settings_section(facts, page.settings),
    )
    return [section for section in sections if section is not None]


def render_page(page: PageInput, *, written_at: float) -> str:
    """Render the page.

    Args:
        page: its values.
        written_at: seconds since 1970.

    Returns:
        HTML.
    """
    environment = Environment(
        loader=PackageLoader("distune.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["label_y"] = _label_y
    environment.globals["plot_html"] = _PlotWriter()
    return environment.get_template("page.html").render(
        title=page.facts.title,
        description=page.facts.description,
        sections=page_sections(page),
        written=time.strftime("%Y-%m-%d %H:%M", time.localtime(written_at)),
        version=page.settings.versions.get("distune", ""),
        class_colors=[(color, _ink(color)) for color in CLASS_COLORS],
        plotly=Markup(get_plotlyjs()),  # noqa: S704 (the library itself)
    )


def _breakable(text: str) -> Markup:
    """Escape a name, and let a line break after its dots and underscores, so that a path fits a phone."""
    escaped = str(escape(text))
    return Markup(escaped if " " in text else _JOINT.sub(r"\1<wbr>", escaped))  # noqa: S704


def _label_y(box: Box, height: int) -> int:
    """Return where the label of a box stands: above it, or below for every second class, so that both can be read."""
    return max(_LABEL_PX, box.top - 5) if box.color % 2 == 0 else min(height - 5, box.top + box.height + _LABEL_PX)


def _ink(color: str) -> str:
    """Return black for text on a light color, else white."""
    red, green, blue = (int(color[index : index + 2], 16) for index in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > _LIGHT else "#ffffff"


class _PlotWriter:
    """Writes each figure with a name of its own. Plotly escapes markup in the JSON of a figure."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, figure: Figure) -> Markup:
        self._count += 1
        html = figure.plot.to_html(
            full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"figure-{self._count}"
        )
        return Markup(html)  # noqa: S704
