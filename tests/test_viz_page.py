"""The page of a symbol: it says what the forecast says, fetches nothing and runs no text."""

import base64
import io
import json
import re
import sys
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars, one_sentence, stocks

import tftnhits as tn
from tftnhits.apps.report import clean_html
from tftnhits.errors import MissingDependency
from tftnhits.forecast.past import PAST, past_forecasts
from tftnhits.viz.page import MOST, report_page

EVIL = "</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"
VOID = {"meta", "br", "path"}


class Reader(HTMLParser):
    """Tags with their attributes, the text of the page, and whether its tags are balanced."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & {*self.open}:
            self.text.append(data)


def words(html: str) -> str:
    return " ".join(" ".join(Reader(html).text).split())


def rows(html: str) -> list[list[str]]:
    table = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)[1]
    lines = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", line)] for line in lines]


def data_of(html: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


@pytest.fixture(scope="module")
def predictor():
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def forecast(predictor):
    evil = made_bars((EVIL,), 400)
    evil.loc[390, "high"] = 1.0  # repaired
    one = made_bars(("<i>ONE",), 1)
    return predictor.predict(pd.concat([stocks(("AAPL",), "2014-01-01"), evil, one]))


@pytest.fixture(scope="module")
def page(forecast):
    return forecast.report("AAPL")


def test_the_numbers_are_the_forecasts(forecast, page):
    frame = forecast.frame[forecast.frame["symbol"] == "AAPL"]
    row = forecast.table().set_index("symbol").loc["AAPL"]
    table = rows(page.html)
    assert [line[1] for line in table] == frame["date"].dt.strftime("%Y-%m-%d").tolist()
    median = [float(line[2]) for line in table]
    np.testing.assert_allclose(median, frame["median"], atol=0.005)
    change = [float(line[3].rstrip("%")) for line in table]
    np.testing.assert_allclose(change, 100 * (frame["median"] / row["last"] - 1), atol=0.005)
    for place, names in ((4, ("0.1", "0.9")), (5, ("lower", "upper"))):
        ends = [[float(end) for end in line[place].split(" – ")] for line in table]
        np.testing.assert_allclose(ends, frame[[*names]], atol=0.0051)
    text = words(page.html)
    assert f"is {row['p_up']:.0%}" in text and f"{row['width_vs_year']:.2f} times" in text
    assert f"{row['age']} sessions passed" in text and forecast.caption("AAPL") in text
    assert all(warning in text for warning in forecast.reports["AAPL"].warnings)
    assert text.count("Research and education, not trading advice.") == 2
    assert page.html == report_page(forecast, "AAPL").html  # the same again


def test_the_past_is_counted_with_its_interval(forecast, page):
    past = past_forecasts(forecast, "AAPL").frame
    next_bar = past[(past["step"] == 1) & past["came"].notna()]
    inside = int(next_bar["came"].between(next_bar["lower"], next_bar["upper"]).sum())
    text = words(page.html)
    assert f"{inside} of the last {PAST} closes of AAPL" in text
    assert re.search(r"leave the probability between \d+% and \d+%", text)
    kinds = [tag["class"] for name, tag in Reader(page.html).tags if name == "path"]
    (hit,) = re.findall(r'<path class="hit dot" d="([^"]*)"', page.html)[:1]
    assert hit.count("M") == inside and "miss dot" in kinds
    assert len(data_of(page.html)["texts"]["past"]) == PAST


def test_the_script_has_the_bars_and_the_steps(forecast, page):
    data, bars = data_of(page.html), forecast.bars[forecast.bars["symbol"] == "AAPL"]
    shown = bars.tail(len(data["bars"]))
    columns = ["open", "high", "low", "close", "volume"]
    np.testing.assert_allclose(np.array(data["bars"], float), shown[columns])
    path = forecast.frame[forecast.frame["symbol"] == "AAPL"]
    np.testing.assert_array_equal(data["path"], path[["median", "lower", "upper"]])
    assert [name for name, _ in data["starts"]] == ["1m", "3m", "1y"]
    dates, (_, quarter), (_, year) = shown["date"].tolist(), *data["starts"][1:]
    assert year == 0 and dates[0] > dates[-1] - pd.DateOffset(years=1)
    assert dates[quarter - 1] <= dates[-1] - pd.DateOffset(months=3) < dates[quarter]


def test_the_link_saves_the_table(forecast, page):
    link, risk = [tag for name, tag in Reader(page.html).tags if name == "a"]
    assert risk["download"] == "AAPL risk.csv"
    head, _, content = link["href"].partition("base64,")
    assert head == "data:text/csv;charset=utf-8;" and link["download"] == "AAPL.csv"
    read = pd.read_csv(io.BytesIO(base64.b64decode(content)), parse_dates=["origin", "date"])
    expected = forecast.frame[forecast.frame["symbol"] == "AAPL"].reset_index(drop=True)
    pd.testing.assert_frame_equal(read, expected, check_dtype=False)


def test_a_page_is_small_and_fetches_nothing(page):
    assert len(page.html.encode()) < 600_000
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bsrc=", page.html.replace("// ", ""))
    tags = Reader(page.html).tags
    assert not {"link", "img", "iframe", "base", "form", "object"} & {name for name, _ in tags}
    (policy,) = [tag["content"] for _, tag in tags if tag.get("http-equiv")]
    assert "default-src 'none'" in policy
    assert "prefers-color-scheme: dark" in page.html and "@media print" in page.html


def test_a_hostile_name_stays_text(forecast, page):
    html = forecast.report(EVIL).html
    reader, plain = Reader(html), Reader(page.html)
    assert {name for name, _ in reader.tags} == {name for name, _ in plain.tags}
    assert not [tag for _, tag in reader.tags if any(key.startswith("on") for key in tag)]
    assert html.count("</script>") == 2 and "<img" not in html
    assert EVIL in "".join(reader.text) and "49" not in re.search(r"<h1>(.*?)</h1>", html)[1]
    assert "Repaired: " in words(html) and "first 2016-07-01" in words(html)


def test_it_is_saved_whole_by_name_or_path(forecast, page, tmp_path):
    assert page.save(tmp_path) == tmp_path / "AAPL.html"
    assert page.save(tmp_path / "new" / "a.html").read_text(encoding="utf-8") == page.html
    evil = forecast.report(EVIL).save(tmp_path)
    assert evil.parent == tmp_path and re.fullmatch(r"[\w. =-]+-[0-9a-f]{8}\.html", evil.name)
    assert "kB" in repr(page)


def test_a_notebook_shows_it_in_a_frame_of_its_own(page):
    ((name, frame),) = Reader(page._repr_html_()).tags
    assert name == "iframe" and frame["srcdoc"] == page.html
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert clean_html(page._repr_html_()) == ""  # a run's HTML has the page beside it


def test_kept_forecasts_are_on_the_page_or_a_sentence(predictor, page, tmp_path, monkeypatch):
    assert "No forecast of AAPL is kept in the journal" in words(page.html)
    bars, journal = stocks(("AAPL",), "2016-01-01"), tn.journal(tmp_path)
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(tmp_path))
    evil = bars.assign(symbol=EVIL)
    both = pd.concat([bars, evil], ignore_index=True)
    for day in bars["date"].iloc[-4:-1]:
        fc = predictor.predict(both[both["date"] <= day])
        assert journal.keep(fc, day + pd.Timedelta(hours=22)).origins == 2
    for name in ("AAPL", EVIL):
        html = predictor.predict(both, symbols=[name]).report().html
        text = words(html).partition("The forecasts that you kept")[2]
        assert re.match(r" [0-3] of 3 held the next close inside their 93% interval", text)
        assert re.search(r"leaves the probability between \d+% and \d+%", text)
        assert re.search(r"loss is \d\.\d\d times that of HAR", text)
        assert "From your journal" in text and len(data_of(html)["texts"]["kept"]) == 3
        assert len(html.encode()) < 200_000 and "<img" not in html


def test_what_came_is_drawn_where_it_is_known(predictor):
    bars = stocks(("AAPL",), "2014-01-01")
    fc = predictor.predict(bars[bars["date"] <= "2017-10-02"])
    data = data_of(fc.report(actual=bars).html)
    close = bars[bars["date"] > "2017-10-02"]["close"]
    np.testing.assert_array_equal(data["came"], close.head(5))
    html = fc.report().html
    assert data_of(html)["came"] == [] and "what came" not in words(html).partition("Forecast")[0]


@pytest.mark.parametrize("count", [2, 30, 90])
def test_few_bars_give_a_page_that_says_what_is_missing(predictor, count):
    fc = predictor.predict(made_bars(("A",), count))
    text = words(fc.report().html)
    assert f"{count} bars from 2015-01-02" in text
    assert ("too few to forecast its past" in text) == (count < 8)
    assert ("No network answered" in text) == (count < 60)
    assert "The next bar It closes above" in text


def test_bars_without_dates_or_volume_or_daily_ones(predictor):
    bare = made_bars(("A",), 300, freq=None, volume=False).drop(columns="date")
    html = predictor.predict(bare).report().html
    text = words(html)
    assert "without dates, so their age is unknown" in text and "Volume is unknown." in text
    assert "ago" not in text.partition("Median")[0] and "5 bars" in text
    assert [start[0] for start in data_of(html)["starts"]] == ["21 bars", "63 bars", "252 bars"]
    hourly = predictor.predict(made_bars(("A",), 1000, freq="h")).report().html
    assert len(data_of(hourly)["bars"]) <= MOST and len(hourly.encode()) < 600_000


def test_prices_of_any_size_and_bars_that_never_move(predictor):
    for factor in (1e-12, 1e12):
        bars = made_bars(("A",), 300)
        bars[["open", "high", "low", "close"]] *= factor
        table = rows(predictor.predict(bars).report().html)
        low, median = float(table[0][4].split(" – ")[0].replace(",", "")), float(table[0][2])
        assert 0.9 < low / median < 1
    still = made_bars(("A",), 300).assign(open=50.0, high=50.0, low=50.0, close=50.0)
    assert "nan" not in predictor.predict(still).report().html


def test_a_symbol_that_has_no_forecast_is_an_error(forecast):
    with pytest.raises(tn.DataError) as caught:
        forecast.report("<i>ONE")
    assert str(caught.value) == forecast.skipped["<i>ONE"]
    with pytest.raises(tn.DataError, match="no symbol"):
        forecast.report("NONE")


def test_without_jinja2_it_says_what_to_install(forecast, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependency, match=r"tftnhits\[notebook\]") as caught:
        forecast.report("AAPL")
    assert one_sentence(str(caught.value))
