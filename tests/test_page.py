"""The printed page: one A4 sheet, nothing off its edges, numbers of the leaderboard."""

import re
from pathlib import Path

import pytest
from pictures import faults

import tftnhits as tn
from tftnhits.evaluation import leaderboard
from tftnhits.evaluation.backtest import Backtest
from tftnhits.viz.page import A4, plot_page

RIVAL = "filtered historical simulation"  # a long name: panels and findings take two lines


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Backtest:
    bars = tn.load_bars("stocks")
    span = bars["date"].between("2012-01-01", "2015-12-31") & bars["symbol"].isin(
        ["AAPL", "GOOG", "META"]
    )
    config = tn.BacktestConfig(
        start="2015-01-01", months=6, preset="tiny", members=("random walk", "HAR", RIVAL)
    )
    return tn.backtest(bars[span], config, tmp_path_factory.mktemp("backtest"), progress=False)


def texts(figure) -> list[str]:
    every = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return [t.get_text() for t in every if t.get_visible() and t.get_text().strip()]


def test_the_page_holds_the_leaderboard_and_the_caveats(result):
    board = leaderboard.summary(result.frame)
    said = texts(plot_page(result, RIVAL, caveats=["Only three stocks."], board=board))
    cells = [f"{row['pinball']:.2f}" for _, row in board.iterrows()]
    assert [t for t in said if t in cells] == cells and set(board.index) <= set(said)
    small = next(t for t in said if "not trading advice" in t.replace("\n", " ")).replace("\n", " ")
    assert small.startswith("Only three stocks. Loss: mean pinball")
    head = next(t for t in said if t.startswith(f"{RIVAL}: number"))
    change = 100 * (board.loc[RIVAL, "pinball"] / board.loc["HAR", "pinball"] - 1)
    found = re.search(
        r"number (\d) of 3 over 2 .*loss (\S+)% (below|above)", head.replace("\n", " ")
    )
    assert int(found[1]) == board.index.get_loc(RIVAL) + 1
    assert float(found[2]) == pytest.approx(abs(change), abs=0.0051) and (found[3] == "below") == (
        change < 0
    )


def test_nothing_falls_off_the_sheet_or_into_the_small_print(result):
    figure = plot_page(result, RIVAL)
    assert tuple(figure.get_size_inches()) == A4 and faults(figure) == []
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    boxes = {t.get_text(): t.get_window_extent() for t in figure.texts}
    assert all(
        b.x0 >= 0 and b.y0 >= 0 and b.x1 <= 0.97 * width and b.y1 <= height for b in boxes.values()
    )
    small = min(boxes.values(), key=lambda b: b.y0)
    assert all(ax.get_tightbbox().y0 > small.y1 for ax in figure.axes)


def test_it_saves_as_one_pdf_page(result, tmp_path: Path):
    plot_page(result, "HAR").savefig(tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page ") == 1


def test_an_unknown_forecaster_is_named(result):
    with pytest.raises(tn.ConfigError, match=r"no forecaster 'nobody' here; choose from .*HAR"):
        plot_page(result, "nobody")
