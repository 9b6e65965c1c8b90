"""The what-if panel: controls, two fans, a table and where TFT looked, in any Jupyter. What it asks is viz.what_if.

All runs on the kernel's one thread, in the order in which it hears of changes: no answer overtakes a later one. A
slider tells of a change when it is let go, so that a drag is one question.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from html import escape
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from ..config import LEVEL
from ..errors import ConfigError, DataError, MissingDependency, TftnhitsError, one_line, shown
from ..viz.style import price, theme_of, unit_of
from .shock import NOTHING, Comparison, Shock, WhatIf
from .views import CSS, LivePicture, RedrawnPicture, drivers_html, table_html, when

try:
    import ipywidgets
except ImportError:
    ipywidgets = None

BACKENDS = ("plotly", "matplotlib")
MAX_PATH = 10  # bars that the panel's path can have
MODES = (("the last bar", False), ("bars that follow", True))
HINTS = {
    False: "The last bar closes so much higher or lower; its open stays, high and low give way. Range: stretched "
    "around its middle. Market: so much more for every other symbol that day.",
    True: "Bars that follow: each opens at the close before it and moves by so much. Range and volume: times what was "
    "usual in the last 20 bars. Market: so much a bar for every other symbol.",
}
log = logging.getLogger("tftnhits")


def what_if(
    bars: Any = None,
    model: Any = None,
    backend: str | None = None,
    symbol: str | None = None,
    origin: Any = None,
    theme: str = "light",
) -> Panel:
    """A panel to shock the last bar, or a path of next ones, and to see what the model makes of it.

    `bars` and `model` are as viz.what_if.WhatIf takes them (None: the bundled ones), `symbol` and `origin` what it
    starts with (None: the first symbol, its last bar). viz.what_if.Shock says exactly what the controls assume.
    `backend` "plotly" is a FigureWidget, "matplotlib" a picture drawn afresh in an Output; None takes the first where
    it works: not in Colab, and not without plotly 6 and anywidget. What can't be answered is said in the panel, in a
    sentence.
    Raises ConfigError on an unknown backend or theme, MissingDependency without ipywidgets or what the backend needs,
    DataError on an unknown symbol or origin, and what WhatIf raises.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(
            f"There is no backend {shown(backend)}; choose {' or '.join(BACKENDS)}, or None for what works."
        )
    if ipywidgets is None:
        raise MissingDependency(
            "The what-if panel needs ipywidgets: pip install 'tftnhits[notebook]'."
        )
    theme_of(theme)
    lab = WhatIf(bars, model)
    symbol = lab.symbols[0] if symbol is None else symbol
    at = lab.bar_at(symbol, origin)
    kind = backend or ("matplotlib" if without_live_figures() else "plotly")
    return Panel(
        lab, LivePicture(theme) if kind == "plotly" else RedrawnPicture(theme), symbol, at, theme
    )


