"""A small Yahoo-Finance-shaped server on 127.0.0.1, for yfinance's real client.

It is a proxy that tunnels to nobody: with HTTPS_PROXY set to it, whatever host a client wants, it
gets this server, whose certificate is that of tests alone. So no request leaves the machine, and
`seen` has them all. It knows what yfinance asks for: cookie, crumb, charts with sessions and zones.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
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


@dataclass
class Listing:
    """One symbol: its sessions' prices as they were traded, and what has been paid and split."""

    closes: pd.Series  # by the session's day, as traded
    zone: str = "America/New_York"
    hours: tuple[str, str] = ("09:30:00", "16:00:00")
    splits: dict[str, float] = field(default_factory=dict)  # day -> new shares for one
    dividends: dict[str, float] = field(default_factory=dict)  # day -> amount, as traded
    until: pd.Timedelta | None = None  # the last session ends so long from now
    delay: str = "0s"  # by which trades are told late

    def session(self, day: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Open and close."""
        opens, closes = (pd.Timestamp(f"{day:%F} {hour}", tz=self.zone) for hour in self.hours)
        if self.until is not None and day == self.closes.index[-1]:
            closes = pd.Timestamp.now(self.zone).floor("s") + self.until
            opens = min(opens, (closes - pd.Timedelta("6h")).floor("h"))
        return opens, closes

    def daily(self) -> pd.DataFrame:
        """open .. volume by day, for splits as Yahoo gives them, and adj for dividends, too."""
        day = self.closes.index
        scale = np.ones(len(day))
        for on, ratio in self.splits.items():
            scale[day < on] *= ratio
        # A day's numbers stay as they are when others are added
        up, down, first = 1 + np.random.default_rng(7).uniform(0.001, 0.01, (len(day), 3)).T
        close = self.closes / scale
        table = pd.DataFrame({"open": close / first, "close": close})
        table["high"], table["low"] = table.max(axis=1) * up, table.min(axis=1) / down
        table["volume"] = np.floor(1e6 * scale * up)
        table["adj"] = close
        for on, paid in self.dividends.items():
            before = self.closes[: pd.Timestamp(on) - pd.Timedelta("1D")]
            table.loc[day < on, "adj"] *= 1 - paid / before.iloc[-1]
        return table.astype("float32").astype(float)  # so exact are Yahoo's

    def bars(self, interval: str) -> pd.DataFrame:
        """The chart's bars by the time that it gives them: a session's open, or a step in it."""
        table = self.daily()
        now = pd.Timestamp.now(self.zone).floor("s")
        if interval == "1d":
            times = [self.session(day)[0] for day in table.index]
            if self.until is not None:  # a day that goes on is stamped with its last trade
                times[-1] = min(now, self.session(self.closes.index[-1])[1])
            return table.set_axis(pd.DatetimeIndex(times))
        step = pd.Timedelta(minutes=60 if interval == "1h" else int(interval[:-1]))
        parts = []
        for day, row in table.iterrows():
            start, end = self.session(day)
            times = pd.date_range(start, min(end, now), freq=step, inclusive="left")
            if start < now < end:  # the last trade comes as a bar of its own
                times = times.append(pd.DatetimeIndex([now]))
            wave = 1 + 0.001 * np.sin(np.arange(len(times)))
            part = pd.DataFrame({name: row[name] * wave for name in ("open", "close")}, times)
            parts.append(part.assign(high=part.max(axis=1), low=part.min(axis=1), volume=1000.0))
        return pd.concat(parts)

    def meta(self, symbol: str) -> dict:
        """What a chart tells beside its bars."""
        opens, closes = self.session(self.closes.index[-1])
        traded = min(closes, pd.Timestamp.now(self.zone) - pd.Timedelta(self.delay))
        current = {"pre": period(opens, opens), "post": period(closes, closes)}
        return {
            "currency": "USD",
            "symbol": symbol,
            "instrumentType": "EQUITY",
            "firstTradeDate": int(self.session(self.closes.index[0])[0].timestamp()),
            "regularMarketTime": int(traded.timestamp()),
            "gmtoffset": int(opens.utcoffset().total_seconds()),
            "timezone": opens.tzname(),
            "exchangeTimezoneName": self.zone,
            "currentTradingPeriod": current | {"regular": period(opens, closes)},
            "tradingPeriods": [[period(*self.session(day))] for day in self.closes.index],
        }


def period(start: pd.Timestamp, end: pd.Timestamp) -> dict:
    times = {"start": int(start.timestamp()), "end": int(end.timestamp())}
    offset = int(start.utcoffset().total_seconds())
    return {"timezone": start.tzname(), **times, "gmtoffset": offset}


def walk(sessions: int = 40, seed: int = 0, today: str | None = None) -> pd.Series:
    """Closes of the weekdays before today in New York, which are over everywhere.

    Or up to today in the zone `today`, a session whatever weekday it is.
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
        self.over = threading.Event()  # ends what hangs
        proxy = dict.fromkeys(
            ("HTTPS_PROXY", "https_proxy"), f"http://127.0.0.1:{self.server_port}"
        )
        bundles = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), pair)
        self.environment = {"NO_PROXY": "", "no_proxy": ""} | proxy | bundles
        self.reset()

    def reset(self) -> None:
        self.listings: dict[str, Listing] = {}
        self.faults: dict[str, tuple[str | int, int]] = {}
        self.seen: list[Asked] = []

    def server_bind(self):
        """Without HTTPServer's look-up of our own name, which can take its time."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        """Clients that go away are what the tests are about."""

    def fail(self, symbol: str, fault: str | int, times: int = 1_000_000) -> None:
        """The next `times` charts of `symbol` ("" for all) go wrong.

        "cut" ends the JSON early, "html" is a page instead, "hang" answers nothing, "drop" closes
        the connection, "blank" is a chart without bars; a number is the HTTP status.
        """
        self.faults[symbol] = fault, times

    def fault(self, symbol: str) -> str | int | None:
        for key in (symbol, ""):
            fault, left = self.faults.get(key, (None, 0))
            if left:
                self.faults[key] = fault, left - 1
                return fault
        return None

    def charts(self, symbol: str = "") -> list[Asked]:
        """Requests for the bars of some days; not those by which yfinance learns a time zone."""
        charts = [asked for asked in self.seen if "period1" in asked.query]
        return [asked for asked in charts if asked.path.endswith(f"/{symbol}" if symbol else "")]


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

    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        asked = Asked(self.host, unquote(url.path), query)
        self.server.seen.append(asked)
        if asked.host == "fc.yahoo.com":
            cookie = "A3=d=tests; Domain=.yahoo.com; Path=/; Max-Age=31557600; Secure"
            self.send(b"", 404, {"Set-Cookie": cookie})
        elif asked.path == "/v1/test/getcrumb":
            self.send(b"cRuMb.tests")
        elif asked.path.startswith("/v8/finance/chart/"):
            self.chart(asked, asked.path.rsplit("/", 1)[-1])
        else:
            self.json({"finance": {"result": None, "error": {"code": "Not Found"}}}, 404)

    def chart(self, asked: Asked, symbol: str):
        fault = self.server.fault(symbol)
        listing = self.server.listings.get(symbol)
        if fault == "hang":
            self.server.over.wait(60)
        elif fault == "drop":
            self.connection.close()
            self.close_connection = True
        elif fault == "html":
            self.send(b"<html><body>Edge: try again</body></html>")
        elif isinstance(fault, int):
            self.json({"finance": {"result": None, "error": {"code": "internal-error"}}}, fault)
        elif listing is None:
            self.refuse(404, "No data found, symbol may be delisted")
        else:
            self.send_chart(asked, listing, symbol, fault)

    def send_chart(self, asked: Asked, listing: Listing, symbol: str, fault: str | None):
        interval = asked.query["interval"]
        bars = listing.bars(interval)
        since = until = bars.index[-1]
        if "range" not in asked.query:
            seconds = [int(asked.query[end]) for end in ("period1", "period2")]
            since, until = pd.to_datetime(seconds, unit="s", utc=True).tz_convert(listing.zone)
        days = {"1m": 8, "5m": 60, "15m": 60, "1h": 730}.get(interval, 10**5)
        if (pd.Timestamp.now(listing.zone) - since).days > days:
            return self.refuse(422, f"{interval} data must be within the last {days} days.")
        bars = bars[(bars.index >= since) & (bars.index <= until)]
        if not len(bars):
            return self.refuse(400, f"Data doesn't exist for startDate = {since.timestamp():.0f}")
        names = ("open", "high", "low", "close", "volume")
        result = {
            "meta": listing.meta(symbol),
            "timestamp": [int(time.timestamp()) for time in bars.index],
            "indicators": {"quote": [{name: bars[name].tolist() for name in names}]},
        }
        if interval == "1d":
            result["indicators"]["adjclose"] = [{"adjclose": bars["adj"].tolist()}]
        if fault == "blank":
            del result["timestamp"]
            result["indicators"] = {"quote": [{}]}
        self.json({"chart": {"result": [result], "error": None}}, cut=fault == "cut")

    def refuse(self, status: int, words: str):
        error = {"code": "Error", "description": words}
        self.json({"chart": {"result": None, "error": error}}, status)

    def json(self, value: dict, status: int = 200, cut: bool = False):
        body = json.dumps(value).encode()
        self.send(body[: len(body) // 2] if cut else body, status)

    def send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def yahoo_server() -> Iterator[Yahoo]:
    """Yahoo while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.pem"
        pair.write_text(PAIR.lstrip())
        with Yahoo(str(pair)) as yahoo:
            threading.Thread(target=yahoo.serve_forever, args=(0.02,), daemon=True).start()
            try:
                yield yahoo
            finally:
                yahoo.over.set()
                yahoo.shutdown()
