"""The theme: legible and told apart by everyone, the same for both libraries, safe of its input."""

import itertools
from html import unescape

import numpy as np
import pandas as pd
import pytest
from helpers import one_sentence
from matplotlib import pyplot
from pictures import GRAPHICS, SIGHTS, TEXT, contrast, difference, faults

import tftnhits as tn
from tftnhits.viz import style


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=style.THEMES)
def test_the_palette_stands_out_and_can_be_told_apart(theme):
    assert contrast(theme.ink, theme.paper) >= 7  # WCAG 2.2, AAA for text
    assert contrast(theme.quiet, theme.paper) >= TEXT
    assert min(contrast(c, theme.paper) for c in (theme.faint, *theme.series)) >= GRAPHICS
    pairs = list(itertools.combinations(theme.series, 2))
    for sight in SIGHTS:
        assert min(difference(a, b, sight) for a, b in pairs) >= 20, sight


def test_the_checks_find_what_is_wrong():
    """Else a fault-free gallery would say nothing."""
    figure, ax, _ = style.canvas("light")
    ax.text(0.5, 0.5, "over", transform=ax.transAxes, color="#999999")
    ax.text(0.5, 0.5, "under", transform=ax.transAxes)
    ax.text(1.2, 0.5, "outside", transform=ax.transAxes).set_in_layout(False)
    ax.plot([0, 1], [0.5, 0.5001], color="#EEEEEE", label="pale")
    ax.legend(loc="center")
    words = ["faint text: 'over'", "'over' on 'under'", "cut off: 'outside'", "faint line 'pale'"]
    for fault in (*words, "legend hides"):
        assert fault in " ".join(faults(figure)), fault


@pytest.mark.parametrize("theme", style.THEMES)
def test_a_figure_of_long_texts_is_whole(theme):
    caption = "Small print that goes on and on. " * 9
    figure, ax, colors = style.canvas(theme, caption=caption)
    for i in range(7):
        ax.plot([0, 1], [i, i + 1], label=f"a line of a long name, number {i}", color=colors.ink)
    style.legend(figure, colors)
    name = style.shorten("W$_1$" * 20)  # dollar signs are no mathematics
    style.headline(figure, f"{name}: " + "what was found, in words, " * 9, colors)
    assert faults(figure) == [] and figure.caption == caption.strip()
    assert not pyplot.get_fignums(), "figures stay out of pyplot"


def test_a_file_is_finer_than_the_screen(tmp_path):
    figure = style.canvas("light", size=(8, 4))[0]
    figure.savefig(tmp_path / "a.png")
    pngs = (tmp_path / "a.png").read_bytes(), figure._repr_png_()
    for png, dpi in zip(pngs, (style.PRINT_DPI, style.DPI)):
        assert int.from_bytes(png[16:20], "big") == 8 * dpi


@pytest.mark.parametrize("theme", style.THEMES)
def test_plotly_has_the_same_theme(theme):
    go, pio = pytest.importorskip("plotly.graph_objects"), pytest.importorskip("plotly.io")
    figure, colors = style.plotly_figure("<b>A & B</b>: up", theme, height=300)
    assert isinstance(figure, go.Figure) and figure.layout.height == 300
    assert "<b>" not in figure.layout.title.text
    assert unescape(figure.layout.title.text) == "<b>A & B</b>: up"
    layout = figure.layout.template.layout
    assert layout.paper_bgcolor == colors.paper and layout.colorway == colors.series
    assert "notebook" not in str(pio.renderers.default)


def test_an_unknown_theme_is_refused():
    for draw in (style.canvas, lambda theme: style.plotly_figure("", theme)):
        with pytest.raises(tn.ConfigError, match="'sepia'") as error:
            draw("sepia")
        assert one_sentence(str(error.value))


@pytest.mark.parametrize(
    "value, text",
    [
        (45.884, "45.88"),
        (1.20074, "1.201"),
        (1234.5, "1,234.50"),
        (45_678.9, "45,679"),
        (0.012345, "0.01235"),
        (4.5e-9, "4.5e-09"),
        (3.21e13, "3.21e+13"),
        (0.0, "0"),
        (float("nan"), "nan"),
    ],
)
def test_prices_have_the_digits_that_their_size_asks_for(value, text):
    assert style.price(value) == text


def test_zero_has_no_sign_of_its_own():
    assert [style.signed(x) for x in (-0.001, 1.234, -5)] == ["+0.00", "+1.23", "-5.00"]


@pytest.mark.parametrize(
    "freq, unit",
    [("B", "session"), ("W-FRI", "week"), ("ME", "month"), ("QE", "bar"), ("h", "bar")],
)
def test_bars_are_called_by_their_length(freq, unit):
    assert style.unit_of(pd.date_range("2017-01-02", periods=60, freq=freq)) == unit
    assert style.unit_of(np.arange(5)) == "bar"
    assert style.unit_of(pd.DatetimeIndex(["2017-12-14", "2017-12-15", "2017-12-18"])) == "session"


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "3"])
def test_a_count_is_a_whole_number_from_1(number):
    with pytest.raises(tn.ConfigError, match=r"last is .*whole number"):
        style.count(number, "last")
    assert style.count(np.int64(3), "last") == 3
