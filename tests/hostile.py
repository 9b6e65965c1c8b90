"""Inputs that nobody should give: for each seed a source of bars, and options of a forecast."""

from __future__ import annotations

import collections
import io
import random
import types
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NAN, INF = float("nan"), float("inf")
OHLC = ["open", "high", "low", "close"]
COLUMNS = [*OHLC, "volume"]
FOLDER = Path(__file__).parent
UTC_DAY = datetime(2020, 1, 2, tzinfo=timezone.utc)

ODD: list[Any] = [None, NAN, INF, -INF, 0, -0.0, -1, 5e-324, 1e-12, 1e15, 1e16, 1e308, 2**63, 2**70]
ODD += [10**400, 10**5000, True, 3 + 1j, Decimal("1.5"), Decimal("NaN"), Decimal("sNaN"), b"5"]
ODD += [Decimal("1e400"), Fraction(1, 3), Fraction(10**400, 1), bytearray(b"5"), "", " ", "x"]
ODD += ["1.5"]
ODD += ["1,234.5", "nan", "-inf", "1e999", "1_000", "٣", "½", "5%", "$5", "\0", "é\udc80"]
ODD += ["x" * 999]
ODD += [[], (), {}, [1.0], [[1.0]], {1}, range(3), object, len, ..., NotImplemented, pd.NA, pd.NaT]
ODD += [Path("x"), np.datetime64("NaT"), np.timedelta64("NaT"), np.datetime64("2020"), slice(3)]
ODD += [pd.Timestamp("2020"), pd.Timedelta(1), np.float32(1e38), np.float16(INF), np.bool_(True)]
ODD += [np.complex64(1j), np.str_("7"), np.array(5.0), np.array([]), np.array([[1.0]])]
ODD += [pd.Series([1.0]), pd.DataFrame(), pd.Interval(1, 2), pd.Period("2020"), date(2020, 1, 2)]

DATES: list[Any] = ["2020-01-02", "2020-01-02T00:00Z", "2020-01-02 09:30+05:30", "02/01/2020"]
DATES += ["soon"]
DATES += ["1.2.2020", "31.12.2020", "", "99999999", "20200102", "9999-12-31", "0001-01-01", "24:00"]
DATES += ["2020-02-30", "12345678901234567890", "2020-W05", "2020Q1", "now", "2020-01-02 25:61"]
DATES += ["2020-01-02" + "0" * 500, "1e9", "٢٠٢٠-٠١-٠٢", "\0", 20200102, 2e7, 1577923200, 10**18]
DATES += [10**30, 10**5000, -1, 0, NAN, INF, True, np.datetime64("1500-01-01", "s")]
DATES += [Decimal("sNaN")]
DATES += [np.datetime64("NaT"), pd.Timestamp("2020-01-02", tz="Asia/Tokyo"), pd.Timestamp.max, []]
DATES += [pd.Period("2020-01", "M"), date.min, datetime.max, UTC_DAY, None, pd.NA, b"2020", {}]

SYMBOLS: list[Any] = ["", " ", "\n", "A\r\nB", "\x1b[31mRED", "x" * 300, "../../etc", "\u202eABC"]
SYMBOLS += ["\u2028", "{0}", "%s", "<script>", "NaN", "None", "all", "symbol", "A" * 60 + "\t"]
SYMBOLS += [NAN, pd.NA, 5, 5.0, 10**5000, True, b"A", ("A", 1), [], {}, UTC_DAY, pd.NaT, INF, None]
SYMBOLS += ["é\udc80", "CON", 1j]

