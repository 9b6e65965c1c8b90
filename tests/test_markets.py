"""The market that an origin sees: what had closed by its close, wherever that was."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_bars

from tftnhits import PanelConfig, make_panel
from tftnhits.data import features as F
from tftnhits.data.windows import panel_of

exchanges = pytest.importorskip("exchange_calendars")

MARKETS = {
    **{f"N{i}": "XNYS" for i in range(3)},
    **{f"T{i}.T": "XTKS" for i in range(3)},
    **{f"L{i}.L": "XLON" for i in range(3)},
    **{f"C{i}-USD": "24/7" for i in range(3)},
}
FIRST, LAST = "2021-06-01", "2022-12-30"
CONFIG = PanelConfig(observed=None, known=None)


def calendar(name):
    return exchanges.get_calendar(name, start="2020-01-01", end="2023-12-31")


def walk(dates, symbol, seed=0):
    """Bars of a random walk at `dates`."""
    bars = made_bars((symbol,), len(dates), seed=seed + sum(map(ord, symbol)))
    return bars.assign(date=pd.DatetimeIndex(dates).as_unit("ns"))


def sessions(name, first=FIRST, last=LAST):
    return calendar(name).sessions_in_range(first, last)


def hours(name, first=FIRST, last=LAST):
    """Starts of a market's hourly bars, with its time zone."""
    table = calendar(name).schedule.loc[first:last]
    days = [
        pd.date_range(o, c, freq="h", inclusive="left")
        for o, c in zip(table["open"], table["close"])
    ]
    return days[0].append(days[1:]).tz_convert(calendar(name).tz)


def zoned(zones, *frames):
    """Bars as load_bars hands them over: local times, and the zones of their symbols."""
    bars = pd.concat(frames, ignore_index=True)
    bars.attrs["zones"] = zones
    return bars


def moved(bars, rows, seed=0):
    """Other prices in the bars `rows`."""
    factor = np.exp(np.random.default_rng(seed).normal(0, 0.3, (rows.sum(), 1)))
    out = bars.copy()
    out.loc[rows, ["open", "high", "low", "close"]] *= factor
    return out


def market(panel):
    """The inputs of the market [R, 4]."""
    return panel.observed[:, [panel.inputs["observed"].index(name) for name in F.MARKET]]


def row(panel, symbol, date):
    s = panel.symbols.index(symbol)
    rows = np.arange(panel.start[s], panel.start[s] + panel.length[s])
    return rows[panel.date[rows] == np.datetime64(date)][0]


@pytest.fixture(scope="module")
def world():
    """Daily bars of four markets, and when each closed."""
    frames, closes = [], []
    for symbol, name in MARKETS.items():
        frames.append(walk(sessions(name), symbol))
        closes.append(calendar(name).closes[sessions(name)].to_numpy("datetime64[ns]"))
    return zoned({}, *frames), np.concatenate(closes)


@pytest.mark.parametrize(
    "day", ["2022-03-10", "2022-03-14", "2022-07-05", "2022-11-24", "2022-12-14"]
)
@pytest.mark.parametrize("name", ["XNYS", "XTKS", "XLON", "24/7"])
def test_what_closes_after_an_origin_is_not_seen_from_it(world, name, day):
    bars, closes = world
    panel = panel_of(bars, CONFIG)
    after = (bars["symbol"].map(MARKETS) == name) & (bars["date"] >= day)
    first = closes[after].min()
    other = panel_of(moved(bars, after), CONFIG, panel.fitted)
    bar = np.flatnonzero(np.isfinite(panel.close))
    same = bar[closes < first]
    np.testing.assert_array_equal(panel.observed[same], other.observed[same])
    changed = (market(panel)[bar] != market(other)[bar]).any(1)
    assert not changed[closes < first].any()
    for market_name in set(MARKETS.values()):  # each market sees the news within a session
        mine = (bars["symbol"].map(MARKETS) == market_name).to_numpy() & (closes >= first)
        soon = mine & (closes <= np.sort(np.unique(closes[mine]))[4])
        assert changed[soon].any()


