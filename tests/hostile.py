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

# fmt: off
ODD: tuple[Any, ...] = (
    *(None, NAN, INF, -INF, 0, 0.0, -0.0, -1, -1e-300, 5e-324, 1e-12, 1e15, 1e16, 1e308, -1e308, 2**63, 2**64, 2**70),
    *(10**400, 10**5000, -(10**5000), True, False, 3 + 1j, complex(NAN, INF), Decimal("1.5"), Decimal("NaN"), b""),
    *(Decimal("sNaN"), Decimal("Infinity"), Decimal("1e400"), Fraction(1, 3), Fraction(10**400, 1), bytearray(b"5")),
    *("", " ", "x", "1.5", "1,234.5", "nan", "inf", "-inf", "1e999", "1_000", "٣", "½", "5%", "$5", "\0", "é\udc80"),
    *("x" * 999, [], (), {}, [1.0], [[1.0]], {1}, range(3), object, len, ..., NotImplemented, pd.NA, pd.NaT, Path("x")),
    *(np.datetime64("NaT"), np.timedelta64("NaT"), np.datetime64("2020"), pd.Timestamp("2020"), pd.Timedelta(1)),
    *(np.float32(1e38), np.float16(INF), np.int8(-128), np.bool_(True), np.complex64(1j), np.str_("7"), slice(3)),
    *(np.array(5.0), np.array([]), np.array([[1.0]]), pd.Series([1.0]), pd.DataFrame(), pd.Interval(1, 2)),
    *(pd.Period("2020"), date(2020, 1, 2), datetime(2020, 1, 2, tzinfo=timezone.utc), np.longdouble("1e300"), b"5"),
)
DATES: tuple[Any, ...] = (
    *("2020-01-02", "2020-01-02T00:00Z", "2020-01-02 09:30+05:30", "02/01/2020", "1.2.2020", "31.12.2020", "soon", ""),
    *("99999999", "20200102", "9999-12-31", "0001-01-01", "-5000-01-01", "24:00", "2020-02-30", "12345678901234567890"),
    *("2020-W05", "2020Q1", "now", "today", "2020-01-02 25:61", "2020-01-02" + "0" * 500, "1e9", "٢٠٢٠-٠١-٠٢", "\0"),
    *(20200102, 20200102.0, 2e7, 1577923200, 1577923200000, 10**18, 10**30, 10**5000, -1, 0, NAN, INF, -INF, True),
    *(np.datetime64("1500-01-01", "s"), np.datetime64("9999-01-01", "D"), np.datetime64("NaT"), Decimal("sNaN"), []),
    *(pd.Timestamp("2020-01-02", tz="Asia/Tokyo"), pd.Timestamp.max, pd.Timestamp.min, pd.Period("2020-01", "M")),
    *(date.max, date.min, datetime.max, datetime(2020, 1, 2, tzinfo=timezone.utc), None, pd.NA, b"2020-01-02"),
    *(np.datetime64(2**62, "s"), {}),
)
SYMBOLS: tuple[Any, ...] = (
    *("", " ", "A\0B", "\n", "A\r\nB", "\x1b[31mRED", "x" * 300, "x" * 10_000, "../../etc/passwd", "/etc/passwd"),
    *("\u202eABC", "\u2028", "{}", "{0}", "%s", "<script>", "NaN", "None", "all", "symbol", "date", "A" * 60 + "\t"),
    *(None, NAN, pd.NA, 5, 5.0, 10**5000, True, b"A", ("A", 1), ("A",), [], {}, datetime(2020, 1, 2), pd.NaT, INF),
    *("é\udc80", "CON", 1j),
)
KEYS = (*COLUMNS, "date", "symbol", "A", "", None, 1, ("open", "A"), NAN)
LABELS = (*COLUMNS, "Open", "CLOSE", "Adj Close", "ticker", "timestamp", "", 0, None, ("a", "b"), NAN, 1.5, "\0")
TYPES = (
    *("category", "Float64", "Int64", "string", "str", "object", "boolean", "bool", "complex128", "float16", "float32"),
    *("int8", "uint64", "double[pyarrow]", "int64[pyarrow]", "string[pyarrow]", "date32[pyarrow]", "Sparse[float]"),
    *("datetime64[ns]", "timedelta64[s]", "period[D]", "decimal", "list", "null", "interval", "longdouble"),
)
HORIZONS = (1, 3, 5, np.int64(2), 0, -1, 6, 10**5000, 2.0, NAN, "5", None, True, [5], b"1", ODD)
LEVELS = (
    *(0.5, 0.8, 1e-9, 1 - 1e-9, 5e-324, 1 - 2**-53, 1e-13, np.float32(0.9), 0, 1, -1, 2, NAN, INF, "0.9", None, True),
    *(10**5000, Decimal("0.9"), Fraction(1, 2), np.float64(NAN), 0.9j, [0.9], np.array(0.9), np.array([0.5, 0.9])),
)
ORIGINS = ("last", "all", "ALL", "", None, 5, ["last"], np.array(["all", "last"]), b"all", {}, True, 10**5000)
WEIGHTS = (
    *({"tft": 1}, {"tft": 1.0, "nhits": 0.0}, {"nhits": 5}, {"tft": 1e308, "nhits": 1e308}, {"tft": 5e-324}, {}),
    *({"tft": 0}, {"tft": -1, "nhits": 2}, {"tft": NAN}, {"tft": INF}, {"gpt": 1}, {"tft": "x"}, {"tft": None}, {5: 1}),
    *({"tft": [1]}, {"tft": 10**400}, {"tft": True}, {"tft": 1j}, {None: 1, "x": 2}, [0.5, 0.5], "tft", (("tft", 1),)),
    *(np.array([0.5, 0.5]), pd.Series({"tft": 1.0}), pd.DataFrame(), {"x" * 999: 1}, {"a\nb": 1}, {("a",): 1}),
    *(5, None),
)
CALENDARS = (
    *("XNYS", "XTKS", "24/7", "xnys", "XXXX", "", " ", "../x", "x" * 5000, "a\nb", "\x1b[2J", "\udc80", "\0", b"XNYS"),
    *(5, None, True, NAN, 10**5000, ["XNYS"], {}, {"series": "XNYS"}, {"series": None}, {"series": 5}, {5: "XNYS"}),
    *({"x": 1}, {"series": ["XNYS"]}, {"series": "XXXX"}, {"series": 10**5000}, np.array(["XNYS"])),
    pd.Series({"series": "XNYS"}),
)
JSON = (
    *(None, True, 0, -1, 1, 2, 7, 0.5, 1e-300, 1e308, -1e308, NAN, INF, 10**6, 10**18, 10**400, "", "x", "tft", "\0"),
    *([], {}, [1], [[1]], {"a": 1}, [None], [1, 2, 3], "../x", [10**9], "x" * 999, "a\nb", "\x1b[2J"),
)
# fmt: on


