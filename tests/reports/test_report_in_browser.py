"""The report page in a browser: figures are drawn, the slider hides boxes, nothing leaves, nothing overflows."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from distune.api.report_parameters import parameter_plots
from distune.reports.page.page_input import PageInput
from distune.reports.page.render_page import render_page
from reports.test_page_values import SIZES
from reports.test_render_page import EXPLANATION, PICTURES
from support.report_pages import SCORES, make_confirmation, make_facts, make_page, make_trial

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="chromium and chromedriver are not installed"),
]
PHONE, DESKTOP = (390, 844), (1280, 900)
PATHS = [f"distillation.a_term_with_a_long_name.setting_{number}" for number in range(12)]


def whole_page() -> PageInput:
    """Return a page with every section, many parameters with long names, and wide tables."""
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution

    study = optuna.create_study(direction="maximize")
    for number in range(6):
        params = {path: (number * (3 + index)) % 7 / 7 for index, path in enumerate(PATHS)}
        space: dict[str, BaseDistribution] = {path: FloatDistribution(0.0, 1.0) for path in PATHS}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(number)))
    winner = make_trial(1, SCORES[1], params=dict.fromkeys(PATHS, 0.123456))
    facts = make_facts(confirmation=make_confirmation(), sizes=SIZES, winner=winner)
    page = make_page(facts, explanation=EXPLANATION, pictures=PICTURES)
    return dataclasses.replace(page, parameters=parameter_plots(study, metric="AP"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_page(whole_page(), written_at=0.0), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def open_page(browser: Any, file: Path, size: tuple[int, int]) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("performance")
    browser.get(file.as_uri())
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script("return document.readyState") == "complete")


def requests_of(browser: Any) -> list[str]:
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_page_draws_all_figures_fits_the_screen_and_loads_nothing(
    browser: Any, file: Path, size: tuple[int, int]
) -> None:
    open_page(browser, file, size)
    drawn, figures = browser.execute_script(
        "return [document.querySelectorAll('.js-plotly-plot:has(.main-svg)').length,"
        "document.querySelectorAll('.plotly-graph-div').length]"
    )
    assert drawn == figures > 8
    assert browser.get_log("browser") == []
    page_width, text = browser.execute_script("return [document.documentElement.scrollWidth, document.body.innerText]")
    assert page_width == size[0]
    assert "alert(1)" in text  # as text: an alert would make the driver fail
    requests = requests_of(browser)
    assert file.as_uri() in requests
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_slider_hides_boxes_below_its_threshold(browser: Any, file: Path) -> None:
    open_page(browser, file, PHONE)

    def shown() -> list[str]:
        found: list[str] = browser.execute_script(
            "return [...document.querySelectorAll('[data-score]')]"
            ".filter(box => getComputedStyle(box).visibility === 'visible').map(box => box.dataset.score)"
        )
        return found

    def move(threshold: float) -> str:
        text: str = browser.execute_script(
            "const slider = document.getElementById('threshold'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input')); return document.getElementById('threshold-value').textContent",
            threshold,
        )
        return text

    WebDriverWait(browser, 10).until(lambda _: shown() == ["0.80"])
    assert move(0.05) == "0.05"
    assert shown() == ["0.20", "0.80"]
    assert move(0.9) == "0.90"
    assert shown() == []


def test_text_of_figures_can_be_read_in_the_dark(browser: Any, file: Path) -> None:
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    try:
        open_page(browser, file, DESKTOP)
        page, text = browser.execute_script(
            "return [getComputedStyle(document.body).backgroundColor,"
            "getComputedStyle(document.querySelector('.xtick text')).fill]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert page == "rgb(21, 23, 26)"
    assert text == "rgb(230, 231, 233)"
