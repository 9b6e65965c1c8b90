"""What a column is: synonyms of the field's names, one normal form for all of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..errors import DataError, one_line, shown

PRICES = ("open", "high", "low", "close")
COLUMNS = ("symbol", "date", *PRICES, "volume")
ADJUSTED = tuple(f"adj{name}" for name in (*PRICES, "volume"))

# What files call our columns, the preferred name first: English and short forms, then Chinese,
# Japanese, Korean, Russian, German, French, Spanish and Portuguese. All in the form of `normal`.
SYNONYMS = {
    "symbol": """symbol ticker tscode stockcode seccode sccode secid code uniqueid asset
        instrument contract security pair stock sym coin ric isin permno 股票代码 证券代码
        證券代碼 合约代码 代码 代碼 銘柄コード 証券コード コード 종목코드 티커 тикер код
        инструмент kürzel wertpapier valeur símbolo simbolo symbole código codigo ativo papel
        name stockname 名称 銘柄 종목명 название""",
    "date": """datetime date tradedate tradingdate tradingday timestamp opentime gmttime
        localtime utctime datetimeutc datetimegmt begin starttime barstart candlebegintime day dt
        ds ts quotedate pricedate unix unixtime unixtimestamp epoch t 日期 交易日期 交易日
        交易时间 时间戳 日付 日時 年月日 날짜 일자 дата датаивремя datum fecha data jour""",
    "time": "time timeofday 时间 時間 時刻 시간 время uhrzeit zeit heure hora",
    "open": """open openprice priceopen openingprice o bidopen first 开盘价 开盘 開盤價 開盤 始値
        시가 откр открытие ценаоткрытия eröffnung eroeffnung eröffnungskurs erster ouverture ouv
        apertura abertura""",
    "high": """high highprice pricehigh h bidhigh max maximum 最高价 最高 最高價 高値 고가 макс
        максимум hoch hochkurs tageshoch höchst plushaut haut máximo maximo máxima maxima máx
        alto alta""",
    "low": """low lowprice pricelow l bidlow min minimum 最低价 最低 最低價 安値 저가 мин минимум
        tief tiefkurs tagestief tiefst plusbas bas mínimo minimo mínima minima mín bajo baixo
        baixa""",
    "close": """close closeprice priceclose closingprice closelast c bidclose last lastprice
        settle price 收盘价 收盘 收盤價 收盤 終値 종가 цена закр закрытие ценазакрытия schluss
        schlusskurs letzter clôture cloture dernier cierre último ultimo fechamento preço""",
    "volume": """volume vol v tickvolume tickvol realvolume basevolume tradedvolume totalvolume
        tradevolume noofshrs shares quantity qty 成交量 出来高 거래량 объём объем volumen stück
        volumes volumenegociado""",
    **{
        f"adj{name}": f"adj{name} adjusted{name} {name}adj {name}adjusted adj{name}price {more}"
        for name, more in zip(
            (*PRICES, "volume"), ("", "", "", "调整收盘价 調整後終値 수정종가 adjclosing", "")
        )
    },
}
ROLE = {
    name: (role, rank)
    for role, names in reversed(SYNONYMS.items())
    for rank, name in enumerate(names.split())
}
# a volume column of this ending counts money, not pieces: it is taken only if there is no other
MONEY = ("usd", "usdt", "usdc", "busd", "eur", "gbp", "jpy", "cny", "krw", "quote", "quoteasset")
_ENUMERATED = re.compile(r"^\s*\d+[a-z]?\.\s+")  # "1. open", "1a. open (USD)"
_BRACKETS = re.compile(r"\(.*?\)|\[.*?\]|\{.*?\}|（.*?）")


def text_of(cell: object) -> str:
    """The cell as text that can be written as UTF-8."""
    try:
        text = str(cell)
    except (ValueError, RecursionError):  # an integer of 5,000 digits
        text = shown(cell)
    return text.strip().encode("utf-8", "replace").decode()


def normal(label: Any) -> str:
    """The label in small letters, without signs, spaces and what stands in brackets."""
    text = unicodedata.normalize("NFKC", text_of(label)[:200]).casefold()
    text = _BRACKETS.sub(" ", _ENUMERATED.sub("", text))
    return re.sub(r"[\W_]+", "", text)


def role_of(label: Any) -> tuple[str, int] | None:
    """The role that a label names and its rank among the synonyms; None if it names none."""
    name = normal(label)
    if name in ROLE:
        return ROLE[name]
    if name.startswith("volume"):
        return "volume", 200 if name[6:] in MONEY else 100
    return None


def match_columns(labels: Iterable[Any]) -> dict[str, list[int]]:
    """Positions of the columns that name each role, the preferred first.

    Raises DataError where two columns have one name.
    """
    candidates: dict[str, list[tuple[int, int, str]]] = {}
    for i, label in enumerate(labels):
        if match := role_of(label):
            candidates.setdefault(match[0], []).append((match[1], i, normal(label)))
    for role, places in candidates.items():
        names = [name for _, _, name in places]
        if role in COLUMNS and len({*names}) < len(names):
            raise _twice(role, labels)
    return {role: [i for _, i, _ in sorted(places)] for role, places in candidates.items()}


def _twice(label: Any, labels: Iterable[Any]) -> DataError:
    name = one_line(text_of(label))
    return DataError(
        f"Column {name} is there more than once; found {listed(labels)}. Keep one of them."
    )


def listed(labels: Iterable[Any]) -> str:
    """The first column names, for a message."""
    return one_line(", ".join(text_of(label) for label in list(labels)[:12]), 160) or "none"


def chosen_columns(given: Any, labels: pd.Index) -> dict[str, int]:
    """The positions of the columns that a user names by role; raises DataError on others."""
    if not isinstance(given, dict | None):
        raise DataError(f"columns is {shown(given)}; give a dict such as {{'date': 'trade_date'}}.")
    places = {}
    for role, label in (given or {}).items():
        if role not in SYNONYMS:
            raise DataError(
                f"There is no role {shown(role)}; name columns for {', '.join(COLUMNS)}."
            )
        exact = [i for i, name in enumerate(labels) if text_of(name) == text_of(label)]
        close = exact or [i for i, name in enumerate(labels) if normal(name) == normal(label)]
        if not close:
            raise DataError(f"There is no column {shown(label)}; found {listed(labels)}.")
        if len(close) > 1:
            raise _twice(label, labels)
        places[role] = close[0]
    return places
