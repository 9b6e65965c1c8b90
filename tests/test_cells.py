"""Numbers in any spelling: one decimal mark for the whole file."""

import io

import numpy as np
import pandas as pd
import pytest
from test_read import bars_of, inferred, refuses, same

from tftnhits.data.bars import load_bars, repairs
from tftnhits.data.cells import parse_numbers
from tftnhits.data.names import COLUMNS, PRICES


def numbers(*cells, **options):
    return parse_numbers({"volume": pd.Series(cells, dtype=object)}, **options)


SPELLINGS = {
    **{"1.38M": 1.38e6, "12K": 12e3, "2.5B": 2.5e9, "1,234.5": 1234.5, "12,34,567.5": 1234567.5},
    **{"$1,234.50": 1234.5, "1234.5 €": 1234.5, "0.87%": 0.87, "+1.5": 1.5, "-1.5": -1.5},
    **{"1 234.5": 1234.5, "1\u00a0234.5": 1234.5, "1\u2009234\u2009567.5": 1234567.5},
    **{"1'234.5": 1234.5, ".5": 0.5, "1.5万": 15e3, "1.5亿": 1.5e8, "1.5 млн": 1.5e6},
    **{" 12 ": 12.0, "1.25 USD": 1.25, "1.5e3": 1500.0},
}


@pytest.mark.parametrize("cell", SPELLINGS)
def test_spellings(cell):
    out = numbers(cell, "3.5")
    assert out.values["volume"].tolist() == [SPELLINGS[cell], 3.5] and out.decimal == "."
    assert not out.bad["volume"].any()
    if "." in cell:  # the same with a decimal comma
        swapped = cell.replace(",", "\0").replace(".", ",").replace("\0", ".")
        out = numbers(swapped, "3,5")
        assert out.values["volume"].tolist() == [SPELLINGS[cell], 3.5] and out.decimal == ","


@pytest.mark.parametrize(
    "cell", ["cheap", "1_000", "0x10", "1,2,3.4.5", "1.2.3,4,5", "1 2", "5 apples", "--5", "(1.5)"]
)
def test_what_is_no_number(cell):
    assert numbers(cell, "3.5").bad["volume"].tolist() == [True, False]


@pytest.mark.parametrize("cell", ["5m", "5%", "5K"])
def test_a_price_takes_no_unit(cell):
    """5m among 5s is a slip, and no five million."""
    out = parse_numbers({"close": pd.Series([cell, "5.5"])})
    assert out.bad["close"].tolist() == [True, False]


@pytest.mark.parametrize("word", ["", "-", "--", "n/a", "NaN", "null", "None", "#N/A", "."])
def test_words_for_nothing(word):
    assert np.isnan(numbers(word, "3.5").values["volume"][0])


def test_a_decimal_comma_is_one_for_the_whole_file():
    bars = bars_of(price=100.0)
    text = bars.assign(date=bars["date"].dt.strftime("%d.%m.%Y")).astype(str)
    for name in COLUMNS[2:]:
        text[name] = [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in bars[name]]
    for separator in (";", "\t", "|", ","):
        read = load_bars(io.StringIO(text.to_csv(index=False, sep=separator)))
        same(read, bars)
        assert "decimal comma" in inferred(read) and not read.attrs["doubts"]


def test_three_decimals_after_a_comma_are_no_thousands_where_they_need_not_be():
    bars = bars_of(price=0.02, digits=3)
    cells = bars[list(PRICES)].map(lambda value: f"{value:.3f}".replace(".", ","))
    table = bars.astype({"volume": int}).assign(**cells, date=bars["date"].dt.strftime("%d.%m.%Y"))
    same(load_bars(io.StringIO(table.to_csv(index=False, sep=";"))), bars)


def test_where_nothing_tells_the_result_says_so():
    cells = [["2020-01-02", "1,474", "1,480", "1,470", "1,475"]] * 2
    table = pd.DataFrame(cells, columns=["date", *PRICES]).assign(date=["2020-01-02", "2020-01-03"])
    for separator, close, other in ((",", 1475, ","), (";", 1.475, ".")):
        text = table.to_csv(index=False, sep=separator)
        read = load_bars(io.StringIO(text))
        assert read["close"][0] == close and f"decimal={other!r}" in read.attrs["doubts"]["all"][0]
        assert not load_bars(io.StringIO(text), decimal=other).attrs["doubts"]
    # what stands beside it without a mark is of the same size
    mixed = "date;open;high;low;close\n2020-01-02;998;1,010;990;1,001\n2020-01-03;1,001;1,020;995;9"
    read = load_bars(io.StringIO(mixed + "99\n"))
    assert read["close"].tolist() == [1001, 999] and not read.attrs["doubts"]


def test_a_cell_against_the_mark_of_all_others_is_told():
    bars = bars_of().astype({"close": object}).astype(str)
    bars.loc[7, "close"] = "50,1"
    refuses(bars, "row 8", "'50,1'")


def test_only_odd_spellings_of_a_text_file_count():
    text = 'Date,Open,High,Low,Close\n2020-01-02,10,11,9,10.5\n2020-01-03,"1,010.5",1200,10,n/a\n'
    report = repairs(load_bars(io.StringIO(text))).set_index("repair")["count"]
    assert report["number written as text"] == 1
    assert repairs(load_bars(bars_of().astype(dict.fromkeys(PRICES, str))))["count"].sum() == 320