def test_tokyo_sees_new_yorks_fall_on_its_next_day(world):
    bars, _ = world
    panel = panel_of(bars, CONFIG)
    fall = bars["symbol"].str.startswith("N") & (bars["date"] == "2022-05-18")
    other = panel_of(moved(bars, fall, 1), CONFIG, panel.fitted)
    for symbol, seen, unseen in (
        ("T0.T", "2022-05-19", "2022-05-18"),  # Tokyo closes fifteen hours before
        ("L0.L", "2022-05-19", "2022-05-18"),
        ("C0-USD", "2022-05-18", "2022-05-17"),  # its day ends at midnight in UTC
        ("N1", "2022-05-18", "2022-05-17"),
    ):
        at, before = row(panel, symbol, seen), row(panel, symbol, unseen)
        np.testing.assert_array_equal(panel.observed[before], other.observed[before])
        assert (market(panel)[at] != market(other)[at]).any(), symbol


@pytest.mark.parametrize(
    "symbol, date, seen",
    [
        (
            "T0.T",
            "2022-05-23",
            {"T": "05-23", "N": "05-20", "L": "05-20", "C": "05-22"},
        ),  # a Monday
        (
            "T0.T",
            "2022-05-31",
            {"T": "05-31", "L": "05-30", "C": "05-30"},
        ),  # Memorial Day in New York
        (
            "T0.T",
            "2022-05-06",
            {"T": "05-06", "N": "05-05", "L": "05-05", "C": "05-05"},
        ),  # after a golden week
        ("N0", "2022-05-23", {"N": "05-23", "T": "05-23", "L": "05-23", "C": "05-22"}),
        ("N0", "2022-06-03", {"N": "06-03", "T": "06-03", "C": "06-02"}),  # London has a jubilee
        ("L0.L", "2022-05-23", {"L": "05-23", "T": "05-23", "N": "05-20", "C": "05-22"}),
        ("C0-USD", "2022-05-20", {"C": "05-20", "N": "05-20", "L": "05-20", "T": "05-20"}),
        ("C0-USD", "2022-05-21", {"C": "05-21"}),  # a Saturday
    ],
)
def test_the_market_is_the_mean_of_the_latest_sessions(world, symbol, date, seen):
    panel = panel_of(world[0], CONFIG)
    i = panel.inputs["observed"].index("market_return")
    found = (
        panel.observed[row(panel, symbol, date), i] * panel.fitted["spread"][i]
        + panel.fitted["center"][i]
    )
    returns = panel.observed[:, panel.inputs["observed"].index("return")]
    rows = [row(panel, s, f"2022-{seen[s[0]]}") for s in MARKETS if s[0] in seen]
    np.testing.assert_allclose(found, returns[rows].mean(), rtol=1e-4, atol=1e-6)


def test_markets_add_up_to_the_symbols_that_make_one():
    new_york, tokyo = (
        walk(sessions(name), symbol) for symbol, name in (("N0", "XNYS"), ("T0.T", "XTKS"))
    )
    coins = [walk(sessions("24/7"), f"C{i}-USD") for i in range(2)]
    flag = F.MARKET.index("has_market")
    for frames, some in (
        ((new_york, tokyo), False),
        ((new_york, tokyo, coins[0]), True),
        (coins, False),
    ):
        panel = panel_of(zoned({}, *frames), CONFIG)
        assert market(panel)[:, flag].any() == some
    delisted = [walk(sessions("XTKS", "2021-06-01", "2021-09-30"), f"T{i}.T") for i in range(4)]
    panel = panel_of(zoned({}, new_york, *delisted), CONFIG)
    seen = panel.date[: panel.length[0]][market(panel)[: panel.length[0], flag] > 0]
    assert seen.max() == np.datetime64("2021-09-30")