def without_live_figures() -> str:
    """Why a FigureWidget can't be used here; empty if it can. None is made to find out: each is 5 MB on the wire."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "Colab doesn't show them reliably"
    try:
        import plotly
    except ImportError:
        return "plotly is missing"
    if int(plotly.__version__.split(".")[0]) < 6:
        return "before plotly 6 they need an extension of the server"
    return "" if find_spec("anywidget") else "anywidget is missing"


class Panel:
    """Controls by name, and what they show; `root` is the widget, which a notebook shows for the panel.

    `controls`: symbol, origin, earlier, later, horizon, level, weight, mode, bars, change, range, volume, market,
    reset.
    CSS classes: tftnhits-what-if for the root; in it tftnhits-title, -status, -picture, -table, -drivers, -hint and
    tftnhits-<name> for each control.
    """

    def __init__(self, lab: WhatIf, picture: Any, symbol: str, at: int, theme: str):
        self.lab, self.picture, self.theme = lab, picture, theme
        self.comparison: Comparison | None = None  # the last that could be answered
        self.controls = _controls(lab, symbol, at)
        names = ("title", "status", "hint", "table", "drivers")
        self.title, self.status, self.hint, self.table, self.drivers = (
            _classed(ipywidgets.HTML(), n) for n in names
        )
        self.tabs = ipywidgets.Tab([self.table, self.drivers], selected_index=0)
        self.tabs.set_title(0, "What differs")
        self.tabs.set_title(1, "Where TFT looked")
        self.root = _classed(self._arranged(), "what-if")
        self._quiet, self._moved = False, ""
        self.controls["symbol"].observe(self._into_range, "value")
        for name, control in self.controls.items():
            if name in ("earlier", "later", "reset"):
                control.on_click(getattr(self, name))
            else:
                control.observe(self.refresh, "value")
        self.tabs.observe(self._explain, "selected_index")
        self.refresh()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.root.model_id}
        text = "The what-if panel: it needs a running kernel."  # for reports of a run
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": text}, raw=True)

    def _arranged(self) -> Any:
        c, row = self.controls, {"flex_flow": "row wrap", "width": "100%"}
        dates = ipywidgets.HBox([c["origin"], c["earlier"], c["later"]])
        left = [_heading("Forecast"), c["symbol"], dates, c["horizon"], c["level"], c["weight"]]
        right = [
            _heading("What if"),
            c["mode"],
            c["bars"],
            c["change"],
            c["range"],
            c["volume"],
            c["market"],
        ]
        columns = [ipywidgets.VBox(part, layout={"flex": "1 1 395px"}) for part in (left, right)]
        picture = _classed(
            ipywidgets.Box(self.picture.widgets, layout={"width": "100%"}), "picture"
        )
        below = ipywidgets.HBox([c["reset"], self.hint])
        controls = ipywidgets.Box(columns, layout=row)
        return ipywidgets.VBox(
            [ipywidgets.HTML(CSS), controls, below, self.title, self.status, picture, self.tabs]
        )

    def set(self, **values: Any) -> None:
        """Several controls at once, as one question: set(symbol="AAPL", change=-5.0, mode="bars that follow").

        Percents are as the sliders show them: level=80, not .8. An origin's date may have no bar: then it is the bar
        before, and the panel says so.
        Raises ConfigError on what is no control and on a value that it can't take, DataError on an unknown symbol and
        on what is no origin; all controls are then as they were.
        """
        for name in values:
            if not hasattr(self.controls.get(name), "value"):
                how = (
                    f"is a button; call panel.{name}()"
                    if name in self.controls
                    else "is none; see panel.controls"
                )
                raise ConfigError(f"Of the panel's controls {shown(name)} {how}.")
        symbol = values.get("symbol", self.controls["symbol"].value)
        self.lab.bar_at(symbol)
        if values.get("origin") is not None:
            values["origin"] = _as_origin(self.lab, symbol, values["origin"])
        if isinstance(values.get("mode"), str):
            values["mode"] = dict(MODES).get(values["mode"], values["mode"])
        kept = {
            name: control.value
            for name, control in self.controls.items()
            if hasattr(control, "value")
        }
        self._quiet = True
        try:
            for name in sorted(values, key="symbol".__ne__):  # first, since it may move the origin
                _put(self.controls[name], values[name])
            self._moved = "" if "origin" in values else self._moved
        except Exception as error:  # the widgets' own, by the kind of the value
            for before, value in kept.items():
                self.controls[before].value = value
            self._moved = ""
            can = _takes(self.controls[name])
            raise ConfigError(
                f"The panel's {name} can't be {shown(values[name])}; {can}."
            ) from error
        finally:
            self._quiet = False
        self.refresh()

    def reset(self, _: Any = None) -> None:
        """No shock."""
        self.set(mode=False, change=0.0, range=1.0, volume=1.0, market=0.0)

    def earlier(self, _: Any = None) -> None:
        """One bar back."""
        self._step(-1)

    def later(self, _: Any = None) -> None:
        """One bar on."""
        self._step(1)

    def _step(self, by: int) -> None:
        symbol, origin = (self.controls[n].value for n in ("symbol", "origin"))
        self.controls["origin"].value = _origin(
            self.lab, symbol, _near(self.lab, symbol, origin, by)
        )

    def _into_range(self, _: Any) -> None:
        """Another symbol: its own unit, and an origin that it can be forecast from."""
        symbol, origin = (self.controls[n].value for n in ("symbol", "origin"))
        self.controls["horizon"].description, self._moved = _horizon(self.lab, symbol), ""
        if origin is None or _can_answer(self.lab, symbol, origin):
            return
        now = _origin(self.lab, symbol, _near(self.lab, symbol, origin))
        bar = "" if self.lab.by_day else "bar "
        self._moved = (
            f"{symbol} can't be forecast from {bar}{origin}, so the origin is now {bar}{now}."
        )
        quiet, self._quiet = self._quiet, True
        self.controls["origin"].value = now
        self._quiet = quiet

    def refresh(self, _: Any = None) -> None:
        """Ask what the controls say and show the answer, or in one sentence why there is none."""
        if self._quiet:
            return
        c, moved, self._moved = self.controls, self._moved, ""
        path = bool(c["mode"].value)
        c["bars"].disabled = not path
        self.hint.value = f"<p>{HINTS[path]}</p>"
        try:
            comparison = self._ask()
            title, table = f"<h3>{escape(comparison.title)}</h3>", table_html(comparison)
            said = " ".join(filter(None, [_said(comparison), moved, *self._caveats(comparison)]))
            status = f'<div role="status">{escape(said)}</div>'
            self.picture.draw(comparison)
            self.status.value, self.table.value, self.title.value = (
                status,
                table,
                title,
            )  # the title last: all is there
        except Exception as error:  # a panel that dies at one question would lose all that was set
            kept = (
                " The picture still shows the last answer." if self.comparison is not None else ""
            )
            self.status.value = (
                f'<div class="error" role="alert">⚠ {escape(_sentence(error) + kept)}</div>'
            )
            return
        self.comparison = comparison
        self._explain()

    def _ask(self) -> Comparison:
        c = {
            name: control.value
            for name, control in self.controls.items()
            if hasattr(control, "value")
        }
        if c["origin"] is None:
            raise DataError("There is no origin; choose a date.")
        shock = Shock(
            c["change"], c["range"], c["volume"], c["market"], c["bars"] if c["mode"] else 0
        )
        own = self.controls["weight"].disabled or c["weight"] == _own_weight(self.lab)
        weights = None if own else {"tft": c["weight"] / 100, "nhits": 1 - c["weight"] / 100}
        return self.lab.ask(
            c["symbol"], c["origin"], shock, c["horizon"], c["level"] / 100, weights
        )

    def _caveats(self, comparison: Comparison) -> list[str]:
        """What a reader of the answer has to know; controls without an effect are disabled."""
        c, said = self.controls, []
        if self.lab.by_day and c["origin"].value != comparison.past["date"].iloc[-1].date():
            said.append(f"{c['origin'].value} has no bar of {comparison.symbol}.")
        c["market"].disabled = not self.lab.has_market(comparison.symbol, c["origin"].value)
        if c["market"].disabled and comparison.shock.market:
            said.append(
                "Too few other symbols have a bar that day, so the market's move changes nothing."
            )
        c["volume"].disabled = not np.isfinite(comparison.assumed["volume"].iloc[-1])
        if c["volume"].disabled and comparison.shock.volume != 1:
            said.append("The volume is not known, so its factor changes nothing.")
        return said

    def _explain(self, _: Any = None) -> None:
        """The other tab, once it is open: it costs as much as the rest of the table."""
        if self.tabs.selected_index != 1 or self.comparison is None:
            return
        try:
            self.drivers.value = drivers_html(self.comparison, self.theme)
        except Exception as error:
            self.drivers.value = f"<p>{escape(_sentence(error))}</p>"

    def close(self) -> None:
        """Take the panel out of the page and of the kernel's memory."""
        for widget in _all(self.root):
            widget.close()


