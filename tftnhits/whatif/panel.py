"""The what-if panel: controls, two fans, a table and where TFT looked, in any Jupyter.

All runs on the kernel's one thread, in the order in which it hears of changes: no answer overtakes
a later one. A slider tells of a change when it is let go, so that a drag is one question.
"""

from __future__ import annotations

import json
import logging
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..config import LEVEL, STEPS
from ..data.extras import input_names
from ..data.features import MARKET_SYMBOLS
from ..data.live import live_bars
from ..data.names import COLUMNS
from ..errors import ConfigError, MissingDependency, TftnhitsError, printable, quoted
from ..forecast.ensemble import WALK
from ..viz.style import price, unit_of
from . import address
from .shock import NOTHING, Comparison, Shock, WhatIf, when
from .views import (
    DrawnPicture,
    LivePicture,
    css,
    drivers_html,
    helper,
    plot_what_if,
    table_html,
)

try:
    import ipywidgets
except ImportError as error:
    raise MissingDependency(
        "The what-if panel needs ipywidgets: pip install 'tftnhits[notebook]'."
    ) from error

PICTURES = {"plotly": LivePicture, "matplotlib": DrawnPicture}
SHOCKS = {  # value for no shock, lowest, highest, step, label
    "bars": (0, 0, 10, 1, "More bars (0: shock the last)"),
    "change": (0.0, -15.0, 15.0, 0.5, "Close move, %"),
    "range": (1.0, 0.25, 5.0, 0.25, "Range, ×"),
    "volume": (1.0, 0.25, 5.0, 0.25, "Volume, ×"),
    "market": (0.0, -10.0, 10.0, 0.5, "Market move, %"),
}
PATIENCE = 20  # seconds for Yahoo: meanwhile nothing else is answered
OWN = "input "  # before the name of a control of a user's own input
BUSY = '<div role="status" aria-busy="true">Asking {} …</div>'
log = logging.getLogger("tftnhits")


def what_if(
    bars: Any = "stocks",
    model: Any = None,
    backend: str | None = None,
    symbol: str | None = None,
    origin: Any = None,
    theme: str | None = None,
) -> Panel:
    """A panel to shock the last bar, or a path of next ones, and to see what the model makes of it.

    It has the bars' symbols, and live bars of any of Yahoo Finance. What can't be answered later on
    stands in the panel. Raises ConfigError on an unknown backend or theme, DataError on bad bars,
    MissingDependency without what the backend needs.

    Parameters
    ----------
    bars, model : what `load_bars` takes; a Predictor, or what its `load` takes
    backend : "plotly" (live lines) or "matplotlib" (an image); None takes the first where it works
    symbol, origin : where it starts; None: the first symbol, its last bar
    theme : "light" or "dark", the picture's; None: the page's if it is live, else "light"
    """
    backend = backend or ("plotly" if _can_be_live() else "matplotlib")
    if backend not in PICTURES:
        raise ConfigError(f"There is no backend {quoted(backend)}; choose {' or '.join(PICTURES)}.")
    return Panel(PICTURES[backend](theme), WhatIf(bars, model), symbol, origin)


def _can_be_live() -> bool:
    """Whether a live figure works: not in Colab, nor without plotly 6 and anywidget."""
    if "COLAB_RELEASE_TAG" in os.environ or not find_spec("anywidget") or not find_spec("plotly"):
        return False
    import plotly

    return int(plotly.__version__.split(".")[0]) >= 6


