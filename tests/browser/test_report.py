"""What a run leaves, opened as files in a real Chromium: it fetches nothing and runs no symbol."""

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import made_bars, stocks
from media import DARK, SCREENS, check_readable, printed
from servers import ROOT

import tftnhits as tn
from tftnhits.apps import batch

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOSTILE = "<img/src=x/onerror=ran=1>*b*[a](http://a.example)"
SHOWN = """
import pandas as pd
import tftnhits as tn
from IPython.display import HTML, Markdown, display
from tftnhits.viz.style import plotly_figure

show = {name!r}
display(Markdown(f"For {{show}}<script>ran=1</script>"), Markdown(f"> {{show}}"))
frame = pd.DataFrame({{"symbol": [show], "wide": ["<b>1</b>"]}}, index=[show])
display(frame, frame.style.set_caption(show), HTML(f"<p>{{show}}<style>p {{{{}}}}</style></p>"))
print(show)
figure, _ = plotly_figure(show, "light")
figure.add_scatter(y=[1, 2], name=show, text=[show, "</script><script>ran=1</script>"])
figure
"""


@pytest.fixture
def opened(page):
    """opened(path): the page of that file, of which nothing ran and which asked for files alone."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    def load(path: Path):
        asked.clear()
        page.goto(path.as_uri(), wait_until="load")
        page.wait_for_timeout(500)  # what a script asks for later
        assert asked and not [url for url in asked if not url.startswith(("file:", "data:"))]
        assert page.evaluate("typeof window.ran") == "undefined"
        assert not page.locator("img[src=x]").count()
        return page

    return load


def test_a_hostile_symbol_stays_text_in_every_kind_of_output(make_notebook, tmp_path, opened):
    folder = make_notebook("00_odd", SHOWN.format(name=HOSTILE), intro=f"# {HOSTILE}\n\nWhy?")
    result = batch.run_notebooks(folder, out=tmp_path / "out")
    page = opened(result.notebooks[0].html)
    assert page.locator(".js-plotly-plot .scatterlayer path").count()
    assert page.locator("td", has_text="<img/src=x").count() >= 1
    assert page.locator("pre", has_text="<img/src=x").count() and page.locator("blockquote").count()
    opened(result.index)


def test_the_notebooks_show_a_hostile_symbol_and_fetch_nothing(tmp_path, monkeypatch, opened):
    bars = pd.read_parquet(ROOT / "data" / "bars.parquet")
    bars["symbol"] = bars["symbol"].astype(str).replace("AAPL", HOSTILE)
    data = tmp_path / "data"
    data.mkdir()
    bars.to_parquet(data / "bars.parquet")
    shutil.copytree(ROOT / "data" / "pretrained", data / "pretrained")
    monkeypatch.setenv("TFTNHITS_DATA", str(data))
    given = {"preset": "tiny", "show": HOSTILE}
    result = batch.run_notebooks(ROOT / "notebooks", "00,09", tmp_path / "out", given)
    page = opened(result.notebooks[0].html)
    assert page.locator("strong", has_text=HOSTILE).count()  # letter by letter
    assert page.locator(".js-plotly-plot .scatterlayer path").count()
    assert page.locator("table tbody td").count() > 10
    page = opened(result.notebooks[1].html)
    assert page.locator("h3", has_text=HOSTILE).count() == 2
    opened(result.index)


def test_a_symbols_page_zooms_tells_values_and_fits_a_phone(tmp_path, opened):
    forecast = tn.Predictor.load().predict(made_bars((HOSTILE,), 300))
    page = opened(forecast.report().save(tmp_path / "page.html"))
    assert page.locator("h1").text_content() == HOSTILE
    says, area = page.locator(".says").first, page.locator(".area").first
    prices, volume = (page.locator("figure svg").nth(place) for place in (0, 1))
    at_rest, boxes = says.text_content(), [prices.get_attribute("viewBox")]
    area.hover(position={"x": 5, "y": 20})
    assert "open " in says.text_content() != at_rest
    area.focus()
    page.mouse.move(0, 0)
    page.keyboard.press("ArrowRight")
    assert "median " in says.text_content() and "93% " in says.text_content()
    for name in ("1y", "1m"):
        page.get_by_role("button", name=name).click()
        boxes.append(prices.get_attribute("viewBox"))
        left, _, wide, _ = boxes[-1].split()
        assert volume.get_attribute("viewBox").split()[::2] == [left, wide]
    assert len({*boxes}) == 3
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of AAPL with forecasts that were kept, where it is saved."""
    folder = tmp_path_factory.mktemp("report")
    bars, predictor = stocks(("AAPL",), "2015-01-01"), tn.Predictor.load()
    journal = tn.journal(folder / "journal")
    for day in bars["date"].iloc[-12:-2]:
        forecast = predictor.predict(bars[bars["date"] <= day])
        assert journal.keep(forecast, day + pd.Timedelta(hours=22)).origins == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFTNHITS_JOURNAL", str(journal.folder))
        page = predictor.predict(bars).report()
    return page, page.save(folder)