def _sentence(error: Exception) -> str:
    if isinstance(error, TftnhitsError):
        return str(error)
    log.debug("The what-if panel failed", exc_info=True)
    return f"That didn't work ({type(error).__name__}: {one_line(str(error), 120)}); try another setting."


def _said(c: Comparison) -> str:
    """Who answers from where, and what the shock amounts to."""
    fc, last, made = c.before, c.past.iloc[-1], c.assumed.iloc[-1]
    who = fc.reports[c.symbol].model_used
    x = when(last["x"]) if c.axis == "date" else f"bar {last['x']}"
    text = f"{who[0].upper()}{who[1:]} answers from {x}: {fc.caption(c.symbol)}."
    if c.shock != NOTHING:
        bar = f"close {price(made['close'])}, low {price(made['low'])}, high {price(made['high'])}"
        bar += f", volume {made['volume']:,.0f}" if np.isfinite(made["volume"]) else ""
        was = (
            f"instead of a close of {price(last['close'])}"
            if not c.shock.bars
            else f"on {when(made['x'])}"
        )
        text += f" Assumed: {bar}, {was}."
    before, after = c.models
    if before != after:
        text += f" After it {after} answers, with a {c.after.caption(c.symbol)}: "
        text += "part of the difference is this change of model, not the shock's."
    more = [
        f"With the shock: {said}"
        for said in c.after.reports[c.symbol].warnings
        if said not in fc.reports[c.symbol].warnings
    ]
    return " ".join([text, *fc.reports[c.symbol].warnings, *more])


def _origin(lab: WhatIf, symbol: str, at: int) -> Any:
    """What the origin's control holds for the symbol's bar number `at`."""
    return pd.Timestamp(lab.date[lab.span[symbol][0] + at]).date() if lab.by_day else at


def _as_origin(lab: WhatIf, symbol: str, origin: Any) -> Any:
    """What the origin's control holds for an origin as bar_at takes it; raises DataError."""
    if not lab.by_day:
        return lab.bar_at(symbol, origin)
    try:
        return pd.Timestamp(origin).date()  # one without a bar is said in the panel
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"The origin {shown(origin)} is no date; write it as 2015-08-21."
        ) from error


