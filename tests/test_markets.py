"""The market that an origin sees: what had closed by its close, wherever that was."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars

from tftnhits import PanelConfig
from tftnhits.data import features as F
from tftnhits.data.windows import panel_of

exchanges = pytest.importorskip("exchange_calendars")

NAMES = {"N": "XNYS", "T": "XTKS", "L": "XLON", "C": "24/7"}
SYMBOLS = [f"N{i}" for i in range(3)] + [f"T{i}.T" for i in range(3)]
SYMBOLS += [f"L{i}.L" for i in range(3)] + [f"C{i}-USD" for i in range(3)]
FIRST, LAST = "2021-06-01", "2022-12-30"
SPRING = "2022-01-04", "2022-04-28"  # over a clock change
CONFIG = PanelConfig(observed=None, known=None)
FLAG = F.MARKET.index("has_market")


def calendar(name):
    return exchanges.get_calendar(name, start="2020-01-01", end="2023-12-31")


def sessions(name, first=FIRST, last=LAST):
    return calendar(name).sessions_in_range(first, last)


def hours(name):
    """Starts of a market's hourly bars in spring, with its time zone."""
    table = calendar(name).schedule.loc[SPRING[0] : SPRING[1]]
    ends = zip(table["open"], table["close"], strict=True)
    days = [pd.date_range(o, c, freq="h", inclusive="left") for o, c in ends]
    return days[0].append(days[1:]).tz_convert(calendar(name).tz)


COINS = pd.date_range(*SPRING, freq="h", tz="UTC")


def walk(dates, symbol):
    """Bars of a random walk at the local times `dates`."""
    bars = made_bars((symbol,), len(dates), seed=sum(map(ord, symbol)))
    return bars.assign(date=pd.DatetimeIndex(dates).tz_localize(None).as_unit("ns"))


def panel(*frames, zones=None, fitted=None, calendar=None):
    """Of bars as load_bars hands them over: local times, and the zones of their symbols."""
    bars = pd.concat(frames, ignore_index=True)
    bars.attrs["zones"] = zones or {}
    return panel_of(bars, CONFIG, fitted, calendar)


def news(bars, rows):
    """Other prices in the bars `rows`."""
    factor = np.exp(np.random.default_rng(0).normal(0, 0.3, (rows.sum(), 1)))
    out = bars.copy()
    out.loc[rows, ["open", "high", "low", "close"]] *= factor
    return out


def market(panel):
    """The inputs of the market [R, 4]."""
    return panel.observed[:, [panel.inputs["observed"].index(name) for name in F.MARKET]]


def seen_at(symbol, dates, bars, rows, zones=None):
    """Whether `symbol` sees news in the bars `rows`, at each of its `dates`."""
    before = panel(bars, zones=zones)
    after = panel(news(bars, rows), zones=zones, fitted=before.fitted)
    s = before.symbols.index(symbol)
    mine = before.start[s] + np.arange(before.length[s])
    at = mine[np.searchsorted(before.date[mine], np.array(dates, "datetime64[ns]"))]
    return (market(before)[at] != market(after)[at]).any(1).tolist()


@pytest.fixture(scope="module")
def world():
    """Daily bars of four markets, and when each closed."""
    bars = pd.concat([walk(sessions(NAMES[s[0]]), s) for s in SYMBOLS], ignore_index=True)
    closes = [calendar(NAMES[s[0]]).closes[sessions(NAMES[s[0]])] for s in SYMBOLS]
    return bars, np.concatenate([close.to_numpy("datetime64[ns]") for close in closes])


@pytest.mark.parametrize("day", ["2022-03-10", "2022-11-24"])
@pytest.mark.parametrize("letter", NAMES)
def test_what_closes_after_an_origin_is_not_seen_from_it(world, letter, day):
    bars, closes = world
    before = panel(bars)
    rows = bars["symbol"].str.startswith(letter) & (bars["date"] >= day)
    first = closes[rows].min()
    after = panel(news(bars, rows), fitted=before.fitted)
    bar = np.flatnonzero(np.isfinite(before.close))
    earlier = bar[closes < first]
    np.testing.assert_array_equal(before.observed[earlier], after.observed[earlier])
    changed = (market(before)[bar] != market(after)[bar]).any(1)
    for other in NAMES:  # each market sees the news within a few sessions
        mine = bars["symbol"].str.startswith(other).to_numpy() & (closes >= first)
        assert changed[mine & (closes <= np.sort(np.unique(closes[mine]))[4])].any()


