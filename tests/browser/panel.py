"""The what-if panel as a person sees it: what it shows, its sliders moved by keys, its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROOT = ".tftnhits-what-if"
PLOT = f"{ROOT} .js-plotly-plot"
LINES = f"{PLOT} .scatterlayer path"
# Resolves to the milliseconds from the next key or click to the first picture with other lines.
CLOCK = """lines => {
  const drawn = () => [...document.querySelectorAll(lines)].map(p => p.getAttribute('d')).join()
  window.answered = new Promise((resolve, reject) => {
    const before = drawn()
    let begin = null
    const start = () => { begin ??= performance.now() }
    for (const event of ['keydown', 'change'])
      document.addEventListener(event, start, { capture: true })
    const seen = new MutationObserver(() => {
      if (begin === null || !drawn() || drawn() === before) return
      seen.disconnect()
      resolve(performance.now() - begin)
    })
    const what = { subtree: true, childList: true, attributes: true, attributeFilter: ['d'] }
    seen.observe(document.body, what)
    setTimeout(() => reject(Error('the picture stayed as it was')), 30000)
  })
}"""

# Resolves to what happened, in turn, until the panel says that all is there.
ORDER = """lines => {
  const drawn = () => [...document.querySelectorAll(lines)].map(p => p.getAttribute('d')).join()
  window.order = new Promise((resolve, reject) => {
    const before = drawn(), order = []
    const note = what => order.includes(what) || order.push(what)
    const seen = new MutationObserver(() => {
      if (document.querySelector('.tftnhits-status [aria-busy=true]')) note('busy')
      else if (order.includes('busy')) { note('done'); seen.disconnect(); resolve(order) }
      if (drawn() && drawn() !== before) note('drawn')
    })
    seen.observe(document.body, { subtree: true, childList: true, attributes: true })
    setTimeout(() => reject(Error(`only ${order}`)), 60000)
  })
}"""


@dataclass
class WhatIf:
    """The panel in a page."""

    page: Any

    def wait(self) -> None:
        """Until the picture is there."""
        self.page.locator(LINES).first.wait_for(state="attached", timeout=90_000)
        self.page.locator(f"{ROOT} .tftnhits-title h3").wait_for(timeout=10_000)
        self.settle()

    def title(self) -> str:
        return self.page.inner_text(f"{ROOT} .tftnhits-title")

    def content(self) -> tuple[str, str, str]:
        """Lines, title and table."""
        lines = "paths => paths.map(path => path.getAttribute('d')).join()"
        table = self.page.inner_text(f"{ROOT} .tftnhits-table")
        return self.page.eval_on_selector_all(LINES, lines), self.title(), table

    def problem(self) -> str:
        """What the panel says it can't answer."""
        return " ".join(self.page.locator(f"{ROOT} .tftnhits-status .error").all_inner_texts())

    def press(self, control: str, key: str) -> None:
        """A key on a slider's handle."""
        self.page.locator(f"{ROOT} .tftnhits-{control} .noUi-handle").press(key)

    def click(self, control: str) -> None:
        self.page.locator(f"{ROOT} .tftnhits-{control}").click()

    def choose(self, symbol: str) -> None:
        self.page.locator(f"{ROOT} .tftnhits-symbol select").select_option(label=symbol)

    def another(self) -> str:
        """A symbol that isn't shown."""
        names = self.page.locator(f"{ROOT} .tftnhits-symbol option").all_text_contents()
        return next(name for name in names if name not in self.title())

    def zoom(self) -> None:
        """Drags a box in the picture."""
        box = self.page.locator(f"{PLOT} .nsewdrag").first.bounding_box()
        left, top = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(left + 150, top + 80, steps=5)
        self.page.mouse.up()
        self.settle()

    def chosen(self, symbol: str, seconds: float = 90) -> None:
        """Until the panel says of this symbol that all is there."""
        done = f"{ROOT} .tftnhits-status [role=status]:not([aria-busy])"
        title = self.page.locator(f"{ROOT} .tftnhits-title", has_text=f"{symbol},")
        title.wait_for(timeout=1000 * seconds)
        self.page.locator(done).wait_for(timeout=1000 * seconds)
        self.page.locator(LINES).first.wait_for(state="attached", timeout=1000 * seconds)

    def drawn(self) -> dict[str, list[float]]:
        """The numbers of the picture's named lines, as plotly has them."""
        lines = "plot => plot.data.filter(t => t.name && t.visible).map(t => [t.name, [...t.y]])"
        return dict(self.page.eval_on_selector(PLOT, lines))

    def order(self, act: Callable[[], Any]) -> list[str]:
        """What `act` leads to, in turn: the panel is busy, the picture is drawn, all is done."""
        self.page.evaluate(ORDER, LINES)
        act()
        return self.page.evaluate("window.order")

    def prices(self) -> list[float]:
        """The lowest and the highest price on the picture's axis."""
        return self.page.eval_on_selector(PLOT, "plot => plot._fullLayout.yaxis.range")

    def seconds(self, act: Callable[[], Any]) -> float:
        """From the key or choice of `act` to the changed picture; then waits until all is there."""
        self.page.evaluate(CLOCK, LINES)
        act()
        milliseconds = self.page.evaluate("window.answered")
        self.settle()
        return milliseconds / 1000

    def settle(self) -> None:
        """Until nothing in the panel has changed for 0.3 seconds."""
        last, same = None, 0
        while same < 3:
            self.page.wait_for_timeout(100)
            now = self.content()
            last, same = now, same + 1 if now == last else 0
