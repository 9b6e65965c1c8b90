"""What a run leaves, opened as files in a real Chromium: it fetches nothing and runs no symbol."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import made_bars
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