def test_one_market_is_joined_by_its_stamps_zone_or_none():
    frames = [walk(sessions("XNYS"), f"N{i}") for i in range(4)]
    gaps = frames[3][
        np.random.default_rng(0).random(len(frames[3])) > 0.15
    ]  # too few for a calendar
    base = panel_of(zoned({}, *frames[:3], gaps), CONFIG)
    assert not base.notes
    flag = base.inputs["observed"].index("has_market")
    assert (base.observed[base.start + base.length - 1, flag] == 1).all()
    some = panel_of(zoned({"N0": "America/New_York", "N2": "UTC"}, *frames[:3], gaps), CONFIG)
    np.testing.assert_array_equal(base.observed, some.observed)
    np.testing.assert_array_equal(base.known, some.known)
    np.testing.assert_array_equal(base.date, some.date)


def test_another_market_of_the_same_days_is_not_taken_for_this_one():
    """London without a suffix trades on nearly all of New York's days, and closes before it does."""
    new_york = [walk(sessions("XNYS"), f"N{i}") for i in range(3)]
    london, tokyo = walk(sessions("XLON"), "V"), walk(sessions("XTKS"), "7203")
    panel = panel_of(zoned({}, *new_york, london, tokyo), CONFIG)
    assert set(panel.notes) == {"V", "7203"}
    assert "(N0 and 3 more)" in panel.notes["V"][0]
    base = panel_of(zoned({}, *new_york), CONFIG, panel.fitted)
    rows = panel.start[0] + np.arange(panel.start[3])
    np.testing.assert_array_equal(panel.observed[rows], base.observed)
    zones = {"V": "Europe/London", "7203": "Asia/Tokyo"}
    assert not panel_of(zoned(zones, *new_york, london, tokyo), CONFIG).notes
    assert not panel_of(
        zoned({}, *new_york, london, tokyo), CONFIG, None, {"V": "XLON", "7203": "XTKS"}
    ).notes


def test_days_and_hours_of_one_exchange_are_two_markets():
    days = [walk(sessions("XNYS", "2022-01-03", "2022-04-29"), f"D{i}") for i in range(3)]
    stamps = hours("XNYS", "2022-01-03", "2022-04-29")
    bars = zoned({}, *days, *hourly(stamps))
    panel = panel_of(bars, CONFIG)
    late = bars["symbol"].str.startswith("N") & (
        bars["date"] == "2022-03-16 15:30"
    )  # closes with the day
    other = panel_of(moved(bars, late), CONFIG, panel.fitted)
    at = [row(panel, "D0", day) for day in ("2022-03-15", "2022-03-16")]
    assert (market(panel)[at] != market(other)[at]).any(1).tolist() == [False, True]
    close = bars["symbol"].str.startswith("D") & (bars["date"] == "2022-03-16")
    other = panel_of(moved(bars, close), CONFIG, panel.fitted)
    at = [row(panel, "N0", f"2022-03-{time}") for time in ("16 14:30", "16 15:30", "17 09:30")]
    assert (market(panel)[at] != market(other)[at]).any(1).tolist()[:2] == [False, True]


def hourly(stamps, symbols=("N0", "N1", "N2")):
    return [walk(stamps.tz_localize(None), symbol) for symbol in symbols]


def test_hours_in_utc_are_the_same_bars():
    new_york = hours("XNYS", "2022-01-03", "2022-04-29")  # over a clock change
    tokyo = hours("XTKS", "2022-01-04", "2022-04-28")
    coins = pd.date_range("2022-01-03", "2022-04-29 23:00", freq="h", tz="UTC")
    panels, instants = [], []
    for one, two, three in (
        ("America/New_York", "Asia/Tokyo", "UTC"),
        ("UTC", "UTC", "America/New_York"),
        ("UTC-05:00", "UTC+09:00", "UTC+05:30"),
    ):
        stamps = {"N": (new_york, one), "T.T": (tokyo, two), "C-USD": (coins, three)}
        # Of an hour that comes twice the source keeps its own time: none is in these months
        frames = [
            walk(at.tz_convert(zone).tz_localize(None), name) for name, (at, zone) in stamps.items()
        ]
        panel = panel_of(zoned({name: zone for name, (_, zone) in stamps.items()}, *frames), CONFIG)
        panels.append(panel)
        rows = zip(panel.symbols, panel.start, panel.start + panel.length + CONFIG.horizon)
        zones = {name: zone for name, (_, zone) in stamps.items()}
        instants.append(
            [
                pd.DatetimeIndex(panel.date[i:j]).tz_localize(zones[s]).tz_convert("UTC")
                for s, i, j in rows
            ]
        )
    for other, times in zip(panels[1:], instants[1:]):
        for name in ("observed", "known", "static", "scale"):
            np.testing.assert_array_equal(getattr(panels[0], name), getattr(other, name), name)
        assert all(a.equals(b) for a, b in zip(instants[0], times))
    ahead = dict(zip(panels[0].symbols, instants[0]))["N"][-5:].tz_convert("America/New_York")
    assert ahead.strftime("%d %H:%M").tolist() == [
        "02 09:30",
        "02 10:30",
        "02 11:30",
        "02 12:30",
        "02 13:30",
    ]


