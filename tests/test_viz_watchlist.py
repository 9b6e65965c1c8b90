"""The watchlist as people read it: nothing in it is HTML, and without its script it is a table."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars

import tftnhits as tn
from tftnhits.viz.watchlist import SHOWN, cells, decimals, watchlist_html

EVIL = "</script><img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def forecast():
    few = made_bars(("<i>one",), 1)
    bars = pd.concat([made_bars((EVIL, "B"), 90), few], ignore_index=True)
    return tn.Predictor.load().predict(bars)


def rows(html: str) -> list[list[str]]:
    lines = re.findall(r"<tr.*?>(.*?)</tr>", html, re.DOTALL)
    return [[unescape(t) for t in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", r)] for r in lines]


def test_a_notebook_shows_a_table_of_what_the_forecast_says(forecast):
    html = forecast._repr_html_()
    head, *body = rows(html)
    assert head == ["symbol", "last", "median", "80%", "93%", "width", "P(up)", "age", "trend"] + [
        "status"
    ]
    table = forecast.table()
    assert [row[0] for row in body] == table["symbol"].tolist()
    by_symbol = {row[0]: dict(zip(head, row, strict=True)) for row in body}
    good, bad = by_symbol["B"], by_symbol["<i>one"]
    low, high = map(float, good["93%"].split("-"))
    assert low < float(good["last"]) < high and good["status"].endswith(", warned")
    assert good["trend"] == table.set_index("symbol")["trend"]["B"]
    assert bad["status"] == f"left out: {forecast.skipped['<i>one']}"
    assert not any(bad[name] for name in head[1:-1])


def test_no_text_is_html_and_nothing_is_fetched(forecast):
    html = forecast._repr_html_()
    assert "<img" not in html and "<i>" not in html and html.count("</script>") == 1
    tags = set(re.findall(r"<(\w+)", html.partition("<script>")[0]))
    assert tags == {"style", "div", "table", "thead", "tbody", "tr", "th", "td"}
    assert not re.search(r"https?:|\bsrc=|\bhref=|url\(|@import", unescape(html).replace(EVIL, ""))
    assert not re.search(r"<\w+[^>]* on\w+=", html)


def test_both_themes_set_paper_and_ink(forecast):
    style = re.search(r"<style>(.*?)</style>", forecast._repr_html_(), re.DOTALL)[1]
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
    for part in (light, dark):
        assert re.search(r"background: #\w{6}; color: #\w{6}", part)
    assert "PAPER" not in style


def test_a_long_list_is_cut_and_says_so(forecast):
    one = forecast.table().iloc[[1]]
    many = pd.concat([one] * (SHOWN + 1500), ignore_index=True)
    html = watchlist_html(many)
    assert len(rows(html)) == SHOWN + 1 and "and 1,500 more" in html
    assert "more in" not in watchlist_html(many.head(SHOWN))


def test_decimals_tell_an_interval_apart():
    assert decimals(10.0) == 2 and decimals(0.001) == 5
    assert decimals(500.0, 20_000.0) == 0 and decimals(500.0, 2_000.0) == 2
    assert decimals(0.0) == decimals(np.nan) == decimals(np.inf) == 6


def test_a_change_that_is_shown_as_none_has_no_minus(forecast):
    table = forecast.table().iloc[[1]].assign(median_pct=-0.04)
    assert cells(table)["median"] == ["+0.0%"]


def test_cells_of_a_table_in_which_nothing_is_known_are_empty(forecast):
    table = forecast.table()
    texts = cells(table[table["status"] == "left out"].reset_index(drop=True))
    assert {name for name, column in texts.items() if column != [""]} == {"symbol", "status"}