LATEST = [
    ("T0.T", "05-23", {"T": "05-23", "N": "05-20", "L": "05-20", "C": "05-22"}),  # a Monday
    ("T0.T", "05-31", {"T": "05-31", "L": "05-30", "C": "05-30"}),  # Memorial Day in New York
    ("N0", "06-03", {"N": "06-03", "T": "06-03", "C": "06-02"}),  # London has a jubilee
    ("C0-USD", "05-21", {"C": "05-21"}),  # a Saturday
]


@pytest.mark.parametrize("symbol, date, seen", LATEST)
def test_the_market_is_the_mean_of_the_latest_sessions(world, symbol, date, seen):
    made = panel(world[0])
    i = made.inputs["observed"].index("market_return")
    returns = made.observed[:, made.inputs["observed"].index("return")]

    def row(symbol, day):
        s = made.symbols.index(symbol)
        rows = made.start[s] + np.arange(made.length[s])
        return rows[made.date[rows] == np.datetime64(f"2022-{day}")][0]

    value = made.observed[row(symbol, date), i] * made.fitted["spread"][i]
    value += made.fitted["center"][i]
    rows = [row(s, seen[s[0]]) for s in SYMBOLS if s[0] in seen]
    np.testing.assert_allclose(value, returns[rows].mean(), rtol=1e-4, atol=1e-6)


def test_one_market_is_joined_by_its_stamps_zone_or_none():
    frames = [walk(sessions("XNYS"), f"N{i}") for i in range(4)]
    some = np.random.default_rng(0).random(len(frames[3])) > 0.15  # too few for a calendar
    frames[3] = frames[3][some]
    base = panel(*frames)
    assert not base.notes
    assert (market(base)[base.start + base.length - 1, FLAG] == 1).all()
    other = panel(*frames, zones={"N0": "America/New_York", "N2": "UTC"})
    for name in ("observed", "known", "date"):
        np.testing.assert_array_equal(getattr(base, name), getattr(other, name))


def test_another_market_of_the_same_days_is_not_taken_for_this_one():
    """London without a suffix trades on nearly all of New York's days, and closes before it."""
    new_york = [walk(sessions("XNYS"), f"N{i}") for i in range(3)]
    others = walk(sessions("XLON"), "V"), walk(sessions("XTKS"), "7203")
    made = panel(*new_york, *others)
    assert set(made.notes) == {"V", "7203"} and "(N0 and 3 more)" in made.notes["V"][0]
    base = panel(*new_york, fitted=made.fitted)
    np.testing.assert_array_equal(made.observed[: len(base.observed)], base.observed)
    zones = {"V": "Europe/London", "7203": "Asia/Tokyo"}
    assert not panel(*new_york, *others, zones=zones).notes
    assert not panel(*new_york, *others, calendar={"V": "XLON", "7203": "XTKS"}).notes


def test_days_and_hours_of_one_exchange_are_two_markets():
    frames = [walk(sessions("XNYS", *SPRING), f"D{i}") for i in range(3)]
    frames += [walk(hours("XNYS"), f"N{i}") for i in range(3)]
    bars = pd.concat(frames, ignore_index=True)
    last_hour = bars["symbol"].str.startswith("N") & (bars["date"] == "2022-03-16 15:30")
    assert seen_at("D0", ["2022-03-15", "2022-03-16"], bars, last_hour) == [False, True]
    day = bars["symbol"].str.startswith("D") & (bars["date"] == "2022-03-16")
    times = ["2022-03-16 14:30", "2022-03-16 15:30"]
    assert seen_at("N0", times, bars, day) == [False, True]


def test_hours_in_any_zone_are_the_same_bars():
    starts = {"N": hours("XNYS"), "T.T": hours("XTKS"), "C-USD": COINS}
    panels, ahead = [], []
    for choice in ("America/New_York Asia/Tokyo UTC", "UTC UTC America/New_York"):
        zones = dict(zip(starts, choice.split(), strict=True))
        frames = [walk(at.tz_convert(zones[name]), name) for name, at in starts.items()]
        panels.append(panel(*frames, zones=zones))
        first = pd.Timestamp(panels[-1].date[panels[-1].length[0]])
        ahead.append(first.tz_localize(zones["N"]))
    for name in ("observed", "known", "static", "scale"):
        np.testing.assert_array_equal(getattr(panels[0], name), getattr(panels[1], name), name)
    assert ahead[0] == ahead[1] == pd.Timestamp("2022-04-29 09:30", tz="America/New_York")