# -- parts of inputs


def size(r: random.Random) -> int:
    """Mostly short: what breaks, breaks early."""
    return r.choice([0, 1, 2, 2, 3, 4, 5, 7, 20, 58, 59, 60, 61, 62, 64, 100, 260])


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
    kinds = (
        lambda: np.full(n, r.choice([1e-12, 1e-9, 1.0, 7.25, 1e15])),
        lambda: np.where(i % 2, 1e15, 1e-12),
        lambda: np.where(i < n - 1, *r.sample([1e15, 1e-12], 2)),
        lambda: np.where(i == n // 2, 1e6, 1.0),
        lambda: np.geomspace(*r.sample([1e15, 1e-12], 2), n),
        lambda: 10.0 ** numbers(r).uniform(-12, 15, n),
        lambda: np.full(n, r.choice([0.0, -5.0, 1e-13, 1.1e15, 1e308, 5e-324])),
        lambda: 100 + numbers(r).standard_cauchy(n),
        lambda: np.nextafter(np.ones(n), np.where(i % 2, 2, 0)),
    )
    return r.choice(kinds)()


# -- kinds of inputs


def odd_thing(r: random.Random) -> Any:
    return r.choice([*ODD, *SYMBOLS, *DATES])


def nested(r: random.Random, depth: int = 0) -> Any:
    """Lists and dicts of lists and dicts of anything."""
    if depth > 3 or r.random() < 0.2:
        return r.choice(ODD)
    inner = [nested(r, depth + 1) for _ in range(r.randrange(6))]
    return r.choice(
        [lambda: inner, lambda: tuple(inner), lambda: dict(zip(r.sample(KEYS, len(inner)), inner))]
    )()


# fmt: off
def odd_text(r: random.Random) -> Any:
    return r.choice([
        *("stocks\0", "/", ".", "..", "~", "/dev/null", "/dev/zero", "/nonexistent/file.csv", "a\0b", "x" * 10_000_000),
        *("x" * 5000, "\0" * 300, "https://127.0.0.1:9/x.csv", "s3://bucket/x", "é\udc80", str(FOLDER), FOLDER, "CON"),
        *(Path("a\0b"), b"/nonexistent", b"\xff\xfe", "owner/name", Path(__file__), __file__, Path("x" * 300)),
        *(frame(r, r.choice([0, 1, 3, 70])).to_csv(index=False), "open,high,low,close\n1,1,1,1\n1,1,1,1"),
    ])


def odd_stream(r: random.Random) -> Any:
    good, raw, head = frame(r, 70).to_csv(index=False), r.randbytes(200), "Date,Open,High,Low,Close\n"
    texts = [
        *("", "\n\n", "\0", head, head + "x", head + "2020-01-01,1,2,3\n", head + "2020-01-01,1,2,3,4,5,6\n", good),
        *(good.replace(",", ";"), good.replace("\n", "\r"), good.replace("close", "open"), good[: len(good) // 2]),
        *(good + "x,y,z\n", head * 50, "a,b\n1,2\n", "," * 5000, good.replace("2020", "9999"), "\ufeff" * 3 + good),
        *(head + '"' + "x" * 200_000, "Price,Close\nTicker,A\nDate,\n2020-01-01,5\n", "Price\nTicker\n", '"' * 99),
    ]
    closed = io.StringIO("x")
    closed.close()
    raws = (raw, b"PAR1" + raw, b"\x1f\x8b" + raw, good.encode("utf-16"), head.encode() + raw)
    content = r.choice([*ODD, 2**40])
    reader = types.SimpleNamespace(read=lambda *_: content)
    return r.choice([*map(io.StringIO, texts), *map(io.BytesIO, raws), closed, reader])


def odd_cells(r: random.Random) -> Any:
    table = rows(r, max(size(r), 1), r.random() < 0.7)
    for _ in range(r.randrange(1, 4)):
        row = r.choice(table)
        row[r.randrange(len(row))] = r.choice(ODD)
    return r.choice([table, tuple(map(tuple, table)), dict(zip(COLUMNS, map(list, zip(*table)))), {"A": table}])


def odd_widths(r: random.Random) -> Any:
    table = [(row * 10)[: r.choice([0, 1, 2, 3, 6, 7, 50])] for row in rows(r, size(r))]
    if r.random() < 0.5:
        table = rows(r, size(r))
        for row in table[: r.randrange(1, 5)]:
            row[:] = r.choice([[], row[:-1], row[:3], [*row, 1.0], row + row[:2]])
    array = np.empty(len(table), object)
    array[:] = table
    return r.choice([table, {"A": table, "B": rows(r, 3)}, array, [table], [*table, r.choice(ODD)]])


def odd_prices(r: random.Random) -> Any:
    close = prices(r, r.choice([2, 3, 10, 60, 61, 100, 260]))
    table = pd.DataFrame(dict.fromkeys(OHLC, close))
    if r.random() < 0.5:
        table["volume"] = r.choice([1e308, 5e-324, -1.0, 0.0, INF, NAN])
    if r.random() < 0.3:
        table["open"], table["low"] = prices(r, len(table)), prices(r, len(table))
    if r.random() < 0.5:
        table["date"] = pd.date_range("2020-01-01", periods=len(table), freq=r.choice(["B", "min", "QS"]))
    return table if "date" in table or r.random() < 0.5 else table.to_numpy()


def odd_dates(r: random.Random) -> Any:
    n = r.choice([1, 2, 3, 10, 70])
    table, days, i = frame(r, n, dated=False), pd.date_range("2020-01-01", periods=n), np.arange(n)
    kinds = (
        lambda: pd.Series([r.choice(DATES) for _ in i], dtype=object),
        lambda: pd.Series([r.choice(DATES)] * n, dtype=object),
        lambda: pd.Series([*days[:-1].astype(str), r.choice(DATES)], dtype=object),
        lambda: pd.Series([*days[:-1], r.choice(DATES)], dtype=object),
        lambda: days[::-1],
        lambda: days.repeat(2)[:n],
        lambda: numbers(r).permutation(days),
        lambda: days.tz_localize(r.choice(["Asia/Tokyo", "America/New_York"])),
        lambda: [day.tz_localize(r.choice(["Asia/Tokyo", "UTC"])) for day in days],
        lambda: i.astype("datetime64[Y]") + r.choice([0, 10_000, -10_000, 200, 290]),
        lambda: np.datetime64("2262-04-11", "ns") - i[::-1],
        lambda: pd.Timestamp.max - pd.to_timedelta(i[::-1], "D"),
        lambda: np.datetime64("1678-01-01", "ns") + i,
        lambda: np.datetime64("2261-12-20", "D") + i,
        lambda: pd.period_range("2020-01", periods=n, freq=r.choice(["M", "D", "Y"])),
        lambda: pd.interval_range(0, n),
        lambda: pd.to_timedelta(i, "D"),
        lambda: pd.Categorical(days),
        lambda: pd.array(20200101 + i, dtype="Int64"),
        lambda: i * 1e300,
        lambda: np.full(n, True),
    )
    table["date"] = r.choice(kinds)()
    return table if r.random() < 0.7 else table.set_index("date")


def odd_types(r: random.Random) -> Any:
    table, kind = frame(r, r.choice([2, 5, 70])), r.choice(TYPES)
    column = r.choice(COLUMNS)
    values, count = table[column], pd.Series(np.arange(len(table)))
    if kind in ("decimal", "list", "null"):
        import pyarrow as pa

        which = {"decimal": pa.decimal128(20, 4), "list": pa.list_(pa.float64()), "null": pa.null()}[kind]
        cell = {"decimal": Decimal("12.5"), "list": [1.0], "null": None}[kind]
        values = pd.Series(pd.array([cell] * len(table), dtype=pd.ArrowDtype(which)))
    elif kind == "interval":
        values = pd.Series(pd.interval_range(0, len(table)))
    elif kind.startswith("timedelta"):
        values = count.astype(kind)
    elif kind.startswith(("datetime", "date32", "period")):
        days = pd.Series(count.to_numpy().astype("datetime64[D]").astype("datetime64[ns]"))
        values = days.dt.to_period("D") if kind == "period[D]" else days.astype(kind)
    else:
        values = (values > 0 if kind == "boolean" else values.round() if "int" in kind.lower() else values).astype(kind)
    if r.random() < 0.5 and kind in ("category", "Float64", "Int64", "string", "double[pyarrow]", "int64[pyarrow]"):
        values = values.mask(count == r.randrange(len(table)))
    return table.assign(**{r.choice([column, column, column, "symbol", "date"]): values})


def odd_frames(r: random.Random) -> Any:
    table = frame(r, size(r))
    labels = [*table.columns]

    def relabelled() -> pd.DataFrame:
        return table.set_axis(pd.Index([r.choice(LABELS) for _ in labels], tupleize_cols=False), axis=1)

    def levels() -> pd.DataFrame:
        both = r.sample([labels, [r.choice(["A", "B", "", "LOW", "x" * 300, None, 5]) for _ in labels]], 2)
        return table.set_axis(pd.MultiIndex.from_arrays(both + both[:1] * (r.random() < 0.2)), axis=1)

    def some(values: tuple[Any, ...]) -> pd.Series:
        return pd.Series([r.choice(values) for _ in range(len(table))], dtype=object)

    return r.choice([
        relabelled, levels, relabelled, levels, pd.DataFrame, lambda: pd.DataFrame(index=range(5)),
        lambda: table.iloc[:0], lambda: table.drop(columns=r.choice(labels)),
        lambda: pd.concat([table, table], axis=1), lambda: table.T,
        lambda: pd.concat([table, table[["close"]]], axis=1), lambda: pd.concat([table, table]),
        lambda: table["close"], lambda: table.to_numpy(),
        lambda: table.stack() if len(table) else table["close"],
        lambda: table.astype(object).mask(numbers(r).random(table.shape) < 0.2, r.choice([None, "", NAN])),
        lambda: table.set_axis(pd.Index(some(DATES), dtype=object), axis=0),
        lambda: table.set_axis([0] * len(table), axis=0), lambda: table.assign(symbol=some(("A", "B"))),
        lambda: table.rename_axis("date" if "date" in table else "symbol"),
        lambda: table.assign(**{f"c{i}": 0 for i in range(300)}),
    ])()


def odd_symbols(r: random.Random) -> Any:
    table, names = frame(r, r.choice([2, 3, 70])), [r.choice(SYMBOLS) for _ in range(3)]
    keys = [name for name in names if not isinstance(name, list | dict)]

    def named(some: list[Any], **changes: Any) -> pd.DataFrame:
        cells = [some[i % len(some)] for i in range(len(table))]
        return table.assign(symbol=pd.Series(cells, dtype=object), **changes)

    return r.choice([
        lambda: named(names[:1]), lambda: named(names[:1], close=-1.0), lambda: named(names),
        lambda: {name: table.iloc[: r.choice([1, 2, 70])] for name in keys},
        lambda: {name: rows(r, 2) for name in keys}, lambda: {name: r.choice(ODD) for name in keys},
        lambda: table.set_axis(pd.MultiIndex.from_product([["x" * 300], table.columns]), axis=1),
    ])()


def odd_dicts(r: random.Random) -> Any:
    own: dict[Any, Any] = {"open": [1.0]}
    own["close"] = own
    deep: Any = [1.0]
    for _ in range(r.choice([5, 5000])):
        deep = r.choice([[deep], {"A": deep}])
    loop: list[Any] = []
    loop.append(loop)
    columns = {k: [1.0, 2.0, 3.0] for k in COLUMNS}
    return r.choice([
        lambda: {}, lambda: own, lambda: {"A": own}, lambda: deep, lambda: loop, lambda: [loop, loop],
        lambda: {"A": {"A": own}},
        *(lambda value=value: columns | {"close": value} for value in ([1.0], 5.0, None, "abc", {0: 1.0, 5: 2.0}, {})),
        lambda: columns | {"close": iter([1.0])}, lambda: columns | {"date": "2020-01-01"},
        lambda: {5: columns, None: columns}, lambda: dict.fromkeys(COLUMNS, 5.0),
        lambda: {"A": columns, "B": rows(r, 3), "C": frame(r, 3, True)}, lambda: [columns, columns],
        lambda: [{}, {}], lambda: [dict(zip(COLUMNS, row)) for row in rows(r, 5)],
        lambda: [dict(zip(r.sample(COLUMNS, 4), row)) for row in rows(r, 5)],
        lambda: types.MappingProxyType(columns), lambda: collections.OrderedDict(columns),
        lambda: collections.UserDict(columns), lambda: {"A": {}}, lambda: {"A": []},
        lambda: {"A": [], "B": rows(r, 3)}, lambda: {"A": None}, lambda: {"A": pd.DataFrame()},
        lambda: {"A": {"A": columns}}, lambda: {f"{k}\0": v for k, v in columns.items()},
        lambda: {k.upper(): np.array(v)[:, None] for k, v in columns.items()},
    ])()


def odd_arrays(r: random.Random) -> Any:
    good = np.array(rows(r, r.choice([2, 70])))
    kinds = ("f2", "f4", "i8", "u1", "?", "O", "U5", "S5", "c16", "M8[ns]", "m8[s]", "g", ">f8", "V8")
    return r.choice([
        lambda: np.array(5.0), lambda: np.zeros(0), lambda: np.zeros((0, 5)), lambda: np.zeros((5, 0)),
        lambda: good[None], lambda: good[0], lambda: good[:, :3], lambda: np.zeros((2, 5, 5)), lambda: good.T,
        lambda: np.full((3, 5), NAN), lambda: good[::-1, ::-1], lambda: np.asfortranarray(good),
        lambda: np.ma.masked_greater(good, 50), lambda: good.astype(r.choice(kinds[:7])),
        lambda: np.zeros((3, 5), r.choice(kinds)), lambda: good.view("V40"),
        lambda: np.rec.fromarrays(good.T, names=COLUMNS), lambda: np.matrix(good), lambda: memoryview(good),
        lambda: pd.array(good[:, 0]), lambda: pd.Index(good[:, 0]), lambda: good.astype("U10"),
        lambda: good.astype(object), lambda: np.full((70, 4), "é\udc80"),
        lambda: np.full((70, 5), r.choice([0, 2**63 - 1, -5])),
    ])()


def odd_sequences(r: random.Random) -> Any:
    table = rows(r, 70)
    return r.choice([
        lambda: (row for row in table), lambda: iter(table), lambda: map(tuple, table), lambda: zip(*zip(*table)),
        lambda: range(100), lambda: set(map(tuple, table)), lambda: collections.deque(table), lambda: [range(1, 6)] * 3,
        lambda: [collections.deque(table[0])] * 2, lambda: [pd.Series(row) for row in table],
        lambda: [*map(np.array, table)], lambda: [*table, table], lambda: [b"12345"] * 3, lambda: ["12345"] * 3,
        lambda: [*table, []], lambda: [table[0]] * 70, lambda: [[v] for v in table],
        lambda: [np.array(row)[:, None] for row in table], lambda: tuple(table[0]),
        lambda: dict(enumerate(table)).values(), lambda: dict(enumerate(table)).items(),
        lambda: types.SimpleNamespace(a=table),
    ])()


def odd_lengths(r: random.Random) -> Any:
    n = r.choice([300, 500, 2000])
    return r.choice([rows(r, n), np.array(rows(r, n)), frame(r, n), prices(r, n)[:, None].repeat(4, 1)])


HUGE: tuple[Callable[[random.Random], Any], ...] = (  # a few only: up to seconds each
    lambda r: rows(r, 100_000),
    lambda r: frame(r, 100_000).astype(str),
    lambda r: np.full((100_000, 5), 1e-12),
    lambda r: [[1.0]] * 100_000,
    lambda r: [None] * 100_000,
    lambda r: {f"S{i}": rows(r, 2) for i in range(500)},
    lambda r: pd.concat([frame(r, 2, True).assign(symbol=f"S{i}") for i in range(500)]),
    lambda r: io.StringIO(frame(r, 30_000).to_csv(index=False)),
    lambda r: pd.DataFrame(np.ones((20, 3_000))),
    lambda r: {"A": {"A": prices(r, 100_000)}},
)
KINDS: tuple[Callable[[random.Random], Any], ...] = (
    *(odd_cells, odd_cells, odd_cells, odd_prices, odd_prices, odd_dates, odd_dates, odd_types, odd_types, odd_frames),
    *(odd_frames, odd_symbols, odd_symbols, odd_dicts, odd_dicts, odd_arrays, odd_arrays, odd_widths, odd_sequences),
    *(odd_thing, odd_text, odd_stream, nested, nested, odd_lengths),
)
# fmt: on


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
    kinds = {
        "horizon": HORIZONS,
        "level": LEVELS,
        "origins": ORIGINS,
        "weights": WEIGHTS,
        "calendar": CALENDARS,
    }
    return {name: r.choice(values) for name, values in kinds.items() if r.random() < 0.3}