# Texts that stand outside the window, where none can be scrolled to
CUT = """() => [...document.querySelectorAll("h2, p, td, .up b, .across span")].filter((node) => {
  const {left, right, width} = node.getBoundingClientRect();
  return width && (left < 0 || right > innerWidth) && !node.closest(".scroll");
}).map((node) => node.textContent)"""


@pytest.mark.parametrize("page", SCREENS, indirect=True)
def test_a_reader_zooms_points_and_saves(page, report, request):
    page.goto(report[1].as_uri())
    check_readable(page)
    assert page.evaluate(CUT) == []
    prices = page.locator("figure svg").first
    boxes = set()
    for name in ("1m", "1y", "3m"):
        button = page.get_by_role("button", name=name)
        button.click()
        assert page.locator("[aria-pressed=true]").all_text_contents() == [name]
        boxes.add(prices.get_attribute("viewBox"))
    assert len(boxes) == 3 and page.evaluate(CUT) == []
    figures = page.locator("figure")
    assert figures.count() == 6  # prices, the past, what was kept, volatility, the next bar, risk
    for place in range(6):
        figure = figures.nth(place)
        area, says = figure.locator(".area"), figure.locator(".says")
        at_rest, box = says.text_content(), area.bounding_box()
        area.click(position={"x": box["width"] / 3, "y": box["height"] / 2})
        assert says.text_content() != at_rest and figure.locator(".hair").is_visible()
        box = area.bounding_box()
        assert says.bounding_box()["y"] >= box["y"] + box["height"]  # it hides no chart
    with page.expect_download() as download:
        page.get_by_role("link", name="table as CSV").click()
    text = Path(download.value.path()).read_bytes()
    saved = pd.read_csv(io.BytesIO(text), parse_dates=["origin", "date"])
    pd.testing.assert_frame_equal(saved, report[0].forecast.frame, check_dtype=False)
    name = f"whole report {request.node.callspec.id}.png"
    page.screenshot(path=ROOT / "build" / "browser" / name, full_page=True)


@pytest.mark.parametrize("page", [SCREENS[2]], indirect=True)
def test_a_wide_screen_has_the_forecast_beside_its_chart(page, report):
    page.goto(report[1].as_uri())
    chart, table = (page.locator(one).first.bounding_box() for one in (".area", "table"))
    assert table["x"] > chart["x"] + chart["width"] and table["y"] < 400
    assert page.locator("main").bounding_box()["width"] > 1700


@pytest.mark.parametrize("page", [DARK], indirect=True)
def test_it_prints_whole_sections_on_light_paper(page, report):
    page.goto(report[1].as_uri())
    sheets = printed(page)
    assert len(sheets) == 4 and all(sheet.size[0] < sheet.size[1] for sheet in sheets)
    assert not any(".0824 .1059 .1373" in sheet.fills for sheet in sheets)  # the dark paper
    assert "Pricesandforecast" in sheets[0].text and "2018-01-08" in sheets[0].text
    page.emulate_media(media="print")
    ends = """(all) => all.map((one) => [one.querySelector("h2"), [...one.querySelectorAll("p, td")]
      .filter((text) => text.offsetHeight).at(-1)].map((text) => text.textContent))"""
    sections = page.locator("section").evaluate_all(ends)
    assert len(sections) == 9
    for texts in sections:
        first, last = ("".join(text.split()) for text in texts)
        assert [first in sheet.text for sheet in sheets] == [last in sheet.text for sheet in sheets]
    assert not any(word in sheet.text for sheet in sheets for word in ("CSV", "Pointat", "1m3m"))


def test_the_index_of_a_run_is_read_on_any_screen(make_notebook, tmp_path, page):
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig(run_dir + '/a line.png')"
    make_notebook("00_good", draw, intro="# A notebook that works\n\nWhat is drawn?")
    folder = make_notebook("01_bad", "1 / 0", intro="# One that fails\n\nWhy?")
    with pytest.raises(tn.TftnhitsError, match="01_bad"):
        batch.run_notebooks(folder, out=tmp_path / "out")
    page.goto((tmp_path / "out" / "index.html").as_uri())
    for width in (390, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 844})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            check_readable(page)
            name = f"index of a run {width} {theme}.png"
            page.screenshot(path=ROOT / "build" / "browser" / name, full_page=True)
    statuses = page.locator("td:nth-child(2)").all_text_contents()
    assert statuses == ["completed", "failed"]
    assert page.locator(".figures img").evaluate("(image) => image.naturalWidth") > 100
    assert not any(".0824 .1059 .1373" in sheet.fills for sheet in printed(page))