KEYS = (*COLUMNS, "date", "symbol", "A", "", None, 1, ("open", "A"), NAN)
LABELS = (*KEYS, "Open", "CLOSE", "Adj Close", "ticker", "timestamp", 0, 1.5, "\0")
HORIZONS = (1, 3, 5, np.int64(2), 0, -1, 6, 10**5000, 2.0, NAN, "5", None, True, [5], b"1", ODD)
LEVELS: list[Any] = [0.5, 0.8, 1e-9, 1 - 1e-9, 5e-324, 1 - 2**-53, np.float32(0.9), 0, 1, -1, 2]
LEVELS += [NAN]
LEVELS += ["0.9", None, True, 10**5000, Decimal("0.9"), Fraction(1, 2), 0.9j, [0.9], np.array(0.9)]
ORIGINS = ("last", "all", "ALL", "", None, 5, ["last"], np.array(["all"]), b"all", {}, True)
WEIGHTS: list[Any] = [{"tft": 1}, {"tft": 1.0, "nhits": 0.0}, {"nhits": 5}, {}, {"tft": 0}]
WEIGHTS += [[0.5, 0.5]]
WEIGHTS += [{"tft": 1e308, "nhits": 1e308}, {"tft": 5e-324}, {"tft": -1, "nhits": 2}, {"tft": NAN}]
WEIGHTS += [{"gpt": 1}, {"tft": "x"}, {"tft": None}, {"tft": 10**400}, {None: 1, "x": 2}, "tft", 5]
WEIGHTS += [np.array([0.5, 0.5]), pd.Series({"tft": 1.0}), pd.DataFrame(), {"a\nb": 1}, None]
CALENDARS: list[Any] = ["XNYS", "XTKS", "24/7", "xnys", "XXXX", "", "../x", "x" * 5000, "a\nb"]
CALENDARS += ["\0"]
CALENDARS += ["\x1b[2J", "\udc80", b"XNYS", 5, None, True, NAN, 10**5000, ["XNYS"], {}, {"x": 1}]
CALENDARS += [{"series": "XNYS"}, {"series": 5}, {5: "XNYS"}, {"series": "XXXX"}]
CALENDARS += [np.array(["XNYS"])]
JSON: list[Any] = [None, True, 0, -1, 1, 2, 0.5, 1e-300, 1e308, NAN, INF, 10**6, 10**18, 10**400]
JSON += [""]
JSON += [
    "x",
    "tft",
    "\0",
    [],
    {},
    [1],
    [[1]],
    {"a": 1},
    [None],
    "../x",
    [10**9],
    "x" * 999,
    "\x1b[2J",
]


# -- parts of inputs


def size(r: random.Random) -> int:
    """Mostly short: what breaks, breaks early."""
    return r.choice([0, 1, 2, 2, 3, 4, 5, 7, 20, 59, 60, 61, 62, 100, 260])


def numbers(r: random.Random) -> np.random.Generator:
    return np.random.default_rng(r.getrandbits(32))


def rows(r: random.Random, n: int, volume: bool = True) -> list[list[Any]]:
    """Sound rows of a random walk."""
    close = 50 * np.exp(np.cumsum(numbers(r).normal(0, 0.01, n)))
    table = np.column_stack([close, close * 1.01, close * 0.99, close, np.full(n, 1e6)])
    return table[:, : 4 + volume].tolist()


def frame(r: random.Random, n: int, dated: bool | None = None) -> pd.DataFrame:
    """A sound frame, with dates or without."""
    out = pd.DataFrame(rows(r, n), columns=COLUMNS)
    if r.random() < 0.7 if dated is None else dated:
        freq = r.choice(["B", "D", "h", "7D", "MS"] if n <= 1000 else ["h", "min"])
        out.insert(0, "date", pd.date_range("2020-01-01", periods=n, freq=freq))
    return out