def test_days_in_utc_are_the_same_bars_and_labels_stay():
    days = sessions("XNYS", "2021-01-04", "2022-03-10")
    local = days.tz_localize("America/New_York")
    sources = {
        "America/New_York": local,
        "UTC": local.tz_convert("UTC"),
        "UTC-05:00": local.tz_convert("UTC-05:00"),
    }
    panels = []
    for zone, stamps in sources.items():
        panel = panel_of(zoned(dict.fromkeys(("N0", "N1", "N2"), zone), *hourly(stamps)), CONFIG)
        panels.append(panel)
        ahead = pd.DatetimeIndex(panel.date[panel.length[0] : panel.start[1]]).tz_localize(zone)
        expected = pd.DatetimeIndex(
            ["2022-03-11", "2022-03-14", "2022-03-15", "2022-03-16", "2022-03-17"]
        )
        assert ahead.equals(expected.tz_localize("America/New_York").tz_convert(zone).as_unit("ns"))
    labels = panel_of(
        zoned(dict.fromkeys(("N0", "N1", "N2"), "UTC"), *hourly(days)), CONFIG
    )  # midnight in UTC
    for other in (*panels[1:], labels):
        np.testing.assert_array_equal(panels[0].observed, other.observed)
        np.testing.assert_array_equal(panels[0].known, other.known)
    assert labels.date[labels.length[0]] == np.datetime64("2022-03-11")


def test_hours_of_two_markets_are_joined_by_the_instant():
    new_york = hourly(hours("XNYS", "2022-01-03", "2022-04-29"))
    london = hourly(hours("XLON", "2022-01-04", "2022-04-29"), ("L0.L", "L1.L", "L2.L"))
    bars = zoned({}, *new_york, *london)  # opening hours tell the zones
    panel = panel_of(bars, CONFIG)
    assert not panel.notes
    after = bars["symbol"].str.startswith("N") & (bars["date"] >= "2022-03-15 09:30")
    other = panel_of(moved(bars, after), CONFIG, panel.fitted)
    # New York is four hours behind London in these weeks: its first bar closes at 14:30
    bar = np.flatnonzero(np.isfinite(panel.close))
    changed = pd.Series((market(panel)[bar] != market(other)[bar]).any(1))[
        bars["symbol"].str.startswith("L")
    ]
    times = bars["date"][changed.index]
    assert not changed[times < "2022-03-15 14:00"].any()
    assert changed[times == "2022-03-15 14:00"].all()  # closes at 15:00


def test_an_unknown_zone_is_joined_with_no_other_market_and_says_so():
    coins = pd.date_range("2022-01-03", "2022-04-29 23:00", freq="h")
    frames = [
        *hourly(hours("XNYS", "2022-01-03", "2022-04-29")),
        *(walk(coins, f"C{i}-USD") for i in range(3)),
    ]
    panel = panel_of(zoned({}, *frames), CONFIG)
    assert set(panel.notes) == {"C0-USD", "C1-USD", "C2-USD"}
    (note,) = panel.notes["C1-USD"]
    assert note == (
        "The time zone of C1-USD is unknown, so bars of other markets (N0 and 2 more) are no input to its "
        "forecast; give a time-zone-aware index or a calendar."
    )
    alone = panel_of(zoned({}, *frames[3:]), CONFIG, panel.fitted)
    assert not alone.notes  # there is no other market
    rows = np.arange(panel.start[3], len(panel.date))
    np.testing.assert_array_equal(panel.observed[rows], alone.observed)
    known = panel_of(
        zoned(dict.fromkeys(("C0-USD", "C1-USD", "C2-USD"), "UTC"), *frames), CONFIG, panel.fitted
    )
    assert not known.notes and (market(known)[rows] != market(panel)[rows]).any()
    given = panel_of(
        zoned({}, *frames), CONFIG, panel.fitted, {f"C{i}-USD": "24/7" for i in range(3)}
    )
    np.testing.assert_array_equal(given.observed, known.observed)  # 24/7 counts in UTC


