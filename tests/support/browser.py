"""A browser for tests of pages; they are skipped where it is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_SIZE = "1700,1300"


@contextlib.contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """Open Chromium without a window. Skips the test without Chromium and its driver."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs Chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={_SIZE}"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # as root, Chromium's sandbox does not start
        options.add_argument("--no-sandbox")
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()
