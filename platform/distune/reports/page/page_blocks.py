"""The parts of the report page: sections made of blocks. The template has a macro for each kind of block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from distune.explanation.finding import Finding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; a caveat is set apart."""

    kind: ClassVar[str] = "text"
    text: str
    is_caveat: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headline:
    """The verdict: a sentence, and one that explains it. ``tone`` is ``good``, ``bad`` or ``open``."""

    kind: ClassVar[str] = "headline"
    text: str
    explanation: str
    tone: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text. The first cell of a row names it.

    Attributes:
        title: above the table.
        columns: their names, one for each cell of a row.
        rows: the cells.
        note: a line below it; empty for none.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of Plotly.

    Attributes:
        title: above the figure.
        description: the figure in words, for those who do not see it.
        plot: a ``plotly.graph_objects.Figure``.
        is_small: two of them fit side by side on a wide screen.
        min_width: in pixels; on a narrower screen the figure scrolls sideways. 0 fits any screen.
    """

    kind: ClassVar[str] = "figure"
    title: str
    description: str
    plot: Any
    is_small: bool = False
    min_width: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindingList:
    """The results of checks, each with the names of the checks that give it."""

    kind: ClassVar[str] = "findings"
    findings: Sequence[tuple[str, Finding]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Code:
    """Text of a program, closed until the reader opens it."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    is_open: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
    """A box on a picture, in pixels of the picture; without a score it is ground truth."""

    left: int
    top: int
    width: int
    height: int
    label: str
    color: int
    score: float | None = None
    is_ignored: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture with the boxes of one source, such as the control."""

    title: str
    boxes: Sequence[Box]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One image, with a panel for each source of boxes.

    Attributes:
        title: name of the image.
        caption: what was found on it.
        data_uri: the image as JPEG.
        width: in pixels.
        height: in pixels.
        panels: ground truth first.
    """

    title: str
    caption: str
    data_uri: str
    width: int
    height: int
    panels: Sequence[Panel]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureGrid:
    """Images with boxes, and the threshold of their scores.

    Attributes:
        pictures: the images.
        legend: name of each class, with the index of its color.
        threshold: detections below this score are hidden at first.
    """

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]
    legend: Sequence[tuple[str, int]]
    threshold: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
    """A small picture with a line of text, and what it shows in words."""

    data_uri: str
    text: str
    description: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropRow:
    """Small pictures with a title, such as the prototypes of a class."""

    kind: ClassVar[str] = "crops"
    title: str
    crops: Sequence[Crop]


Block = Text | Headline | Table | Figure | FindingList | Code | PictureGrid | CropRow


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page.

    Attributes:
        name: anchor of the section.
        title: heading.
        guide: a sentence that says how to read it.
        blocks: the content, in order.
    """

    name: str
    title: str
    guide: str
    blocks: Sequence[Block]