def test_a_market_without_calendar_is_seen_when_its_day_is_over():
    weekdays = pd.bdate_range(FIRST, LAST)
    names = [f"E{i}" for i in range(3)]
    currencies = [walk(weekdays, name) for name in names]
    stocks = [walk(sessions("XNYS"), f"N{i}") for i in range(3)]
    zone = dict.fromkeys(names, "Europe/London")
    bars = zoned(zone, *currencies, *stocks)
    panel = panel_of(bars, CONFIG)
    assert not panel.notes and set(panel_of(zoned({}, *currencies, *stocks), CONFIG).notes) == set(
        names
    )
    other = panel_of(
        moved(bars, bars["symbol"].eq("E0") & (bars["date"] == "2022-05-18")), CONFIG, panel.fitted
    )
    stock = [row(panel, "N0", day) for day in ("2022-05-17", "2022-05-18", "2022-05-19")]
    assert (market(panel)[stock] != market(other)[stock]).any(1).tolist() == [False, False, True]
    # and sees what had closed before its day began
    other = panel_of(
        moved(bars, bars["symbol"].eq("N0") & (bars["date"] == "2022-05-18")), CONFIG, panel.fitted
    )
    days = [row(panel, "E1", day) for day in ("2022-05-18", "2022-05-19")]
    assert (market(panel)[days] != market(other)[days]).any(1).tolist() == [False, True]


@pytest.mark.parametrize("freq", ["W-FRI", "MS"])
def test_weeks_and_months_of_two_zones_are_seen_when_over(freq):
    days = pd.date_range("2012-01-01", "2022-12-30", freq=freq)
    names = [f"{place}{i}" for place in "AB" for i in range(3)]
    zones = {name: {"A": "America/New_York", "B": "Asia/Tokyo"}[name[0]] for name in names}
    bars = zoned(zones, *(walk(days, name) for name in names))
    panel = panel_of(bars, CONFIG)
    at = days[len(days) // 2]
    other = panel_of(
        moved(bars, bars["symbol"].str.startswith("A") & (bars["date"] >= at)), CONFIG, panel.fitted
    )
    rows = panel.start[3] + np.arange(len(days))
    changed = (market(panel)[rows] != market(other)[rows]).any(1)
    assert not changed[days <= at + (days[1] - days[0])].any() and changed.any()


def test_round_the_clock_bars_go_on_over_a_clock_change():
    instants = pd.date_range("2023-10-01", "2023-11-06 12:00", freq="h", tz="UTC")
    for zone in ("UTC", "Australia/Brisbane", "UTC-05:00"):
        stamps = instants.tz_convert(zone).tz_localize(None)
        panel = panel_of(zoned({"C0-USD": zone}, walk(stamps, "C0-USD")), CONFIG)
        ahead = pd.DatetimeIndex(panel.date[-5:]).tz_localize(zone)
        assert ahead.equals(
            pd.date_range("2023-11-06 13:00", periods=5, freq="h", tz="UTC")
            .tz_convert(zone)
            .as_unit("ns")
        )


def test_a_zone_names_the_exchange():
    for zone, name in (
        ("Asia/Tokyo", "XTKS"),
        ("Europe/London", "XLON"),
        ("America/New_York", "XNYS"),
    ):
        stamps = hours(name, "2022-01-04", "2022-04-28").tz_convert(zone).tz_localize(None)
        panel = make_panel(zoned({"7203": zone}, walk(stamps, "7203")), CONFIG)
        assert panel.known[:, panel.inputs["known"].index("has_calendar")].all()