class Panel:
    """Controls by name, and what they show; `root` is the widget, which a notebook shows.

    CSS classes: tftnhits-what-if (the root), in it tftnhits-title, -status, -picture, -table and
    -drivers, and tftnhits-<name> for each control.
    """

    def __init__(self, picture: Any, lab: WhatIf, symbol: str | None, origin: Any):
        self.picture, self.lab = picture, lab
        self.shocks = SHOCKS | dict(_own_shocks(lab))
        weights = lab.model.weights
        self.har = {name: weight for name, weight in weights.items() if name == WALK}  # stays so
        self.networks = 1 - sum(self.har.values())  # what TFT and N-HITS share
        self.default_weight = round(100 * weights.get("tft", 0) / self.networks)  # percent
        self.comparison: Comparison | None = None  # the last that could be answered
        self.brought: tuple[str, WhatIf | TftnhitsError] | None = None  # Yahoo's, by symbol
        self.held = False  # whether a control's change asks nothing
        symbol = next(iter(lab.by_symbol)) if symbol is None else symbol
        self.controls = self._controls(symbol, lab.bar_at(symbol, origin))
        self.title, self.status, self.table, self.drivers = (ipywidgets.HTML() for _ in range(4))
        self.address = ipywidgets.HTML()  # never shown: page/controls.js reads it
        self.tabs = ipywidgets.Tab([self.table, self.drivers], selected_index=0)
        self.tabs.set_title(0, "What differs")
        self.tabs.set_title(1, "Where TFT looked")
        self.root = self._arranged()
        for name, control in self.controls.items():
            if name != "reset":
                control.observe(self._changed, "value")
        self.controls["reset"].on_click(self.reset)
        self.tabs.observe(self._explain, "selected_index")
        with self._hold():
            self.refresh()
        if asked := address.asked(self.controls):
            self._restore(asked)

    def _controls(self, symbol: str, number: int) -> dict[str, Any]:
        w, lab, model = ipywidgets, self.lab, self.lab.model
        names, last = list(lab.by_symbol), lab.by_symbol[symbol].index[number]
        origin = (w.DatePicker if lab.daily else w.Text)(value=self._origin(last))
        origin.description, origin.continuous_update = "Origin", False
        controls = {
            "symbol": w.Combobox(options=names, value=symbol, description="Symbol"),
            "live": w.Checkbox(description="Live bars of Yahoo Finance", indent=False),
            "origin": origin,
            "horizon": _slider(min(STEPS, model.horizon), 1, model.horizon, 1, "Horizon"),
            "level": _slider(round(100 * LEVEL), 50, 99, 1, "Interval, %"),
            "weight": _slider(self.default_weight, 0, 100, 1, "TFT's weight, %"),
            "candles": w.Checkbox(description="Candles: whole bars drawn", indent=False),
            **{name: _slider(*numbers) for name, numbers in self.shocks.items()},
            "reset": w.Button(description="No shock", tooltip="Take the shock back"),
        }
        controls["symbol"].continuous_update = False
        controls["weight"].disabled = not {"tft", "nhits"} <= set(model.members)
        for name, control in controls.items():
            control.add_class(f"tftnhits-{'-'.join(name.split())}")
        return controls

    def _arranged(self) -> Any:
        """Controls beside title, picture, status and tables, or above where it is narrow."""
        w, names = ipywidgets, list(self.controls)
        groups = {"Forecast": names[: names.index("bars")], "Shock": names[names.index("bars") :]}
        columns = [
            w.VBox([w.HTML(f"<h4>{head}</h4>"), *(self.controls[name] for name in group)])
            for head, group in groups.items()
        ]
        parts = {
            "controls": w.Box([*columns, *helper(self.address)]),
            "picture": w.Box(self.picture.widgets),
        }
        parts |= {name: getattr(self, name) for name in ("title", "status", "table", "drivers")}
        parts["main"] = w.VBox([self.title, parts["picture"], self.status, self.tabs])
        parts["body"] = w.Box([parts["controls"], parts["main"]])
        for name, part in parts.items():
            part.add_class(f"tftnhits-{name}")
        root = w.VBox([w.HTML(css()), parts["body"]])
        root.add_class("tftnhits-what-if")
        return root

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        text = "The what-if panel: it needs a running kernel."
        shown = {"application/vnd.jupyter.widget-view+json": view, "text/plain": text}
        if self.comparison is not None:  # for reports of a run, and where no kernel runs
            drawn = plot_what_if(self.comparison, candles=self.controls["candles"].value)
            shown["image/png"] = b64encode(drawn._repr_png_()).decode()
        display(shown, raw=True)

    @contextmanager
    def _hold(self) -> Iterator[None]:
        """Within it changes of controls ask nothing, and no answer goes into the address."""
        before, self.held = self.held, True
        try:
            yield
        finally:
            self.held = before

    def _changed(self, change: Any) -> None:
        """Another value of a control."""
        if self.held:
            return
        with self._hold():
            owner = change["owner"]
            self._settle(next(n for n, c in self.controls.items() if c is owner), change["old"])
        self.refresh()

    def _settle(self, name: str, old: Any) -> None:
        """What the new value of the control `name` means for others: unknown symbols are live."""
        symbol, live, origin = (self.controls[name] for name in ("symbol", "live", "origin"))
        if name == "symbol":
            typed = symbol.value.strip()
            symbol.value = typed if typed in self.lab.by_symbol else typed.upper() or old
            if symbol.value not in self.lab.by_symbol and not live.value:
                name, live.value = "live", True
        if name == "live":
            self.brought = None
            # the last bar: these end on another day
            origin.value = "" if isinstance(origin, ipywidgets.Text) else None

    def _restore(self, asked: dict[str, str]) -> None:
        """What the page's address asks for; above the answer stands what makes no sense."""
        problems = []
        with self._hold():
            for name, text in asked.items():
                control = self.controls[name]
                if name == "reset" or control.disabled:
                    continue
                old = control.value
                try:
                    control.value = address.value_of(text, name, control)
                except ConfigError as error:
                    problems.append(str(error))
                if control.value != old:
                    self._settle(name, old)
        self.refresh()
        if problems:
            self.status.value = _alert(" ".join(problems)) + self.status.value

    def _write_address(self) -> None:
        """What makes this answer; of shocks only those that there are."""
        said = {}
        for name, control in self.controls.items():
            if name != "reset":
                none = name in self.shocks and control.value == self.shocks[name][0]
                said[name] = "" if none else address.text_of(control.value)
        self.address.value = json.dumps(said)

    def reset(self, _: Any = None) -> None:
        """No shock."""
        with self._hold():
            for name, numbers in self.shocks.items():
                self.controls[name].value = numbers[0]
        self.refresh()

    def refresh(self, _: Any = None) -> None:
        """Ask what the controls say and show the answer, or in one sentence why there is none."""
        self.status.value = BUSY.format("the model")
        try:
            comparison, candles = self._ask(), self.controls["candles"].value
            finding = comparison.finding(candles)  # the first: the status has warnings of paths
            table, status = table_html(comparison), _status_html(comparison)
            self.picture.draw(comparison, candles)
        except Exception as error:  # a panel that dies at one question would lose all that was set
            text = _sentence(error)
            if self.comparison is not None:
                text += " The picture still shows the last answer."
            self.status.value = _alert(text)
            return
        self.comparison = comparison
        with self._hold():
            if not self.controls["origin"].value:
                self.controls["origin"].value = self._origin(comparison.past.index[-1])
        self.controls["horizon"].description = f"Horizon, {unit_of(comparison.past.index)}s"
        self.table.value = table
        self.title.value = f"<h3>{escape(finding)}</h3>"
        self._explain()
        if address.on_page() and not self.held:
            self._write_address()
        self.status.value = f'<div role="status">{status}</div>'  # the last: all is there

    def _origin(self, last: Any) -> Any:
        """The value of the control for a bar's date or number."""
        return last.date() if self.lab.daily else str(last)

    def _asked_lab(self) -> WhatIf:
        """Whose bars are asked: ours, or the symbol's of Yahoo, brought once for each choice."""
        symbol = self.controls["symbol"].value
        if not self.controls["live"].value:
            return self.lab
        if self.brought is None or self.brought[0] != symbol:
            self.status.value = BUSY.format("Yahoo Finance")
            try:
                self.brought = symbol, WhatIf(live_bars(symbol, PATIENCE), self.lab.model)
            except TftnhitsError as error:  # kept: no slider asks for it again
                self.brought = symbol, error
        if isinstance(self.brought[1], TftnhitsError):
            raise self.brought[1]
        return self.brought[1]

    def _ask(self) -> Comparison:
        c = self.controls
        own = self.lab.model.panel_config.extra_observed
        added = {name: c[f"{OWN}{name}"].value for name in own if f"{OWN}{name}" in c}
        moved = {name: value for name, value in added.items() if value}
        shock = Shock(**{name: c[name].value for name in SHOCKS}, inputs=moved)
        settings = {"horizon": c["horizon"].value, "level": c["level"].value / 100}
        if c["weight"].value != self.default_weight:
            tft = self.networks * c["weight"].value / 100
            settings["weights"] = {"tft": tft, "nhits": self.networks - tft, **self.har}
        return self._asked_lab().ask(
            c["symbol"].value, c["origin"].value or None, shock, **settings
        )

    def _explain(self, _: Any = None) -> None:
        """The other tab, once it is open: it costs as much as all the rest."""
        if self.tabs.selected_index == 1 and self.comparison is not None:
            try:
                self.drivers.value = drivers_html(self.comparison)
            except Exception as error:
                self.drivers.value = f"<p>{escape(_sentence(error))}</p>"