def prices(r: random.Random, n: int) -> np.ndarray:
    """Closes [n] of a series that no market has."""
    i = np.arange(n)
    kinds = [
        np.full(n, r.choice([1e-12, 1e-9, 1.0, 7.25, 1e15, 0.0, -5.0, 1e-13, 1e308])),
        np.where(i % 2, 1e15, 1e-12),
        np.where(i < n - 1, *r.sample([1e15, 1e-12], 2)),
        np.where(i == n // 2, 1e6, 1.0),
        np.geomspace(*r.sample([1e15, 1e-12], 2), n),
        10.0 ** numbers(r).uniform(-12, 15, n),
        100 + numbers(r).standard_cauchy(n),
    ]
    return r.choice(kinds)


def some(r: random.Random, values: list[Any], n: int) -> pd.Series:
    return pd.Series([r.choice(values) for _ in range(n)], dtype=object)


# -- kinds of inputs


def odd_thing(r: random.Random) -> Any:
    return r.choice([*ODD, *SYMBOLS, *DATES])


def nested(r: random.Random, depth: int = 0) -> Any:
    """Lists and dicts of lists and dicts of anything."""
    if depth > 3 or r.random() < 0.2:
        return r.choice(ODD)
    inner = [nested(r, depth + 1) for _ in range(r.randrange(6))]
    return r.choice([list, tuple, lambda part: dict(zip(r.sample(KEYS, len(part)), part))])(inner)


def odd_text(r: random.Random) -> Any:
    names = ["stocks\0", "/", "..", "~", "/dev/null", "/dev/zero", "/nonexistent/file.csv", "a\0b"]
    names += ["x" * 10_000_000, "https://127.0.0.1:9/x.csv", "é\udc80", FOLDER, b"/nonexistent"]
    names += [__file__, Path("x" * 300), "owner/name", "open,high,low,close\n1,1,1,1"]
    return r.choice(names)


def odd_stream(r: random.Random) -> Any:
    good, raw, head = (
        frame(r, 70).to_csv(index=False),
        r.randbytes(200),
        "Date,Open,High,Low,Close\n",
    )
    texts = ["", "\n\n", "\0", head, head + "x", head + "2020-01-01,1,2,3\n", good, "," * 5000]
    texts += [good.replace(",", ";"), good.replace("\n", "\r"), good[: len(good) // 2], head * 50]
    texts += [good + "x,y,z\n", good.replace("2020", "9999"), "\ufeff" * 3 + good, '"' * 99]
    texts += [head + '"' + "x" * 200_000, "Price,Close\nTicker,A\nDate,\n2020-01-01,5\n"]
    raws = [raw, b"PAR1" + raw, b"\x1f\x8b" + raw, good.encode("utf-16"), head.encode() + raw]
    content = r.choice([*ODD, 2**40])
    reader = types.SimpleNamespace(read=lambda *_: content)
    return r.choice([*map(io.StringIO, texts), *map(io.BytesIO, raws), reader])


def odd_cells(r: random.Random) -> Any:
    table = rows(r, max(size(r), 1), r.random() < 0.7)
    for _ in range(r.randrange(1, 4)):
        row = r.choice(table)
        row[r.randrange(len(row))] = r.choice(ODD)
    columns = dict(zip(COLUMNS, map(list, zip(*table))))
    return r.choice([table, tuple(map(tuple, table)), columns, {"A": table}])


def odd_widths(r: random.Random) -> Any:
    table = rows(r, size(r))
    for row in table[: r.randrange(1, 5)]:
        row[:] = r.choice([[], row[:-1], row[:3], [*row, 1.0], row + row[:2], row * 10])
    return r.choice([table, {"A": table, "B": rows(r, 3)}, [table], [*table, r.choice(ODD)]])


def odd_prices(r: random.Random) -> Any:
    table = pd.DataFrame(dict.fromkeys(OHLC, prices(r, r.choice([2, 3, 10, 60, 61, 100, 260]))))
    if r.random() < 0.5:
        table["volume"] = r.choice([1e308, 5e-324, -1.0, 0.0, INF, NAN])
    if r.random() < 0.3:
        table["open"], table["low"] = prices(r, len(table)), prices(r, len(table))
    if r.random() < 0.5:
        freq = r.choice(["B", "min", "QS"])
        table["date"] = pd.date_range("2020-01-01", periods=len(table), freq=freq)
    return table if "date" in table or r.random() < 0.5 else table.to_numpy()


def odd_dates(r: random.Random) -> Any:
    n = r.choice([1, 2, 3, 10, 70])
    table, days, i = frame(r, n, dated=False), pd.date_range("2020-01-01", periods=n), np.arange(n)
    kinds = [
        some(r, DATES, n),
        pd.Series([r.choice(DATES)] * n, dtype=object),
        pd.Series([*days[:-1].astype(str), r.choice(DATES)], dtype=object),
        days[::-1],
        days.repeat(2)[:n],
        numbers(r).permutation(days),
        days.tz_localize(r.choice(["Asia/Tokyo", "America/New_York"])),
        [day.tz_localize(r.choice(["Asia/Tokyo", "UTC"])) for day in days],
        i.astype("datetime64[Y]") + r.choice([0, 10_000, -10_000, 200, 290]),
        np.datetime64("2262-04-11", "ns") - i[::-1],
        np.datetime64("1678-01-01", "ns") + i,
        pd.period_range("2020-01", periods=n, freq=r.choice(["M", "D", "Y"])),
        pd.interval_range(0, n),
        pd.to_timedelta(i, "D"),
        pd.Categorical(days),
        pd.array(20200101 + i, dtype="Int64"),
        i * 1e300,
        np.full(n, True),
    ]
    table["date"] = r.choice(kinds)
    return table if r.random() < 0.7 else table.set_index("date")


def odd_frames(r: random.Random) -> Any:
    table = frame(r, size(r))
    labels = [*table.columns]
    other = [r.choice(LABELS) for _ in labels]
    tickers = [r.choice(["A", "B", "", "LOW", "x" * 300, None, 5]) for _ in labels]
    levels = pd.MultiIndex.from_arrays(r.sample([labels, tickers], 2))
    holes = numbers(r).random(table.shape) < 0.2
    return r.choice(
        [
            table.set_axis(pd.Index(other, tupleize_cols=False), axis=1),
            table.set_axis(levels, axis=1),
            pd.DataFrame(index=range(5)),
            table.iloc[:0],
            table.drop(columns=r.choice(labels)),
            table.T,
            pd.concat([table, table[["close"]]], axis=1),
            pd.concat([table, table]),
            table["close"],
            table.astype(object).mask(holes, r.choice([None, "", NAN])),
            table.set_axis(pd.Index(some(r, DATES, len(table)), dtype=object), axis=0),
            table.set_axis([0] * len(table), axis=0),
            table.assign(symbol=some(r, ["A", "B"], len(table))),
            table.assign(**{f"c{i}": 0 for i in range(300)}),
        ]
    )


def odd_symbols(r: random.Random) -> Any:
    table, names = frame(r, r.choice([2, 3, 70])), [r.choice(SYMBOLS) for _ in range(3)]
    keys = [name for name in names if not isinstance(name, list | dict)]
    one = pd.Series([names[0]] * len(table), dtype=object)
    return r.choice(
        [
            table.assign(symbol=one),
            table.assign(symbol=one, close=-1.0),
            table.assign(symbol=some(r, names, len(table))),
            {name: table.iloc[: r.choice([1, 2, 70])] for name in keys},
            {name: rows(r, 2) for name in keys},
            {name: r.choice(ODD) for name in keys},
        ]
    )


def odd_dicts(r: random.Random) -> Any:
    own: dict[Any, Any] = {"open": [1.0]}
    own["close"] = own
    deep: Any = [1.0]
    for _ in range(r.choice([5, 5000])):
        deep = r.choice([[deep], {"A": deep}])
    loop: list[Any] = []
    loop.append(loop)
    columns = {k: [1.0, 2.0, 3.0] for k in COLUMNS}
    odd_column = r.choice([[1.0], 5.0, None, "abc", {0: 1.0, 5: 2.0}, {}, iter([1.0])])
    odd_table = r.choice([{}, [], None, pd.DataFrame(), {"A": columns}, own])
    kinds = [{}, own, deep, loop, [loop, loop], columns | {"close": odd_column}, [columns, columns]]
    kinds += [{5: columns, None: columns}, dict.fromkeys(COLUMNS, 5.0), [{}, {}], {"A": odd_table}]
    kinds += [{"A": odd_table, "B": rows(r, 3)}, [dict(zip(COLUMNS, row)) for row in rows(r, 5)]]
    kinds += [types.MappingProxyType(columns), collections.UserDict(columns)]
    kinds += [{f"{k}\0": v for k, v in columns.items()}, {k: np.ones((3, 1)) for k in COLUMNS}]
    return r.choice(kinds)


def odd_arrays(r: random.Random) -> Any:
    good = np.array(rows(r, r.choice([2, 70])))
    kinds = ["f2", "i8", "?", "O", "U5", "S5", "c16", "M8[ns]", "m8[s]", "g", ">f8", "V8"]
    arrays = [np.zeros(0), np.zeros((0, 5)), np.zeros((5, 0)), good[None], good[0], good[:, :3]]
    arrays += [
        good.T,
        np.full((3, 5), NAN),
        good[::-1, ::-1],
        np.asfortranarray(good),
        good * 0 - 5,
    ]
    arrays += [np.zeros((3, 5), r.choice(kinds)), good.astype(r.choice(kinds[:5])), np.matrix(good)]
    arrays += [np.ma.masked_greater(good, 50), np.rec.fromarrays(good.T, names=COLUMNS)]
    table = good.tolist()
    others = [iter(table), range(100), collections.deque(table), [b"12345"] * 3, [*table, table]]
    others += [[pd.Series(row) for row in table], memoryview(good), pd.array(good[:, 0]), [[1.0]]]
    return r.choice([*arrays, *others, np.full((70, 4), "é\udc80")])


HUGE: tuple[Callable[[random.Random], Any], ...] = (  # a few only: up to seconds each
    lambda r: rows(r, 100_000),
    lambda r: frame(r, 100_000).astype(str),
    lambda r: [None] * 100_000,
    lambda r: {f"S{i}": rows(r, 2) for i in range(500)},
    lambda r: io.StringIO(frame(r, 30_000).to_csv(index=False)),
    lambda r: pd.DataFrame(np.ones((20, 3_000))),
)
KINDS = [odd_cells, odd_prices, odd_dates, odd_frames, odd_symbols, odd_dicts]
KINDS += [odd_arrays]
KINDS += [*KINDS, odd_widths, odd_thing, odd_text, odd_stream, nested]


def hostile(seed: int) -> tuple[str, Any]:
    """The kind and the source that the seed stands for."""
    r = random.Random(seed)
    if seed % 100 == 0:
        return f"huge {seed // 100 % len(HUGE)}", HUGE[seed // 100 % len(HUGE)](r)
    make = r.choice(KINDS)
    return make.__name__, make(r)


def options(seed: int) -> dict[str, Any]:
    """Mostly what a forecast takes, and for every third seed anything."""
    r = random.Random(-seed - 1)
    if seed % 100 == 0:  # of the huge ones: 100,000 origins take half a minute, which is no fault
        return {}
    if seed % 3:
        return r.choice([{}, {}, {"horizon": 3}, {"level": 0.5}, {"origins": "all"}])
    kinds = {"horizon": HORIZONS, "level": LEVELS, "origins": ORIGINS}
    kinds |= {"weights": WEIGHTS, "calendar": CALENDARS}
    return {name: r.choice(values) for name, values in kinds.items() if r.random() < 0.3}