def _can_answer(lab: WhatIf, symbol: str, origin: Any) -> bool:
    try:
        return lab.bar_at(symbol, origin) >= lab.least - 1
    except DataError:
        return False


def _near(lab: WhatIf, symbol: str, origin: Any, by: int = 0) -> int:
    """Number of the bar `by` bars from the origin's, or of the nearest that can be answered."""
    first, end = lab.span[symbol]
    try:
        at = lab.bar_at(symbol, origin) + by
    except DataError:  # before the first bar, or a number beyond the last
        at = 0 if lab.by_day else origin
    return min(max(at, lab.least - 1), end - first - 1)


def _horizon(lab: WhatIf, symbol: str) -> str:
    """What the horizon's control is called."""
    return f"Horizon, {unit_of(lab.date[slice(*lab.span[symbol])])}s"


def _own_weight(lab: WhatIf) -> int:
    """TFT's share in the model's own weights, percent."""
    return round(100 * lab.model.weights.get("tft", 0))


def _controls(lab: WhatIf, symbol: str, at: int) -> dict[str, Any]:
    w, model = ipywidgets, lab.model
    longest, networks = (
        max(b - a for a, b in lab.span.values()),
        {"tft", "nhits"} <= set(model.members),
    )
    start = {"value": _origin(lab, symbol, at), "description": "Origin, date"}
    later = {
        "value": start["value"],
        "min": 0,
        "max": longest - 1,
        "description": "Origin, bar number",
    }
    found = {
        "symbol": w.Dropdown(options=lab.symbols, value=symbol, description="Symbol"),
        "origin": w.DatePicker(**start) if lab.by_day else w.BoundedIntText(**later),
        "earlier": w.Button(description="Earlier", tooltip="One bar back"),
        "later": w.Button(description="Later", tooltip="One bar on"),
        "horizon": _slider(model.horizon, 1, model.horizon, 1, _horizon(lab, symbol)),
        "level": _slider(round(100 * LEVEL), 50, 99, 1, "Interval, %"),
        "weight": _slider(_own_weight(lab), 0, 100, 1, "TFT's weight, %", disabled=not networks),
        "mode": w.Dropdown(options=list(MODES), value=False, description="Shock"),
        "bars": _slider(1, 1, MAX_PATH, 1, "Path, bars"),
        "change": _slider(0.0, -15.0, 15.0, 0.5, "Close move, %"),
        "range": _slider(1.0, 0.0, 5.0, 0.25, "Range, ×"),
        "volume": _slider(1.0, 0.25, 5.0, 0.25, "Volume, ×"),
        "market": _slider(0.0, -10.0, 10.0, 0.5, "Market move, %"),
        "reset": w.Button(description="No shock", tooltip="Take the shock back"),
    }
    for name, control in found.items():
        if isinstance(control, w.Button):
            control.layout.width, control.layout.flex = (
                "100px" if name == "reset" else "66px",
                "0 0 auto",
            )
        else:
            control.style.description_width = "125px"
            control.layout.width = "254px" if name == "origin" else "392px"
        _classed(control, name)
    return found


def _slider(value: float, low: float, high: float, step: float, label: str, **more: Any) -> Any:
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    more |= {} if isinstance(step, int) else {"readout_format": f".{max(1, len(f'{step:g}') - 2)}f"}
    return kind(
        value=value,
        min=low,
        max=high,
        step=step,
        description=label,
        continuous_update=False,
        **more,
    )


def _put(control: Any, value: Any) -> None:
    """Set it, or raise: a slider would take the nearest value that it has, and say nothing."""
    control.value = value
    if control.value != value:
        raise ValueError(value)


def _takes(control: Any) -> str:
    """What a control can be, in words."""
    if hasattr(control, "options"):
        return f"choose one of {', '.join(str(o[0] if isinstance(o, tuple) else o) for o in control.options[:10])}"
    if getattr(control, "step", None) is None:
        return "see panel.controls"
    return f"give a {'whole ' * isinstance(control.value, int)}number from {control.min:g} to {control.max:g}"


def _classed(widget: Any, name: str) -> Any:
    widget.add_class(f"tftnhits-{name}")
    return widget


def _heading(text: str) -> Any:
    return ipywidgets.HTML(f"<h4 style='margin:4px 0'>{text}</h4>")


def _all(widget: Any) -> Iterator[Any]:
    """A widget and all in it."""
    for child in getattr(widget, "children", ()):
        yield from _all(child)
    yield widget
