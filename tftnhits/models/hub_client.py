"""Requests to a hub: who may see the token, where a redirect may lead, and how long it may take.

A hub answers with a redirect to where its large files are kept. It is followed only to the hub
itself or to its storage (TFTNHITS_HUB_STORAGE), never from https to http, and never to an address
of this machine or its network, unless the hub has such an address, too. What the session's address
check can't see is what a proxy connects to.
"""

from __future__ import annotations

import ipaddress
import os
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ..errors import HubError, quoted

if TYPE_CHECKING:
    from .hub import Hub

SILENCE = 20.0  # seconds without a single byte
REDIRECTS = 5
STORAGE = ".modelscope.cn .modelscope.ai"  # such as cdn-lfs-cn-1.modelscope.cn
PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]  # scheme, host, port


def origin(url: str) -> Origin:
    """What must be the same for two addresses to be one server's; raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("no address of the web")
    return parts.scheme, parts.hostname.lower().rstrip("."), parts.port or PORTS[parts.scheme]


def is_storage(url: str) -> bool:
    """Whether TFTNHITS_HUB_STORAGE names the server of `url`.

    It holds "host" (the usual port), "host:port" and ".domain" (that host and all below it).
    """
    scheme, host, port = origin(url)
    for entry in (os.environ.get("TFTNHITS_HUB_STORAGE") or STORAGE).lower().split():
        if entry.startswith("."):
            named = f".{host}".endswith(entry) and port == PORTS[scheme]
        else:
            named = entry == f"{host}:{port}" or (entry == host and port == PORTS[scheme])
        if named:
            return True
    return False


def check_redirect(hub: Hub, before: str, after: str) -> None:
    """Raise HubError unless a redirect between the two addresses may be followed."""
    try:
        there = origin(after)
        downgrade = before.startswith("https:") and there[0] == "http"
        if not downgrade and (there == origin(hub.endpoint) or is_storage(after)):
            return
        name = f"{there[0]}://{there[1]}:{there[2]}"
    except ValueError:
        name = "what is no address"
    raise HubError(
        f"{hub.name} sends on to {quoted(name)} for {hub.model_id}, which is neither the hub nor "
        "its storage; if you trust it, name its host in TFTNHITS_HUB_STORAGE."
    )


def open_session(hub: Hub) -> requests.Session:
    """A session that shows the token to the hub's own scheme, host and port alone."""
    session = requests.Session()
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "tftnhits"})
    # a jar would send the hub's cookies to any port of its host
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _Signature(hub)
    guard = Guard(hub)
    session.mount("http://", guard)
    session.mount("https://", guard)
    return session


class _Signature:
    """Signs the requests to the hub; being there, it keeps requests from reading ~/.netrc."""

    def __init__(self, hub: Hub):
        self.hub = hub

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self.hub.token
        if origin(request.url) != origin(self.hub.endpoint):
            return request
        if token:  # the header for new addresses of the hub, the cookie for old ones
            request.headers["Authorization"] = f"Bearer {token}"
            request.headers["Cookie"] = f"m_session_id={token}"
        elif any(login := get_auth_from_url(self.hub.endpoint)):
            return HTTPBasicAuth(*login)(request)
        return request


class Inside(Exception):
    """A redirect led to a private address. No OSError, which urllib3 would take for a fault."""


class Guard(HTTPAdapter):
    """Connects to public addresses, and to the hub whatever its address is.

    The address is looked at once the connection stands, before anything is sent on it: a name can
    be resolved to another address each time.
    """

    def __init__(self, hub: Hub):
        self.home = origin(hub.endpoint)
        self.inside = False  # whether the hub's own address is a private one
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _pool(HTTPConnectionPool, HTTPConnection, self),
            "https": _pool(HTTPSConnectionPool, HTTPSConnection, self),
        }

    def look(self, scheme: str, host: str, port: int, address: str) -> None:
        """Raise Inside if a connection led where it may not."""
        private = not _is_public(address)
        if (scheme, host.strip("[]").lower().rstrip("."), port) == self.home:
            self.inside = private
        elif private and not self.inside:
            raise Inside


def _pool(pool: type, connection: type, guard: Guard) -> type:
    """The pool's class with connections that `guard` looks at."""

    class Looked(connection):
        def _new_conn(self) -> Any:  # urllib3's place for it, in versions 1 and 2
            made = super()._new_conn()
            try:
                guard.look(pool.scheme, self.host, self.port, made.getpeername()[0])
            except Inside:
                made.close()
                raise
            return made

    return type(pool.__name__, (pool,), {"ConnectionCls": Looked})


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_global


def get(
    hub: Hub, session: requests.Session, path: str, query: dict[str, str], max_bytes: int
) -> bytes:
    """The body of an answer, at most one chunk beyond `max_bytes`; raises HubError."""
    url = f"{hub.endpoint}/api/v1/models/{hub.model_id}/{path}"
    try:
        with _follow(hub, session, url, query) as answer:
            body = bytearray()
            for chunk in answer.iter_content(1 << 16):
                body += chunk
                if len(body) > max_bytes:
                    break
            return bytes(body)
    except HubError:
        raise
    except Inside as error:
        raise hub.inside() from error
    except requests.Timeout as error:
        raise hub.late() from error
    except (OSError, ValueError) as error:  # RequestException among them; an address that is none
        raise HubError(
            f"{hub.name} can't be reached or broke off ({type(error).__name__}), and "
            f"{hub.model_id} is not whole in the cache; try again, or name a local folder."
        ) from error


def _follow(
    hub: Hub, session: requests.Session, url: str, query: dict[str, str]
) -> requests.Response:
    """The answer at the end of the redirects; raises HubError if one may not be followed."""
    options = {"stream": True, "timeout": min(SILENCE, hub.seconds), "allow_redirects": False}
    answer = session.get(url, params=query, **options)
    for _ in range(REDIRECTS):
        if not answer.is_redirect:
            break
        answer.close()
        target = urljoin(answer.url, answer.headers["Location"])
        check_redirect(hub, answer.url, target)
        answer = session.get(target, **options)
    if answer.status_code != 200:
        answer.close()
        raise hub.refusal(answer.status_code)
    return answer