def test_days_in_utc_are_the_same_bars_and_labels_stay():
    days = sessions("XNYS", "2021-01-04", "2022-03-10")
    local, names = days.tz_localize("America/New_York"), ("N0", "N1", "N2")
    forms = {
        "America/New_York": (local, "2022-03-11T00:00"),
        "UTC": (local.tz_convert("UTC"), "2022-03-11T05:00"),
        "Etc/UTC": (days.tz_localize("UTC"), "2022-03-11T00:00"),  # labels: midnights in UTC
    }
    base = panel(*[walk(local, name) for name in names])
    for zone, (at, ahead) in forms.items():
        made = panel(*[walk(at, name) for name in names], zones=dict.fromkeys(names, zone))
        np.testing.assert_array_equal(base.observed, made.observed)
        np.testing.assert_array_equal(base.known, made.known)
        assert str(made.date[made.length[0]]).startswith(ahead)


def test_hours_of_two_markets_are_joined_by_the_instant():
    frames = [walk(hours("XNYS"), f"N{i}") for i in range(3)]
    frames += [walk(hours("XLON"), f"L{i}.L") for i in range(3)]
    bars = pd.concat(frames, ignore_index=True)  # opening hours tell the zones
    assert not panel(bars).notes
    after = bars["symbol"].str.startswith("N") & (bars["date"] >= "2022-03-15 09:30")
    # New York is four hours behind London in these weeks: its first bar closes at 14:30
    times = ["2022-03-15 13:00", "2022-03-15 14:00"]
    assert seen_at("L0.L", times, bars, after) == [False, True]


def test_an_unknown_zone_is_joined_with_no_other_market_and_says_so():
    stocks = [walk(hours("XNYS"), f"N{i}") for i in range(3)]
    names = [f"C{i}-USD" for i in range(3)]
    coins = [walk(COINS, name) for name in names]
    made = panel(*stocks, *coins)
    assert set(made.notes) == set(names)
    hours_taken, others_unseen = made.notes["C1-USD"]
    assert all("time zone of C1-USD is unknown" in text for text in made.notes["C1-USD"])
    assert "its hours are taken" in hours_taken and "(N0 and 2 more)" in others_unseen
    alone = panel(*coins, fitted=made.fitted)
    assert all(len(texts) == 1 for texts in alone.notes.values())  # there is no other market
    rows = np.arange(made.start[3], len(made.date))
    np.testing.assert_array_equal(made.observed[rows], alone.observed)
    known = panel(*stocks, *coins, zones=dict.fromkeys(names, "UTC"), fitted=made.fitted)
    assert not known.notes and (market(known)[rows] != market(made)[rows]).any()
    given = panel(*stocks, *coins, fitted=made.fitted, calendar=dict.fromkeys(names, "24/7"))
    np.testing.assert_array_equal(given.observed, known.observed)  # 24/7 counts in UTC


def test_a_market_without_calendar_is_seen_when_its_day_is_over():
    names = [f"E{i}" for i in range(3)]
    frames = [walk(pd.bdate_range(FIRST, LAST), name) for name in names]
    frames += [walk(sessions("XNYS"), f"N{i}") for i in range(3)]
    bars = pd.concat(frames, ignore_index=True)
    zones = dict.fromkeys(names, "Europe/London")
    assert not panel(bars, zones=zones).notes and set(panel(bars).notes) == set(names)
    days = ["2022-05-17", "2022-05-18", "2022-05-19"]
    day = bars["date"] == "2022-05-18"
    rows = day & (bars["symbol"] == "E0")
    assert seen_at("N0", days, bars, rows, zones) == [False, False, True]
    # And it sees what had closed before its day began
    rows = day & (bars["symbol"] == "N0")
    assert seen_at("E1", days, bars, rows, zones) == [False, False, True]


@pytest.mark.parametrize("freq", ["W-FRI", "MS"])
def test_weeks_and_months_of_two_zones_are_seen_when_over(freq):
    days = pd.date_range("2012-01-01", "2022-12-30", freq=freq)
    names = [f"{letter}{i}" for letter in "AB" for i in range(3)]
    zones = {name: "America/New_York" if name < "B" else "Asia/Tokyo" for name in names}
    bars = pd.concat([walk(days, name) for name in names], ignore_index=True)
    middle = len(days) // 2
    rows = bars["symbol"].str.startswith("A") & (bars["date"] >= days[middle])
    seen = seen_at("B0", days, bars, rows, zones)
    assert not any(seen[: middle + 2]) and any(seen)


@pytest.mark.parametrize("zone", ["UTC", "UTC-05:00"])
def test_round_the_clock_bars_go_on_over_a_clock_change(zone):
    instants = pd.date_range("2023-10-01", "2023-11-06 12:00", freq="h", tz="UTC")
    made = panel(walk(instants.tz_convert(zone), "C0-USD"), zones={"C0-USD": zone})
    ahead = pd.DatetimeIndex(made.date[-5:]).tz_localize(zone).tz_convert("UTC")
    assert ahead.equals(pd.date_range("2023-11-06 13:00", periods=5, freq="h", tz="UTC", unit="ns"))
