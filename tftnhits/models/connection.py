"""The way to a ModelScope hub: its address and token by modelscope's settings, one GET, and an end to all waiting."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import (
    TimeoutError as LateError,
)  # before Python 3.11 another than the builtin
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigError, HubError, MissingDependency

if TYPE_CHECKING:
    import requests

SECONDS = 300.0  # for a whole model, unless TFTNHITS_HUB_SECONDS or an argument says otherwise
SILENCE = 20.0  # without a single byte
_TOKEN = re.compile("[!-~]+")

T = TypeVar("T")


@dataclass
class Hub:
    """One hub, one model, and the time there is for it."""

    endpoint: str
    cache: Path
    model_id: str
    seconds: float
    token: str | None = field(repr=False)
    deadline: float = 0.0  # time.monotonic() at which all ends

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.seconds

    @property
    def name(self) -> str:
        """Host and port alone: an address may hold a password."""
        parts = urlsplit(self.endpoint)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def late(self) -> HubError:
        """The time is over."""
        return HubError(
            f"{self.name} took more than {self.seconds:g} s for {self.model_id}; try again: what has arrived is kept, "
            "and TFTNHITS_HUB_SECONDS sets the limit."
        )

    def refusal(self, status: int, verb: str = "read") -> HubError:
        """What an HTTP status means."""
        said = f"{self.name} answers HTTP {status} for {self.model_id}"
        token = "check MODELSCOPE_API_TOKEN" if self.token else "set MODELSCOPE_API_TOKEN"
        if status in (401, 403):
            return HubError(f"{said}: you may not {verb} it; {token}.")
        if status == 404:
            return HubError(
                f"{said}: there is no such model, or it is private; check its name, and {token}."
            )
        if status == 429:
            return HubError(f"{said}: too many requests; wait a minute and try again.")
        return HubError(
            f"{said}: the hub {'fails' if status >= 500 else 'refuses'}; try again later."
        )


def connect(model_id: str, seconds: float | None = None) -> Hub:
    """The hub that modelscope's settings name; raises MissingDependency, ConfigError."""
    try:
        import requests  # noqa: F401
        from modelscope_hub import HubConfig
    except (ImportError, OSError) as error:
        raise MissingDependency(
            f"The model {model_id!r} needs modelscope; pip install 'tftnhits[modelscope]', or name a local folder."
        ) from error
    token = os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
    if token and not _TOKEN.fullmatch(token):  # requests would show it in its error
        raise ConfigError(
            "MODELSCOPE_API_TOKEN holds characters that no token has; copy it again from your account."
        )
    settings = HubConfig(token="")  # "": else it unpickles the cookies of a login
    try:
        parts = urlsplit(settings.endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:  # not shown: it may hold a password
        raise ConfigError(
            "MODELSCOPE_ENDPOINT is no address; write one such as https://modelscope.cn, or unset it."
        )
    return Hub(
        settings.endpoint, settings.cache_dir / "tftnhits", model_id, _limit(seconds), token or None
    )


def _limit(seconds: float | None) -> float:
    given = os.environ.get("TFTNHITS_HUB_SECONDS") or SECONDS if seconds is None else seconds
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = 0.0
    if not 0 < value < 1e6:
        raise ConfigError(
            f"The time limit for the hub is {given!r}; give seconds above 0, such as {SECONDS:g}."
        )
    return value


def within(hub: Hub, job: Callable[[], T]) -> T:
    """`job()`, but HubError once the time is over.

    It runs in a daemon thread: requests' own time-outs cover neither the look-up of a name nor bytes that trickle in.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True, name="tftnhits-hub").start()
    try:
        return future.result(max(hub.deadline - time.monotonic(), 0.001))
    except LateError as error:
        raise hub.late() from error


def session(hub: Hub) -> requests.Session:
    """A session that shows the token to the hub alone."""
    import requests

    made = requests.Session()
    made.headers.update({"Accept-Encoding": "identity", "User-Agent": "tftnhits"})
    if hub.token:  # the header for new addresses of the hub, the cookie for old ones; neither follows to another host

        def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {hub.token}"
            return request

        made.auth = bearer
        parts = urlsplit(hub.endpoint)
        made.cookies.set(
            "m_session_id", hub.token, domain=parts.hostname or "", secure=parts.scheme == "https"
        )
    return made


def get(hub: Hub, opened: requests.Session, path: str, params: dict[str, str], most: int) -> bytes:
    """The body of an answer, at most `most` bytes and one; raises HubError."""
    import requests

    url, body = f"{hub.endpoint}/api/v1/models/{hub.model_id}/{path}", bytearray()
    silence = min(SILENCE, hub.seconds)
    try:
        with opened.get(url, params=params, stream=True, timeout=(silence, silence)) as answer:
            if answer.status_code != 200:
                raise hub.refusal(answer.status_code)
            for chunk in answer.iter_content(1 << 16):
                body += chunk
                if time.monotonic() > hub.deadline:
                    raise hub.late()
                if len(body) > most:
                    break
    except requests.Timeout as error:
        raise HubError(
            f"{hub.name} sent nothing of {hub.model_id} for {silence:g} s; try again: what has arrived is kept."
        ) from error
    except (
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    ) as error:
        raise HubError(
            f"{hub.name} broke off within {hub.model_id} ({params.get('FilePath', 'its list of files')}); "
            "try again: what has arrived is kept."
        ) from error
    except (
        requests.RequestException,
        OSError,
        ValueError,
    ) as error:  # ValueError: an address that is none
        if isinstance(error, HubError):
            raise
        raise HubError(
            f"{hub.name} can't be reached, and {hub.model_id} is not whole in the cache; check the connection, "
            "or name a local folder."
        ) from error
    return bytes(body)
