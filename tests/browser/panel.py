"""The what-if panel as a person sees it: what it shows, its sliders moved by keys, and how long an answer takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROOT = ".tftnhits-what-if"
LINES = f"{ROOT} .js-plotly-plot .scatterlayer path"
# Resolves to the milliseconds from the next key or click to the first picture with other lines.
CLOCK = """lines => {
  const shown = () => [...document.querySelectorAll(lines)].map(path => path.getAttribute('d')).join()
  window.answered = new Promise((resolve, reject) => {
    const before = shown()
    let begin = null
    const start = () => { begin ??= performance.now() }
    for (const event of ['keydown', 'change', 'click']) document.addEventListener(event, start, { capture: true })
    const seen = new MutationObserver(() => {
      if (begin === null || !shown() || shown() === before) return
      seen.disconnect()
      resolve(performance.now() - begin)
    })
    seen.observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['d'] })
    setTimeout(() => reject(Error('the picture stayed as it was')), 30000)
  })
}"""


@dataclass
class WhatIf:
    """The panel in a page."""

    page: Any

    def wait(self, seconds: float = 90) -> None:
        """Until the picture is there."""
        self.page.locator(LINES).first.wait_for(state="attached", timeout=seconds * 1000)
        self.page.locator(f"{ROOT} .tftnhits-title h3").wait_for(timeout=10_000)

    def lines(self) -> list[str]:
        """The lines and bands of the picture."""
        return self.page.eval_on_selector_all(
            LINES, "found => found.map(path => path.getAttribute('d'))"
        )

    def title(self) -> str:
        return self.page.inner_text(f"{ROOT} .tftnhits-title")

    def table(self) -> str:
        return self.page.inner_text(f"{ROOT} .tftnhits-table")

    def shown(self) -> tuple[list[str], str, str]:
        """Lines, title and table."""
        return self.lines(), self.title(), self.table()

    def problem(self) -> str:
        """What the panel says it can't answer."""
        return " ".join(self.page.locator(f"{ROOT} .tftnhits-status .error").all_inner_texts())

    def press(self, control: str, key: str) -> None:
        """A key on a slider's handle."""
        self.page.locator(f"{ROOT} .tftnhits-{control} .noUi-handle").press(key)

    def zoom(self) -> None:
        """Drags a box in the picture."""
        box = self.page.locator(f"{ROOT} .js-plotly-plot .nsewdrag").first.bounding_box()
        left, top = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(left + 150, top + 80, steps=5)
        self.page.mouse.up()
        self.settle()

    def prices(self) -> list[float]:
        """The lowest and the highest price on the picture's axis."""
        return self.page.eval_on_selector(
            f"{ROOT} .js-plotly-plot", "plot => plot._fullLayout.yaxis.range"
        )

    def choose(self, symbol: str) -> None:
        self.page.locator(f"{ROOT} .tftnhits-symbol select").select_option(label=symbol)

    def assume(self, shock: str) -> None:
        """A shock of the last bar, or bars that follow."""
        self.page.locator(f"{ROOT} .tftnhits-mode select").select_option(label=shock)

    def symbols(self) -> list[str]:
        return self.page.locator(f"{ROOT} .tftnhits-symbol option").all_text_contents()

    def click(self, control: str) -> None:
        self.page.locator(f"{ROOT} .tftnhits-{control}").click()

    def seconds(self, act: Callable[[], Any]) -> float:
        """What passes from the key or click of `act` to the changed picture, by the browser's clock."""
        self.page.evaluate(CLOCK, LINES)
        act()
        return self.page.evaluate("window.answered") / 1000

    def settle(self) -> None:
        """Until nothing in the panel has changed for 0.3 seconds."""
        last, same = None, 0
        while same < 3:
            self.page.wait_for_timeout(100)
            now = self.shown()
            last, same = now, same + 1 if now == last else 0
