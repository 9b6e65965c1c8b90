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

# Of what a reader has to see, by selector; the picture's letters are drawn on its own paper.
CONTRASTS = """root => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number)
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((c, i) => a * c + (1 - a) * below[i])
  const ground = e => {
    const color = e ? numbers(getComputedStyle(e).backgroundColor) : [255, 255, 255]
    return (color[3] ?? 1) < 1 ? over(color, ground(e.parentElement)) : color
  }
  const light = color => color.map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
  const parts = ['h3', 'h4', 'label', 'input', 'button', '.widget-readout', '[role=status]']
  const found = [...parts, 'th', 'td', 'small', 'p', '.lm-TabBar-tab'].map(part => {
    const all = [...document.querySelectorAll(`${root} ${part}`)].map(e => {
      const below = ground(e), { color, opacity } = getComputedStyle(e)
      const [r, g, b, a = 1] = numbers(color)
      return contrast(light(over([r, g, b, a * opacity], below)), light(below))
    })
    return [part, Math.min(...all)]
  })
  const { paper_bgcolor, font } = document.querySelector(`${root} .js-plotly-plot`)._fullLayout
  const hex = color => [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16))
  found.push(['picture', contrast(light(hex(paper_bgcolor)), light(hex(font.color)))])
  return Object.fromEntries(found)
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
        """Types a symbol of the list, or any other."""
        box = self.page.locator(f"{ROOT} .tftnhits-symbol input")
        box.fill(symbol)
        box.press("Enter")

    def another(self) -> str:
        """A symbol that isn't shown."""
        options = self.page.locator(f"{ROOT} .tftnhits-symbol option").all()
        names = [option.get_attribute("value") for option in options]
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

    def chosen_value(self, control: str) -> str:
        """What stands in a text box, or beside a slider."""
        part = self.page.locator(f"{ROOT} .tftnhits-{control} :is(input, .widget-readout)").first
        return part.evaluate("part => part.value ?? part.textContent")

    def status(self) -> str:
        return self.page.inner_text(f"{ROOT} .tftnhits-status")

    def box(self, part: str) -> dict[str, float]:
        """Where a part is: x, y, width and height."""
        return self.page.locator(f"{ROOT} .tftnhits-{part}").bounding_box()

    def contrasts(self) -> dict[str, float]:
        """Of each kind of text in the panel, its least contrast with what it stands on (WCAG)."""
        return self.page.evaluate(CONTRASTS, ROOT)