def _sentence(error: Exception) -> str:
    if isinstance(error, TftnhitsError):
        return str(error)
    log.debug("The what-if panel failed", exc_info=True)
    text = f"{type(error).__name__}: {printable(str(error), 120)}"
    return f"That didn't work ({text}); try another setting."


def _alert(text: str) -> str:
    return f'<div class="error" role="alert">⚠ {escape(text)}</div>'


def _status_html(c: Comparison) -> str:
    """Who answers from where, what the shock amounts to, and what a reader has to know."""
    report, bar, origin = c.before.reports[c.symbol], c.assumed.iloc[-1], c.past.index[-1]
    model = report.model_used[0].upper() + report.model_used[1:]
    text = f"{model} answers from {when(origin)}: {c.before.caption(c.symbol)}."
    if c.shock != NOTHING:
        prices = ", ".join(f"{name} {price(bar[name])}" for name in ("close", "low", "high"))
        text += f" Assumed for {when(c.assumed.index[-1])}: {prices}."
    notes = [*dict.fromkeys(report.warnings + c.after.reports[c.symbol].warnings)]
    if c.shock.market and (c.before.bars["date"] == origin).sum() < MARKET_SYMBOLS:
        notes.append("Too few other symbols have a bar that day for a move of the market to count.")
    if c.shock.volume != 1 and not np.isfinite(bar["volume"]):
        notes.append("The volume is not known, so its factor changes nothing.")
    html = f"<p>{escape(text)}</p>"
    return html + (f'<p class="notes">{escape(" ".join(notes))}</p>' if notes else "")


def _own_shocks(lab: WhatIf) -> Iterator[tuple[str, tuple]]:
    """Names and numbers, as SHOCKS has them, for own inputs: what is added, to 4 deviations."""
    inputs = input_names(lab.model.panel_config)["observed"]
    for name, spread in zip(inputs, lab.model.fitted["spread"]):
        if name in lab.bars.columns[len(COLUMNS) :]:
            step = float(f"{spread / 4:.0e}")
            yield f"{OWN}{name}", (0.0, -16 * step, 16 * step, step, f"{name}, +")


def _slider(value: float, low: float, high: float, step: float, label: str) -> Any:
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    slider = kind(value=value, min=low, max=high, step=step, description=label)
    slider.continuous_update = False
    slider.readout_format = "d" if isinstance(step, int) else f".{max(len(f'{step:g}') - 2, 0)}f"
    return slider
