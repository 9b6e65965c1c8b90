"""The two pictures of README.md, of a real run: data/results/fan.png and data/results/panel.png.

    python bench/pictures.py

The fan is drawn by matplotlib from the shipped model; the panel is a screenshot of the page that
make app serves, after its sliders were moved. Chromium and playwright are needed for it: make
pictures.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

import tftnhits as tn
from tftnhits.files import atomic_write

sys.path.insert(0, "tests/browser")
from panel import ROOT as PANEL
from panel import WhatIf
from servers import FLAGS, chromium_path, serving_app

OUT = Path("data/results")
SYMBOL = "AAPL"
WIDTH, SCALE = (
    1120,
    1.5,
)  # of the page, in CSS pixels, and how many pixels of the picture each of them is
PRESSES = [
    ("change", "ArrowLeft", 6),
    ("range", "ArrowRight", 4),
]  # the last bar 3% lower, its range doubled


def save(image: Image.Image, name: str) -> None:
    """As a PNG of few colours, which is what such pictures have."""
    content = io.BytesIO()
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    print(atomic_write(OUT / name, content.getvalue()), f"{len(content.getvalue()) / 1024:.0f} KiB")


def fan() -> Image.Image:
    """The forecast from the last bundled bar."""
    figure = tn.Predictor.load().predict(tn.load_bars("stocks")).plot(SYMBOL, history=40)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160)
    return Image.open(content)


def panel() -> Image.Image:
    """The what-if panel after a shock."""
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        serving_app(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 1400}, device_scale_factor=SCALE
        )
        page.goto(server.url, wait_until="commit")
        shown = WhatIf(page)
        shown.wait()
        if SYMBOL not in shown.title():
            shown.choose(SYMBOL)
        for control, key, times in PRESSES:
            for _ in range(times):
                shown.press(control, key)
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        shown.settle()
        content = page.locator(PANEL).screenshot()
        browser.close()
    return Image.open(io.BytesIO(content))


def main() -> None:
    save(fan(), "fan.png")
    save(panel(), "panel.png")


if __name__ == "__main__":
    main()
