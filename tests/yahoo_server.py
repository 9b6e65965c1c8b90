"""A small Yahoo-Finance-shaped server on 127.0.0.1, for yfinance's real client.

It is a proxy that tunnels to nobody: with HTTPS_PROXY set to it, whatever host a client wants, it gets this server,
whose certificate is that of tests alone. So clients ask Yahoo's own addresses, and no request leaves the machine:
`seen` has them all. It knows what yfinance asks for: cookie, crumb, charts with splits, dividends, sessions and zones.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd

COOKIE, CRUMB = "d=tests", "cRuMb.tests"
# "cut" ends the JSON early, "html" is a page instead, "hang" answers nothing, "drop" closes the connection, "blank" is
# a chart without bars; a number is answered as HTTP status
FAULTS = ("cut", "html", "hang", "drop", "blank", 401, 429, 500, 502)
# of *.yahoo.com, self-signed, until 2120; it guards nothing
PAIR = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3+sTvFSnULX3wSjH
9dB8E9AAfljGeYJ3djvySrAQbuOhRANCAASEq0FYlYmCJoDyJZaJg+Shoc+j42/q
RUnieDlGiP4pMbwACSl4AB3092XGDdQXH0njnRTMVwMDRHOKMTVpwYxv
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBajCCAQ+gAwIBAgIBATAKBggqhkjOPQQDAjAcMRowGAYDVQQDDBF0ZXN0cyBv
ZiB0ZnRuaGl0czAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowHDEa
MBgGA1UEAwwRdGVzdHMgb2YgdGZ0bmhpdHMwWTATBgcqhkjOPQIBBggqhkjOPQMB
BwNCAASEq0FYlYmCJoDyJZaJg+Shoc+j42/qRUnieDlGiP4pMbwACSl4AB3092XG
DdQXH0njnRTMVwMDRHOKMTVpwYxvo0AwPjArBgNVHREEJDAiggsqLnlhaG9vLmNv
bYITKi5maW5hbmNlLnlhaG9vLmNvbTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49
BAMCA0kAMEYCIQCHXxuUWOsi1APpbAvzYfSVZhDj2SwDiv1ZoMJ8HpnCsgIhAIbF
98Is8qGtSrbN6zf33vMTDVBuNvJzZ5W5lG3DKcOn
-----END CERTIFICATE-----
"""


class Asked(NamedTuple):
    """A request that has come."""

    host: str
    path: str
    query: dict[str, str]

    @property
    def days(self) -> int:
        """How many it asks for, of a chart."""
        return round((int(self.query["period2"]) - int(self.query["period1"])) / 86400)


