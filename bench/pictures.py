"""The pictures of README.md and of docs/gallery.md, of a real run.

    python bench/pictures.py --run FOLDER [fan panel gallery]

The fan (data/results/fan.png) is drawn by matplotlib from the shipped model; the panel is a
screenshot of the page that make app serves, after its sliders were moved: Chromium and playwright
are needed for it. The gallery shows some figures of a finished `tftnhits run` in FOLDER, each with
the sentence that is its title. All of it: make pictures.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from html import escape
from pathlib import Path

import nbformat
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import tftnhits as tn
from tftnhits.apps.report import title_and_question
from tftnhits.files import atomic_write, read_json

sys.path.insert(0, "tests/browser")
from panel import ROOT as PANEL
from panel import WhatIf
from servers import FLAGS, chromium_path, serving_app

OUT = Path("data/results")
SYMBOL = "AAPL"
WIDTH, SCALE = (
    1280,
    1.5,
)  # of the page, in CSS pixels, and how many pixels of the picture each of them is
PRESSES = [
    ("change", "ArrowLeft", 6),
    ("range", "ArrowRight", 4),
]  # the last bar 3% lower, its range doubled
GALLERY = Path("docs/gallery.md")
SHOWN = (  # figures of a run, in the order of the notebooks
    "00_forecast",
    "00_explanation",
    "01_returns",
    "01_volatility_clustering",
    "02_learning_curve",
    "03_learning_curve",
    "04_leaderboard",
    "05_attention",
    "05_families_tft",
    "06_coverage",
    "06_skill",
    "07_ablation",
    "08_links",
    "09_what_if",
    "10_scaling",
    "11_side_by_side",
    "12_symbol_report",
    "13_speed",
    "14_forecast",
)
PIXELS = 1000  # width of a picture in the gallery
INTRO = """# Gallery

What the notebooks show, for those who read the repository and run nothing. The pictures are of one
run with the preset `{preset}`; the sentence above each is its own title, which the run computed.
Made by `make pictures`. **Research and education, not trading advice.**
"""


def save(image: Image.Image, path: Path) -> None:
    """As a PNG of few colours, which is what such pictures have, with its title."""
    content, kept = io.BytesIO(), PngInfo()
    if "Title" in image.info:
        kept.add_itxt("Title", image.info["Title"])
    few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(content, "PNG", optimize=True, pnginfo=kept)
    print(atomic_write(path, content.getvalue()), f"{len(content.getvalue()) / 1024:.0f} KiB")


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


def gallery(run: Path) -> str:
    """The page, from a finished run; its pictures are saved beside it."""
    preset = read_json(run / "manifest.json")["given"].get("preset", "quick")
    parts, last = [INTRO.format(preset=preset)], ""
    for name in SHOWN:
        with Image.open(run / "figures" / f"{name}.png") as image:
            title = image.info["Title"]
            small = image.resize((PIXELS, round(image.height * PIXELS / image.width)))
        small.info["Title"] = title
        save(small, GALLERY.with_suffix("") / f"{name}.png")
        if name[:2] != last:
            last = name[:2]
            parts.append(_heading(next(Path("notebooks").glob(f"{last}_*.ipynb"))))
        parts.append(f"{escape(title, quote=False)}.\n\n![{name}](gallery/{name}.png)\n")
    return "\n".join(parts)


def _heading(notebook: Path) -> str:
    title, question = title_and_question(nbformat.read(notebook, as_version=4))
    return f"## [{notebook.stem[:2]} {title}](../{notebook.as_posix()})\n\n*{question}*\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["fan", "panel", "gallery"])
    parser.add_argument("--run", type=Path, help="folder of a finished run of all notebooks")
    given = parser.parse_args()
    if "gallery" in given.what:
        print(atomic_write(GALLERY, gallery(given.run)))
    if "fan" in given.what:
        save(fan(), OUT / "fan.png")
    if "panel" in given.what:
        save(panel(), OUT / "panel.png")


if __name__ == "__main__":
    main()
