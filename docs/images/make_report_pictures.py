"""Draw docs/images/report-desktop.png and report-phone.png: screenshots of the report of a study, in Chromium.

    python docs/images/make_report_pictures.py runs/studies/quickstart/report/report.html

Needs chromium and chromedriver.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

FOLDER = Path(__file__).parent
DESKTOP, PHONE = (1280, 1240), (390, 900)
DESKTOP_WIDTH, PHONE_WIDTH = 860, 1200
GAP, BACKGROUND = 24, "#d5d9e0"
PHONE_SECTIONS = ("", "curves", "images", "stopping")
COLORS, ROUNDS = 256, 4
MAX_BYTES = 300_000
DRAWING_S = 2.0


def main() -> None:
    page = Path(sys.argv[1]).resolve().as_uri()
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        desktop = [shoot(driver, page, section, DESKTOP) for section in ("", "images")]
        phone = [shoot(driver, page, section, PHONE) for section in PHONE_SECTIONS]
    finally:
        driver.quit()
    save(side_by_side(desktop), FOLDER / "report-desktop.png", DESKTOP_WIDTH * len(desktop))
    save(side_by_side(phone), FOLDER / "report-phone.png", PHONE_WIDTH)


def shoot(driver: Any, page: str, section: str, size: tuple[int, int]) -> Image.Image:
    """Return a screenshot of the page from the top of a section on."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get("about:blank")
    driver.get(page)
    time.sleep(DRAWING_S)
    driver.execute_script("document.getElementById(arguments[0])?.scrollIntoView()", section)
    time.sleep(0.2)
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def side_by_side(images: list[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    canvas = Image.new("RGB", (width, max(image.height for image in images)), BACKGROUND)
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width + GAP
    return canvas


def save(image: Image.Image, file: Path, width: int) -> None:
    """Save a picture of the given width with few colors."""
    height = round(image.height * width / image.width)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    small.quantize(COLORS, kmeans=ROUNDS, dither=Image.Dither.NONE).save(file, optimize=True)
    num_bytes = file.stat().st_size
    assert num_bytes < MAX_BYTES, f"{file}: {num_bytes} bytes"
    print(f"{file}: {small.width} x {small.height}, {num_bytes} bytes")


if __name__ == "__main__":
    main()
