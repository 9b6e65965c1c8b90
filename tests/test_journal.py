"""The journal keeps forecasts before their outcomes are known, once, and scores them after."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, made_bars, stocks

import tftnhits as tn
from tftnhits.apps.cli import main
from tftnhits.config import SCORE_LEVELS
from tftnhits.evaluation.record import LEVELS
from tftnhits.forecast.ensemble import pinball_loss

SOME = ("AAPL", "GOOG")
EVENING = pd.Timedelta(hours=22)


@pytest.fixture(scope="module")
def model():
    return tn.Predictor.load()


@pytest.fixture(scope="module")
def bars():
    return stocks(SOME)


@pytest.fixture(scope="module")
def days(bars):
    """Three of the sessions on which forecasts are made."""
    return np.sort(bars["date"].unique())[-40:-10:10]


@pytest.fixture
def journal(model, bars, days, tmp_path):
    """The forecasts of three evenings."""
    made = tn.journal(tmp_path / "journal")
    for day in days:
        kept = made.keep(model.predict(bars[bars["date"] <= day]), pd.Timestamp(day) + EVENING)
        assert (kept.origins, kept.known, kept.late) == (2, 0, [])
    return made


def test_outcomes_and_losses_are_those_of_the_bars(journal, model, bars, days):
    record = journal.score(bars)
    frame = record.frame
    assert len(frame) == 3 * 2 * 5 and not record.notes
    for row in frame.sample(8, random_state=0).itertuples():
        own = bars[bars["symbol"] == row.symbol].reset_index(drop=True)
        at = own.index[own["date"] == row.origin][0]
        outcome = np.log(own["close"][at + row.step] / own["close"][at])
        assert row.outcome == pytest.approx(outcome)
        assert own["date"][at + row.step] == row.date
    forecast = model.predict(bars[bars["date"] <= days[0]])
    first = frame[frame["origin"] == days[0]].reset_index(drop=True)
    price = forecast.frame[LEVELS].to_numpy() / first["close"].to_numpy()[:, None]
    loss = 1e4 * pinball_loss(np.log(price), first["outcome"].to_numpy(), SCORE_LEVELS)
    np.testing.assert_allclose(first["loss"], loss)
    predictor, panel, rows = forecast.source
    har = predictor.walk.quantiles(panel, rows).reshape(10, -1)
    places = [predictor.levels.index(level) for level in SCORE_LEVELS]
    np.testing.assert_allclose(
        first["har"], 1e4 * pinball_loss(har[:, places], first["outcome"].to_numpy(), SCORE_LEVELS)
    )


def test_a_symbol_is_scored_without_the_others(journal, bars):
    every = journal.score(bars).frame
    own = journal.score(bars, "GOOG").frame
    expected = every[every["symbol"] == "GOOG"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, expected)
    with pytest.raises(tn.DataError, match="No forecast of META is kept"):
        journal.score(bars, "META")


def test_a_record_is_told_by_groups(journal, bars):
    record = journal.score(bars)
    whole = record.table().iloc[0]
    assert record.whole().equals(whole.drop("model").astype(float))
    assert whole["outcomes"] == 30 and whole["dates"] == 3
    assert whole["loss"] == pytest.approx(record.frame["loss"].mean())
    assert whole["low_93"] < whole["inside_93"] <= whole["high_93"]
    by_symbol = record.table("symbol")
    assert list(by_symbol["symbol"]) == [*SOME] and (by_symbol["outcomes"] == 15).all()
    assert len(record.table(["month", "step"])) >= 5
    below = record.reliability()
    assert list(below["level"]) == [*SCORE_LEVELS] and below["below"].is_monotonic_increasing
    assert record.plot().get_axes()
    with pytest.raises(tn.ConfigError, match="by sector"):
        record.table("sector")


def test_nothing_is_kept_twice(journal, model, bars, days):
    before = journal.frame()
    forecast = model.predict(bars[bars["date"] <= days[-1]])
    again = journal.keep(forecast, pd.Timestamp(days[-1]) + EVENING)
    assert (again.origins, again.known, again.path) == (0, 2, None)
    pd.testing.assert_frame_equal(journal.frame(), before)


def test_another_model_is_kept_beside(journal, model, bars, days):
    other = replace(model, members={"tft": model.members["tft"]}, weights={})
    forecast = other.predict(bars[bars["date"] <= days[-1]])
    assert journal.keep(forecast, pd.Timestamp(days[-1]) + EVENING).origins == 2
    assert len(journal.score(bars).table("model")) == 2


def test_other_weights_are_another_model(journal, model, bars, days):
    forecast = model.predict(bars[bars["date"] <= days[-1]], weights={"tft": 0.1, "nhits": 0.9})
    assert journal.keep(forecast, pd.Timestamp(days[-1]) + EVENING).origins == 2
    assert len(journal.score(bars).table(["model", "model_used"])) == 2


def test_longer_bars_are_other_forecasts_and_score_by_their_own(model, bars, tmp_path):
    """Of a Friday there are the next day and the next week: neither is taken for the other."""
    days = bars.groupby(["symbol", bars["date"].dt.to_period("W")], observed=True)
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    weeks = days.agg({**rules, "date": "last"}).reset_index(level=0).reset_index(drop=True)
    friday = weeks["date"][weeks["date"].dt.day_of_week == 4].iloc[-12]
    journal, now = tn.journal(tmp_path), friday + EVENING
    for frame in (bars, weeks):
        kept = journal.keep(model.predict(frame[frame["date"] <= friday]), now)
        assert (kept.origins, kept.known) == (2, 0)
    ends = {}
    for name, frame in (("days", bars), ("weeks", weeks)):
        record = journal.score(frame)
        assert len(record.frame) == 10 and record.frame["bar"].nunique() == 1
        assert any("longer or shorter" in note for note in record.notes)
        ends[name] = record.frame.groupby("symbol")["outcome"].last()
    assert (ends["days"] != ends["weeks"]).all()


def test_a_bar_is_over_by_its_exchanges_clock(model, tmp_path):
    hours = made_bars(("A",), 300, freq="h")
    last = hours["date"].max()  # 15:00, say, in New York: 20:00 in UTC, in winter
    zoned = hours.assign(date=hours["date"].dt.tz_localize("America/New_York"))
    forecast = model.predict(tn.load_bars(zoned))
    journal, away = tn.journal(tmp_path), pd.Timedelta(hours=5)
    assert journal.keep(forecast, last + away + pd.Timedelta(minutes=121)).late == ["A"]
    assert journal.keep(forecast, last + away + pd.Timedelta(minutes=119)).origins == 1


def test_past_outcomes_are_not_kept(model, bars, days, tmp_path):
    journal = tn.journal(tmp_path)
    forecast = model.predict(bars[bars["date"] <= days[0]])
    kept = journal.keep(forecast, pd.Timestamp(days[1]))
    assert (kept.origins, kept.late, kept.path) == (0, [*SOME], None)
    undated = journal.keep(model.predict(made_bars(("A",), freq=None)))
    assert undated.late == ["A"]
    assert forecast.keep(tmp_path).late == [*SOME]  # by the clock
    with pytest.raises(tn.DataError, match="No forecast is kept"):
        journal.score(bars)


def test_a_friday_is_kept_until_monday_is_over(model, bars, tmp_path):
    fridays = bars["date"][bars["date"].dt.day_of_week == 4]
    day = fridays.iloc[-8]
    forecast = model.predict(bars[bars["date"] <= day])
    journal = tn.journal(tmp_path)
    monday = pd.Timestamp(forecast.frame["date"].iloc[0])
    assert journal.keep(forecast, monday + pd.Timedelta(days=1)).origins == 0
    assert journal.keep(forecast, monday + EVENING).origins == 2


def test_what_is_not_scored_is_said(journal, bars, days):
    some = journal.score(bars[(bars["symbol"] == "AAPL") & (bars["date"] <= days[-1])])
    assert len(some.frame) == 2 * 5
    assert any("lack origins of GOOG" in note for note in some.notes)
    assert any("5 outcomes of 30 will be known" in note for note in some.notes)
    halved = bars.assign(**{n: bars[n] / 2 for n in ("open", "high", "low", "close")})
    record = journal.score(halved)
    np.testing.assert_allclose(record.frame["outcome"], journal.score(bars).frame["outcome"])
    assert any("adjusted since" in note for note in record.notes)


def test_a_broken_file_costs_its_own_forecasts_alone(journal, bars):
    first = sorted(journal.folder.rglob("*.parquet"))[0]
    first.write_bytes(first.read_bytes()[:100])
    record = journal.score(bars)
    assert len(record.frame) == 20
    assert any(str(first) in note and "left out" in note for note in record.notes)


def test_processes_that_keep_the_same_forecast_keep_it_once(bars, days, tmp_path):
    bars[bars["date"] <= days[0]].to_parquet(tmp_path / "bars.parquet")
    code = (
        "import sys, pandas as pd, tftnhits as tn\n"
        "forecast = tn.Predictor.load().predict(sys.argv[1])\n"
        "print(tn.journal(sys.argv[2]).keep(forecast, pd.Timestamp(sys.argv[3])).origins)"
    )
    now = str(pd.Timestamp(days[0]) + EVENING)
    line = [sys.executable, "-c", code, str(tmp_path / "bars.parquet"), str(tmp_path / "j"), now]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(2)]
    assert sorted(int(one.communicate()[0]) for one in both) == [0, 2]
    assert len(tn.journal(tmp_path / "j").frame()) == 10


def test_the_command_scores_what_was_kept(journal, bars, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFTNHITS_JOURNAL", str(journal.folder))
    file, picture = str(tmp_path / "bars.csv"), tmp_path / "record.png"
    bars.to_csv(file, index=False)
    assert main(["score", file, "--plot", str(picture)]) == 0
    assert "to_har" in capsys.readouterr().out and picture.stat().st_size > 10_000
    assert main(["score", file, "--by", "symbol", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["symbol", *SOME]
    assert main(["predict", file, "--keep"]) == 0
    assert "not kept, since outcomes may be known" in capsys.readouterr().err
