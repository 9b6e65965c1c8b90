"""The screens that pages are read on, what can't be read there, and what Chromium prints."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

import pytest

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
SIZES = {
    "1280x800": {"viewport": {"width": 1280, "height": 800}},
    "1920x1080": {"viewport": {"width": 1920, "height": 1080}},
    "phone": PHONE,
}
# for the fixture `page`
SCREENS = [
    pytest.param({**size, "color_scheme": theme}, id=f"{name}-{theme}")
    for name, size in SIZES.items()
    for theme in ("light", "dark")
]
DARK = pytest.param({"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}, id="dark")
# Texts whose contrast with the paper behind them is below that of WCAG 2.1 AA, which is 4.5
FAINT = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const [r, g, b] = rgb(text).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92
      : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = (node) => {
    const own = getComputedStyle(node ?? document.body).backgroundColor;
    return !node ? "rgb(255, 255, 255)" : (rgb(own)[3] ?? 1) ? own : paper(node.parentElement);
  };
  const faint = new Set();
  for (const node of document.querySelectorAll("body, body *")) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || !node.offsetParent || node.closest("script, svg")) continue;
    const pair = [light(getComputedStyle(node).color), light(paper(node))].sort((a, b) => b - a);
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) faint.add(node.textContent.trim());
  }
  return [...faint];
}"""


def check_readable(page: Any) -> None:
    """Nothing is too faint to read, and nothing makes the whole page scroll sideways."""
    assert page.evaluate(FAINT) == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]


@dataclass
class Sheet:
    """A printed page: width and height in points, its text without spaces, colours of areas."""

    size: tuple[float, float]
    text: str
    fills: set[str]


def printed(page: Any) -> list[Sheet]:
    """What Chromium prints of a page, which it writes as plain objects and deflated streams."""
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    objects = dict(re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", pdf, re.DOTALL))
    sheets = []
    for body in objects.values():
        if re.search(rb"/Type /Page\b", body):
            _, _, wide, high = re.search(rb"/MediaBox \[(.*?)\]", body)[1].split()
            drawn = _stream(objects[re.search(rb"/Contents (\d+)", body)[1]])
            fonts = re.findall(rb"/(F\d+) (\d+) 0 R", body)
            letters = {name.decode(): _letters(objects, number) for name, number in fonts}
            fills = set(re.findall(r"([\d.]+ [\d.]+ [\d.]+) rg", drawn))
            sheets.append(Sheet((float(wide), float(high)), _text(drawn, letters), fills))
    return sheets


def _stream(body: bytes) -> str:
    start = body.index(b"stream") + len(b"stream")
    return zlib.decompress(body[start : body.rindex(b"endstream")].lstrip(b"\r\n")).decode("latin1")


def _letters(objects: dict[bytes, bytes], number: bytes) -> dict[str, str]:
    """A font's glyphs, four hexadecimal digits each, as letters."""
    table = _stream(objects[re.search(rb"/ToUnicode (\d+)", objects[number])[1]])
    letters = {}
    for first, last, start in re.findall(r"<(\w{4})> (?:<(\w{4})> )?<(\w+)>\n", table):
        for k in range(int(last or first, 16) - int(first, 16) + 1):
            code = bytearray(bytes.fromhex(start))
            code[-1] += k
            letters[f"{int(first, 16) + k:04X}"] = code.decode("utf-16-be")
    return letters


def _text(drawn: str, fonts: dict[str, dict[str, str]]) -> str:
    """What is written, in the order of the document."""
    text, letters = "", {}
    for font, glyphs in re.findall(r"/(F\d+) [\d.]+ Tf|<(\w+)>", drawn):
        letters = fonts[font] if font else letters
        text += "".join(letters.get(glyph.upper(), "") for glyph in re.findall("....", glyphs))
    return "".join(text.split())
