"""The report page: one file that loads nothing, in which foreign text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from distune.explanation.explanation import Explanation, ExplanationTable
from distune.explanation.finding import Finding, FindingState
from distune.reports.page.figures.importance_figure import draw_importances
from distune.reports.page.page_blocks import Box, Crop, CropRow, Panel, Picture, PictureGrid
from distune.reports.page.page_input import ParameterPlots, Pictures
from distune.reports.page.picture_values import NUM_COLORS
from distune.reports.page.render_page import CLASS_COLORS, page_sections, render_page
from distune.reports.page.search_sections import trials_caveat
from support.report_pages import make_confirmation, make_facts, make_page, make_trial

EVIL = "</script><script>alert(1)</script><img src=http://evil.example/x>\"'"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
PICTURES = Pictures(
    images=PictureGrid(
        pictures=[
            Picture(
                title=EVIL,
                caption=EVIL,
                data_uri=PIXEL,
                width=480,
                height=320,
                panels=[
                    Panel(title="ground truth", boxes=[Box(left=1, top=2, width=30, height=40, label=EVIL, color=0)]),
                    Panel(
                        title="best",
                        boxes=[
                            Box(left=1, top=2, width=30, height=40, label=EVIL, color=1, score=score)
                            for score in (0.2, 0.8)
                        ],
                    ),
                ],
            )
        ],
        legend=[(EVIL, 0)],
        threshold=0.5,
    ),
    prototypes=[CropRow(title=EVIL, crops=[Crop(data_uri=PIXEL, text=EVIL, description=EVIL)])],
    problems=[EVIL],
    prototype_problems=[EVIL],
)
EXPLANATION = Explanation(
    study=EVIL,
    simulated=False,
    summary=EVIL,
    findings=(Finding(check=EVIL, state=FindingState.PROBLEM, text=EVIL, advice=EVIL),),
    tables=(ExplanationTable(title=EVIL, columns=(EVIL, EVIL), rows=((EVIL, EVIL),), note=EVIL),),
    notes=(EVIL,),
)


class Page(HTMLParser):
    """The elements of a page, without plotly.js."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]

    def count(self, tag: str) -> int:
        return sum(each == tag for each, _ in self.tags)


@pytest.fixture(scope="module")
def html() -> str:
    evil = make_trial(4, [], reason=EVIL)
    facts = make_facts(
        description=EVIL,
        warnings=[EVIL],
        reason=EVIL,
        state="failed",
        confirmation=make_confirmation(),
        confirmation_lines=[EVIL],
    )
    facts = make_facts(**{**vars(facts), "trials": [*facts.trials, evil]})
    return render_page(make_page(facts, explanation=EXPLANATION, pictures=PICTURES), written_at=0.0)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_foreign_text_stays_text(html: str, page: Page) -> None:
    assert "<script>alert" not in html
    assert "<img src=http" not in html
    assert page.text.count("<script>alert(1)</script>") >= 10
    num_figures = html.count('class="plotly-graph-div"')
    # plotly.js, ours, and Plotly's one for each figure
    assert page.count("script") == 2 + num_figures


def test_nothing_is_loaded_from_the_network(html: str, page: Page) -> None:
    addresses = page.values("src") + page.values("href")
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in html.split("<script>", 1)[0]
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy


def test_plotly_is_embedded_once_and_the_page_is_small(html: str) -> None:
    assert html.count("plotly.js v") == 1
    assert len(html.encode()) < 5_100_000


def test_headings_tables_and_pictures_can_be_read_aloud(html: str, page: Page) -> None:
    assert page.count("h1") == 1
    assert page.count("h2") == page.count("section")
    assert page.count("caption") == page.count("table") > 0
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.tags if tag == "th")
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    labels = [attributes.get("aria-label") for _, attributes in page.tags if attributes.get("role") == "img"]
    assert labels
    assert all(labels)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert all(f"#{name}" in page.values("href") for name in ids if f'<section id="{name}"' in html)


def test_boxes_below_the_threshold_are_hidden_before_any_script_runs(page: Page) -> None:
    boxes = [attributes for tag, attributes in page.tags if tag == "g" and "data-score" in attributes]
    assert [(box["data-score"], box.get("visibility")) for box in boxes] == [("0.20", "hidden"), ("0.80", None)]


def test_labels_of_two_classes_on_one_object_stand_apart(page: Page) -> None:
    heights = [attributes["y"] for tag, attributes in page.tags if tag == "text"]
    assert heights == ["24", "66", "66"]  # above the box, within the picture; below it


def test_the_sections_come_in_order_and_those_without_content_are_left_out() -> None:
    names = [section.name for section in page_sections(make_page(explanation=EXPLANATION, pictures=PICTURES))]
    assert names == [
        "verdict",
        "curves",
        "explanation",
        "parameters",
        "stopping",
        "time",
        "images",
        "prototypes",
        "confirmation",
        "settings",
    ]
    fewer = {section.name for section in page_sections(make_page())}
    assert not {"explanation", "images", "prototypes", "cost"} & fewer
    assert all(section.guide.endswith(".") for section in page_sections(make_page()))


def test_a_study_without_trials_has_a_page() -> None:
    facts = make_facts(trials=[], reports={}, winner=None, teacher_score=None, teacher_reports=())
    html = render_page(make_page(facts), written_at=0.0)
    assert "No trial has finished." in html
    assert "No trial has a score yet." in html


def test_a_study_of_one_epoch_has_a_page() -> None:
    facts = make_facts(rungs=(), scheduler="none", num_epochs=1)
    assert "Early stopping is off" in render_page(make_page(facts), written_at=0.0)


def test_a_simulated_study_says_so_in_title_and_verdict() -> None:
    facts = make_facts(title="study mine (simulated)", simulated=True)
    html = render_page(make_page(facts), written_at=0.0)
    assert re.search(r"<h1>study mine \(simulated\)</h1>", html)
    assert "nothing was trained, and its scores mean nothing" in html


@pytest.mark.parametrize(
    ("number", "words", "is_caveat"), [(1, "1 trial has", True), (19, "noise", True), (20, "20", False)]
)
def test_few_finished_trials_are_a_caveat_with_their_number(number: int, words: str, is_caveat: bool) -> None:
    caveat = trials_caveat(number)
    assert words in caveat.text
    assert str(number) in caveat.text
    assert caveat.is_caveat is is_caveat


def test_a_line_may_break_in_a_path() -> None:
    html = render_page(make_page(), written_at=0.0)
    assert '<th scope="row">distillation.<wbr>soft_<wbr>labels.<wbr>weight</th>' in html


def test_names_in_importances_cannot_be_markup() -> None:
    plots = ParameterPlots(importances={"fANOVA": {"<b>weight</b>": 1.0}})
    figure = draw_importances(plots.importances)
    assert "&lt;b&gt;" in figure.data[0].y[0].replace("<br>", "")


def test_there_is_a_color_for_each_class() -> None:
    assert len(CLASS_COLORS) == NUM_COLORS