@dataclass
class Listing:
    """One symbol: its sessions' prices as they were traded, and what has been paid and split."""

    closes: pd.Series  # by the session's day, as traded
    zone: str = "America/New_York"
    hours: tuple[str, str] = ("09:30:00", "16:00:00")
    kind: str = "EQUITY"
    splits: dict[str, float] = field(default_factory=dict)  # day -> new shares for one
    dividends: dict[str, float] = field(default_factory=dict)  # day -> amount, as traded
    until: pd.Timedelta | None = None  # the last session ends so long from now
    delay: str = "0s"  # by which trades are told late

    def session(self, day: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Open and close."""
        opens, closes = (
            pd.Timestamp(f"{day:%Y-%m-%d} {hour}", tz=self.zone) for hour in self.hours
        )
        if self.until is not None and day == self.closes.index[-1]:
            closes = pd.Timestamp.now(self.zone).floor("s") + self.until
            opens = min(opens, (closes - pd.Timedelta("6h")).floor("h"))
        return opens, closes

    def daily(self) -> pd.DataFrame:
        """open .. volume by day, for splits as Yahoo gives them, and adj for dividends, too."""
        day = self.closes.index
        scale = np.prod(
            [np.where(day < on, ratio, 1.0) for on, ratio in self.splits.items()]
            or [np.ones(len(day))],
            axis=0,
        )
        close = self.closes / scale
        rng = np.random.default_rng(7)
        up, down, first = (
            1 + rng.uniform(0.001, 0.01, (len(day), 3)).T
        )  # a day's stay as they are when others are added
        table = pd.DataFrame({"open": close / first, "close": close})
        table["high"], table["low"] = table.max(axis=1) * up, table.min(axis=1) / down
        table["volume"] = np.floor(1e6 * scale * up)
        table["adj"] = close
        for on, paid in self.dividends.items():
            before = self.closes[: pd.Timestamp(on) - pd.Timedelta("1D")]
            table.loc[day < on, "adj"] *= 1 - paid / before.iloc[-1]
        return table.astype("float32").astype(float)  # so exact are Yahoo's

    def bars(self, interval: str) -> pd.DataFrame:
        """The chart's bars by the time that it gives them: a session's open, or a step within it."""
        table = self.daily()
        opens = pd.DatetimeIndex([self.session(day)[0] for day in table.index])
        now = pd.Timestamp.now(self.zone).floor("s")
        if interval == "1d":
            table.index = opens
            if self.until is not None:  # a day that goes on is stamped with its last trade
                table.index = [*opens[:-1], min(now, self.session(self.closes.index[-1])[1])]
            return table
        step = pd.Timedelta(minutes=60 if interval == "1h" else int(interval[:-1]))
        parts = []
        for (_, row), day in zip(table.iterrows(), table.index, strict=True):
            start, end = self.session(day)
            times = pd.date_range(start, min(end, now), freq=step, inclusive="left")
            if start < now < end:
                times = times.append(
                    pd.DatetimeIndex([now])
                )  # the last trade comes as a bar of its own
            wave = 1 + 0.001 * np.sin(np.arange(len(times)))
            part = pd.DataFrame(
                {name: row[name] * wave for name in ("open", "close", "adj")}, times
            )
            parts.append(part.assign(high=part.max(axis=1), low=part.min(axis=1), volume=1000.0))
        return pd.concat(parts)


def walk(sessions: int = 40, seed: int = 0, today: str | None = None) -> pd.Series:
    """Closes of the weekdays before today in New York, which are over everywhere; or up to today in the zone `today`.

    Today is a session whatever weekday it is.
    """
    now = pd.Timestamp.now(today or "America/New_York").tz_localize(None).normalize()
    days = pd.bdate_range(end=now - pd.Timedelta("1D"), periods=sessions)
    if today:
        days = days[1:].append(pd.DatetimeIndex([now]))
    steps = np.random.default_rng(seed).normal(0, 0.01, sessions)
    return pd.Series(100 * np.exp(np.cumsum(steps)), days)


def noon_zone() -> str:
    """A zone in which it is between 12 and 1 in the afternoon, whenever that is."""
    return f"Etc/GMT{pd.Timestamp.now('UTC').hour - 12:+d}"


class Yahoo(ThreadingHTTPServer):
    """Listings by symbol; `fail` makes the next chart requests of one, or of all, go wrong."""

    daemon_threads = True

    def __init__(self, pair: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair)
        self.pair = pair
        self.listings: dict[str, Listing] = {}
        self.faults: dict[str, tuple[str | int, int]] = {}
        self.seen: list[Asked] = []
        self.over = threading.Event()  # ends what hangs

    def server_bind(self):
        """Without HTTPServer's look-up of our own name, which can take its time."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        """Clients that go away are what the tests are about."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What sends any client here."""
        bundles = dict.fromkeys(
            ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), self.pair
        )
        return {
            "HTTPS_PROXY": self.address,
            "https_proxy": self.address,
            "NO_PROXY": "",
            "no_proxy": "",
            **bundles,
        }

    def fail(self, symbol: str, fault: str | int, times: int = 1_000_000) -> None:
        """The next `times` charts of `symbol` ("" for all) go wrong."""
        assert fault in FAULTS
        self.faults[symbol] = fault, times

    def fault(self, symbol: str) -> str | int | None:
        for key in (symbol, ""):
            fault, left = self.faults.get(key, (None, 0))
            if left:
                self.faults[key] = fault, left - 1
                return fault
        return None

    def reset(self) -> None:
        self.listings, self.faults, self.seen = {}, {}, []

    def charts(self, symbol: str | None = None) -> list[Asked]:
        """Requests for the bars of some days; not those by which yfinance learns a time zone."""
        ends = f"/{symbol}" if symbol else ""
        return [
            a
            for a in self.seen
            if "/v8/finance/chart/" in a.path and a.path.endswith(ends) and "period1" in a.query
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for its body
    server: Yahoo
    host = ""

    def log_message(self, format, *args):
        pass

    def do_CONNECT(self):
        """From here on we are the host that the client asks for."""
        self.send_response(200)
        self.end_headers()
        self.host = self.path.split(":")[0]
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def finish(self):
        super().finish()
        self.connection.close()  # the server knows the socket below alone

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self):
        url = urlsplit(self.path)
        asked = Asked(
            self.host, unquote(url.path), {k: v[0] for k, v in parse_qs(url.query).items()}
        )
        self.server.seen.append(asked)
        if asked.host == "fc.yahoo.com":
            cookie = f"A3={COOKIE}; Domain=.yahoo.com; Path=/; Max-Age=31557600; Secure"
            self.send(b"", 404, headers={"Set-Cookie": cookie})
        elif asked.path == "/v1/test/getcrumb":
            known = f"A3={COOKIE}" in (self.headers["Cookie"] or "")
            self.send(CRUMB.encode() if known else b"", 200 if known else 401, "text/plain")
        elif asked.path.startswith("/v8/finance/chart/"):
            self.chart(asked)
        else:  # the consent page among them
            self.json(
                {
                    "finance": {
                        "result": None,
                        "error": {"code": "Not Found", "description": "no such thing"},
                    }
                },
                404,
            )

    def chart(self, asked: Asked):
        symbol = asked.path.rsplit("/", 1)[-1]
        fault = self.server.fault(symbol)
        listing = self.server.listings.get(symbol)
        if fault == "hang":
            self.server.over.wait(60)
        elif fault == "drop":
            self.connection.close()
            self.close_connection = True
        elif fault == "html":
            self.send(b"<html><body>Edge: try again</body></html>", 200, "text/html")
        elif fault == 429:
            self.send(b"Too Many Requests\r\n", 429, "text/html")
        elif isinstance(fault, int):
            self.json(
                {
                    "finance": {
                        "result": None,
                        "error": {"code": "internal-error", "description": ""},
                    }
                },
                fault,
            )
        elif listing is None:
            self.refuse(404, "Not Found", "No data found, symbol may be delisted")
        else:
            self.send_chart(asked, symbol, listing, fault)

    def send_chart(self, asked: Asked, symbol: str, listing: Listing, fault: str | int | None):
        bars = listing.bars(interval := asked.query["interval"])
        if "range" in asked.query:
            since, until = bars.index[-1], bars.index[-1]
        else:
            since, until = (
                pd.Timestamp(int(asked.query[p]), unit="s", tz=listing.zone)
                for p in ("period1", "period2")
            )
        days = {"1m": 8, "5m": 60, "15m": 60, "1h": 730}.get(interval, 10**5)
        if (pd.Timestamp.now(listing.zone) - since).days > days:
            words = f"{interval} data not available for startTime={since}. The requested range must be within the last"
            return self.refuse(422, "Unprocessable Entity", f"{words} {days} days.")
        # a day's bar comes if any of its day is asked for
        bars = bars[(bars.index >= since) & (bars.index <= until)]
        if not len(bars):
            words = f"Data doesn't exist for startDate = {since.timestamp():.0f}, endDate = {until.timestamp():.0f}"
            return self.refuse(400, "Bad Request", words)
        result = {
            "meta": self.meta(symbol, listing, interval),
            "timestamp": [int(t.timestamp()) for t in bars.index],
        }
        names = ("open", "high", "low", "close", "volume")
        result["indicators"] = {"quote": [{name: plain(bars[name]) for name in names}]}
        if interval == "1d":
            result["indicators"]["adjclose"] = [{"adjclose": plain(bars["adj"])}]
        if fault == "blank":
            del result["timestamp"]
            result["indicators"] = {"quote": [{}]}
        if events := self.events(listing, since, until):
            result["events"] = events
        self.json({"chart": {"result": [result], "error": None}}, cut=fault == "cut")

    @staticmethod
    def meta(symbol: str, listing: Listing, interval: str) -> dict:
        last = listing.closes.index[-1]
        opens, closes = listing.session(last)

        def period(start: pd.Timestamp, end: pd.Timestamp) -> dict:
            offset = int(start.utcoffset().total_seconds())
            times = {"start": int(start.timestamp()), "end": int(end.timestamp())}
            return {"timezone": start.tzname(), **times, "gmtoffset": offset}

        regular = period(opens, closes)
        traded = min(closes, pd.Timestamp.now(listing.zone) - pd.Timedelta(listing.delay))
        meta = {
            "currency": "JPY" if listing.zone == "Asia/Tokyo" else "USD",
            "symbol": symbol,
            "exchangeName": "JPX" if listing.zone == "Asia/Tokyo" else "NMS",
            "instrumentType": listing.kind,
            "firstTradeDate": int(listing.session(listing.closes.index[0])[0].timestamp()),
            "regularMarketTime": int(traded.timestamp()),
            "gmtoffset": regular["gmtoffset"],
            "timezone": regular["timezone"],
            "exchangeTimezoneName": listing.zone,
            "priceHint": 2,
            "currentTradingPeriod": {
                "pre": period(opens, opens),
                "regular": regular,
                "post": period(closes, closes),
            },
            "dataGranularity": interval,
            "range": "",
            "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        }
        if interval != "1d":
            meta["tradingPeriods"] = [
                [period(*listing.session(day))] for day in listing.closes.index
            ]
        return meta

    @staticmethod
    def events(listing: Listing, since: pd.Timestamp, until: pd.Timestamp) -> dict:
        found: dict[str, dict] = {}
        for on, ratio in listing.splits.items():
            at = listing.session(pd.Timestamp(on))[0]
            if since <= at <= until:
                event = {
                    "date": int(at.timestamp()),
                    "numerator": ratio,
                    "denominator": 1.0,
                    "splitRatio": f"{ratio:g}:1",
                }
                found.setdefault("splits", {})[str(event["date"])] = event
        for on, paid in listing.dividends.items():
            at = listing.session(pd.Timestamp(on))[0]
            if since <= at <= until:
                later = np.prod([ratio for day, ratio in listing.splits.items() if day > on])
                event = {"amount": paid / later, "date": int(at.timestamp())}
                found.setdefault("dividends", {})[str(event["date"])] = event
        return found

    def refuse(self, status: int, code: str, words: str):
        self.json(
            {"chart": {"result": None, "error": {"code": code, "description": words}}}, status
        )

    def json(self, value: dict, status: int = 200, cut: bool = False):
        body = json.dumps(value).encode()
        self.send(body[: len(body) // 2] if cut else body, status, "application/json")

    def send(
        self,
        data: bytes,
        status: int = 200,
        kind: str = "text/html",
        headers: dict[str, str] | None = None,
    ):
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def plain(column: pd.Series) -> list[float | None]:
    """For JSON."""
    return [None if np.isnan(value) else value for value in column]


@contextmanager
def yahoo_server() -> Iterator[Yahoo]:
    """Yahoo while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.write_text(PAIR.lstrip())
        with Yahoo(str(pair)) as yahoo:
            thread = threading.Thread(
                target=yahoo.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
            )
            thread.start()
            try:
                yield yahoo
            finally:
                yahoo.over.set()
                yahoo.shutdown()
                thread.join(5)


if __name__ == "__main__":  # to try by hand: export what it prints
    with yahoo_server() as served:
        served.listings = {"AAPL": Listing(walk(800)), "KO": Listing(walk(800, seed=1))}
        print(
            "\n".join(f"export {name}={value!r}" for name, value in served.environment.items()),
            flush=True,
        )
        time.sleep(3600)
