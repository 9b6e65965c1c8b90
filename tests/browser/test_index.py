"""A reader of a batch's index: sorts, filters, follows a link and comes back, prints."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import made_bars, stocks
from media import DARK, SCREENS, check_readable, printed
from servers import ROOT

import tftnhits as tn

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOSTILE = "<img src=x onerror=ran=1>"
REAL, FEW = ("AAPL", "GOOG", "NVDA"), ("ONE", "TWO")
NAMES = (*REAL, "000001", "BRK-B", "^GSPC", "EURUSD=X", HOSTILE, "LONG" * 25)
NAMES += tuple(f"S{i:03d}" for i in range(189))
PAGES = ("AAPL", "GOOG", "S007")  # that have a report
ROWS = ".tftnhits-watchlist tbody tr:visible"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """The index of 200 symbols, two of which can't be forecast; a few reports stand in for all."""
    folder = tmp_path_factory.mktemp("batch")
    bars = [stocks(REAL, "2015-01-01"), made_bars(NAMES[3:], 300), made_bars(FEW, 1)]
    bars = pd.concat(bars, ignore_index=True)
    bars.to_parquet(folder / "bars.parquet", index=False)
    given = {"source": folder / "bars.parquet", "out": folder / "out", "progress": False}
    result = tn.run_batch(**given)
    assert len(result.tasks) == 200
    forecast = tn.Predictor.load().predict(bars, symbols=PAGES)
    for symbol in PAGES:
        forecast.report(symbol).save(folder / "out" / "files" / symbol / "report.html")
    return tn.run_batch(**given, resume=True).index


def column(page, name: str) -> list[str]:
    """The texts of the visible rows under a head."""
    place = heads(page).index(name)
    script = "(rows, i) => rows.map((row) => row.cells[i].textContent.trim())"
    return page.locator(ROWS).evaluate_all(script, place)


def heads(page) -> list[str]:
    return page.locator("th").all_text_contents()


def mark(page, head) -> tuple[str, float]:
    """The sign behind a head, and how much of it is seen."""
    script = "(e) => (({content, opacity}) => [content, +opacity])(getComputedStyle(e, '::after'))"
    sign, seen = head.evaluate(script)
    return sign.strip('"'), seen


def head_of(page, name: str):
    return page.locator("th").nth(heads(page).index(name))


@pytest.mark.parametrize("page", SCREENS, indirect=True)
def test_a_reader_sorts_filters_and_comes_back(page, index):
    page.goto(index.as_uri())
    check_readable(page)
    width = head_of(page, "width")
    for way, sign in (("ascending", "▲"), ("descending", "▼")):
        width.click()
        values = [float(text) for text in column(page, "width") if text]
        assert values == sorted(values, reverse=way == "descending") and len(values) == 198
        assert column(page, "symbol")[-2:] == [*FEW]  # what is unknown stays below
        assert width.get_attribute("aria-sort") == way and mark(page, width) == (sign, 1)
        assert page.locator("[aria-sort]").count() == 1
    page.locator("#filter").fill("WARNED aapl")
    assert column(page, "symbol") == ["AAPL"]
    assert page.locator("#shown").text_content() == "1 of 200 rows"
    page.get_by_role("link", name="report").locator("visible=true").click()
    assert page.url.endswith("files/AAPL/report.html")
    assert page.locator("h1").text_content() == "AAPL"
    page.go_back()
    assert page.locator("#filter").input_value() == "WARNED aapl"
    assert column(page, "symbol") == ["AAPL"]
    page.reload()
    page.locator("#filter").fill("")
    assert page.locator(ROWS).count() == 200
    assert column(page, "width")[:198] == [f"{value:.2f}" for value in values]
    page.get_by_role("link", name="2 failed").click()
    assert column(page, "symbol") == [*FEW] and "descending=width" in page.url
    check_readable(page)  # the reasons, too
    page.go_back()
    assert page.locator(ROWS).count() == 200


@pytest.mark.parametrize("page", SCREENS, indirect=True)
def test_heads_and_symbols_stay_in_sight(page, index):
    page.goto(index.as_uri())
    table = page.locator(".tftnhits-watchlist")
    before = [page.locator(one).first.bounding_box() for one in ("th", "td")]
    table.evaluate("(box) => box.scrollTo(200, 1500)")
    page.wait_for_timeout(100)
    after = [page.locator(one).first.bounding_box() for one in ("th", "tbody tr:nth-child(55) td")]
    assert after[0] == before[0] and after[1]["x"] == before[1]["x"]
    box = table.bounding_box()
    assert box["height"] > 0.5 * page.viewport_size["height"]
    assert page.evaluate("document.documentElement.scrollHeight") <= page.viewport_size["height"]


def test_numbers_stand_below_each_other(page, index):
    page.goto(index.as_uri())
    for name in ("last", "median", "80%", "93%", "width", "P(up)", "age"):
        place = heads(page).index(name) + 1
        cells = page.locator(f"th:nth-child({place}), td:nth-child({place})")
        looks = "(all) => [...new Set(all.map((e) => getComputedStyle(e).textAlign))]"
        assert cells.evaluate_all(looks) == ["right"]
    figures = page.locator("td").first.evaluate("(e) => getComputedStyle(e).fontVariantNumeric")
    assert figures == "tabular-nums"


def test_keys_alone_sort_and_filter(page, index):
    page.goto(index.as_uri())
    page.locator("#filter").focus()
    page.keyboard.type("s01")
    assert page.locator(ROWS).count() == 10
    page.keyboard.press("Tab")
    for _ in range(heads(page).index("width")):
        page.keyboard.press("Tab")
    head = head_of(page, "width")
    assert head.evaluate("(e) => e === document.activeElement")
    assert head.evaluate("(e) => getComputedStyle(e).outlineStyle") != "none"
    for order in (False, True):
        page.keyboard.press("Enter")
        values = [float(text) for text in column(page, "width")]
        assert values == sorted(values, reverse=order) and len(values) == 10
    page.wait_for_function("location.hash.includes('descending=width')")


@pytest.mark.parametrize("page", [DARK], indirect=True)
def test_it_prints_all_rows_under_heads_on_light_paper(page, index):
    page.goto(index.as_uri())
    page.wait_for_selector(ROWS)
    rows = page.locator(ROWS).evaluate_all("(all) => all.map((row) => row.textContent)")
    sheets = printed(page)
    assert 4 <= len(sheets) <= 8
    names = "".join(heads(page)).replace(" ", "")
    for sheet in sheets:
        assert sheet.size[0] > sheet.size[1] and names in sheet.text  # landscape
        assert ".0824 .1059 .1373" not in sheet.fills  # the dark paper
    texts = ["".join(row.split()) for row in rows]
    assert all(sum(text in sheet.text for sheet in sheets) == 1 for text in texts)
    everything = "".join(sheet.text for sheet in sheets)
    assert "Filter" not in everything and "Whatthecolumns" not in everything
    page.locator("#filter").fill("failed")
    (one,) = printed(page)
    assert "ONE" in one.text and "AAPL" not in one.text


def test_without_scripts_it_is_a_plain_table(chromium, index):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(index.as_uri())
    assert not page.locator("#filter").is_visible() and page.locator("tbody tr").count() == 200
    context.close()


def test_the_reports_of_notebook_12_are_linked(page, tmp_path):
    bars = pd.concat([stocks(("AAPL",), "2016-01-01"), made_bars(("ONE",), 1)])
    bars.to_parquet(tmp_path / "bars.parquet", index=False)
    given = {"notebook": ROOT / "notebooks" / "12_symbol_report.ipynb", "html": True}
    given["workers"] = tn.WorkerConfig(jobs=1, retries=0)
    result = tn.run_batch(None, tmp_path / "bars.parquet", tmp_path / "out", **given)
    assert [task.status for task in result.tasks] == ["completed", "failed"]
    page.goto(result.index.as_uri())
    words = page.locator(ROWS).first.get_by_role("link").all_text_contents()
    assert words == ["page", "notebook", "AAPL"]
    page.get_by_role("link", name="AAPL").click()
    assert page.locator("h1").text_content() == "AAPL"
    assert page.locator(".area svg path").count() > 10
