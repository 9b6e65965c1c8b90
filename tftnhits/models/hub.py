"""Models by id from a ModelScope hub: downloaded once, verified file by file, offline from then on.

modelscope's own client isn't used for it: no caller can bound its waits, which are minutes on a hub
that hangs and 7 s on HTTP 429 or 500, and it logs each retry. Nor can it tell offline whether its
cache is whole. Its settings are ours: MODELSCOPE_ENDPOINT, MODELSCOPE_CACHE, MODELSCOPE_API_TOKEN.
The requests are in hub_client.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from ..errors import CheckpointError, ConfigError, HubError, MissingDependency, quoted
from ..files import atomic_write, read_json, sha256, write_json
from .checkpoint import is_weights

SECONDS = "300"  # for a whole model, unless TFTNHITS_HUB_SECONDS says otherwise
MAX_LISTING = 8 << 20  # bytes of the hub's list of files
MAX_MODEL = 1 << 30  # bytes; the shipped model has under 10 million
REVISION = "master"

_PART = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,95}"
_ID = re.compile(f"{_PART}/{_PART}")
_FILES = ("predictor.json", "configuration.json", "README.md")
_SHA256 = re.compile("[0-9a-f]{64}")
_TOKEN = re.compile("[!-~]+")
_ENDPOINT = re.compile(r"https?://([^/@]*@)?(?P<host>([\w.-]+|\[[\da-fA-F:]+\])(:\d+)?)(/.*)?")
_ADVICE = {  # by HTTP status
    401: "you may not {verb} it; check MODELSCOPE_API_TOKEN",
    403: "you may not {verb} it; check MODELSCOPE_API_TOKEN",
    404: "there is no such model, or it is private; check its name and MODELSCOPE_API_TOKEN",
    429: "too many requests; wait a minute and try again",
}

Listing = dict[str, tuple[int, str]]  # name -> size in bytes, SHA-256


@dataclass
class Hub:
    """One hub, one model, and the time that there is for it."""

    endpoint: str
    name: str  # host and port alone: the address may hold a password
    cache: Path
    model_id: str
    seconds: float
    token: str | None = field(repr=False)

    def late(self) -> HubError:
        """The error of a hub that is too slow."""
        return HubError(
            f"{self.name} took more than {self.seconds:g} s for {self.model_id}, or fell silent; "
            "try again: what has arrived is kept, and TFTNHITS_HUB_SECONDS sets the limit."
        )

    def inside(self) -> HubError:
        """The error of a redirect to a private address."""
        return HubError(
            f"{self.name} sends on to an address inside your own network for {self.model_id}; "
            "use another hub."
        )

    def refusal(self, status: int, verb: str = "read") -> HubError:
        """The error of an HTTP status."""
        advice = _ADVICE.get(status, "the hub fails; try again later").format(verb=verb)
        return HubError(f"{self.name} answers HTTP {status} for {self.model_id}: {advice}.")


def is_id(text: Any) -> bool:
    """Whether `text` is "owner/name" of letters, digits, '.', '_' and '-'."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_predictor_file(name: str) -> bool:
    """Whether a predictor's folder may hold `name`: nothing else is downloaded or published."""
    return name in _FILES or is_weights(name)


def model_folder(source: str | Path | None) -> Path | None:
    """The local folder that `source` names: a folder, or a model's id, downloaded where need be.

    A folder that is there wins over an id, and a Path is never an id. Raises CheckpointError on a
    text that is neither, and what `fetch` raises.
    """
    if source is None or isinstance(source, Path):
        return source
    if isinstance(source, os.PathLike) or (isinstance(source, str) and os.path.exists(source)):
        folder = Path(source)
        if not folder.is_dir():
            raise CheckpointError(f"{quoted(source, 100)} is a file; name the folder it is in.")
        return folder
    if not is_id(source):
        raise CheckpointError(
            f"There is no model folder {quoted(source, 100)}; name one, or an id as 'owner/name'."
        )
    return fetch(source)


def fetch(model_id: str, refresh: bool = False) -> Path:
    """Folder of the model "owner/name", from the cache if it is whole there, else from the hub.

    Only the files of a predictor are downloaded, never code, and a file is kept once it has the
    hub's size and SHA-256, so that a call after a failed one goes on where that stopped. The whole
    download may take TFTNHITS_HUB_SECONDS (300). The hub may send on to itself and its storage,
    which is ModelScope's unless TFTNHITS_HUB_STORAGE names hosts ("host", "host:port", ".domain").

    Parameters
    ----------
    model_id : "owner/name"
    refresh : ask the hub for a newer version; the older one stays in a folder of its own

    Raises
    ------
    ConfigError (id, token, limit), HubError (out of reach, refuses, too slow), CheckpointError
    (no predictor), OutputError (the cache), MissingDependency (modelscope)
    """
    hub = connect(model_id)
    home = hub.cache / model_id
    known = _recorded(home)
    if known and not refresh and not _differing(home / _version(known), known):
        return home / _version(known)
    return _within(hub, lambda: _download(hub, home))


def connect(model_id: str) -> Hub:
    """The hub that modelscope's settings name; raises ConfigError, MissingDependency."""
    if not is_id(model_id):
        raise ConfigError(
            f"{quoted(model_id)} is no model id; write 'owner/name' in plain letters and digits."
        )
    try:
        from modelscope_hub import HubConfig

        from .hub_client import origin
    except (ImportError, OSError) as error:
        raise MissingDependency(
            f"The model {model_id!r} needs modelscope; pip install 'tftnhits[modelscope]', "
            "or name a local folder."
        ) from error
    # modelscope's settings, each checked before it goes into a request
    token = os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
    if token and not _TOKEN.fullmatch(token):  # requests would show it in its error
        raise ConfigError(
            "MODELSCOPE_API_TOKEN holds characters that no token has; copy it from your account."
        )
    settings = HubConfig(token="")  # "": else it unpickles the cookies of a login
    address = _ENDPOINT.fullmatch(settings.endpoint)
    try:
        origin(settings.endpoint)
    except ValueError:  # a port that is none
        address = None
    if address is None:  # not shown: it may hold a password
        raise ConfigError(
            "MODELSCOPE_ENDPOINT is no address; write one such as https://modelscope.cn."
        )
    limit = os.environ.get("TFTNHITS_HUB_SECONDS") or SECONDS
    if not re.fullmatch(r"\d{1,6}|\d{0,6}\.\d+", limit) or float(limit) == 0:
        raise ConfigError(
            f"TFTNHITS_HUB_SECONDS is {quoted(limit)}; write seconds above 0, such as 300."
        )
    cache = settings.cache_dir / "tftnhits"
    return Hub(settings.endpoint, address["host"], cache, model_id, float(limit), token or None)


def _within(hub: Hub, job: Callable[[], Path]) -> Path:
    """`job()` in a daemon thread: requests' time-outs don't cover the look-up of a name."""
    outcome: futures.Future[Path] = futures.Future()

    def run() -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return outcome.result(hub.seconds)
    except futures.TimeoutError as error:
        raise hub.late() from error


def _download(hub: Hub, home: Path) -> Path:
    """Bring the cache to what the hub lists; the record is last: an older one serves till then."""
    from tqdm.auto import tqdm  # costs more than all else that is imported here

    from .hub_client import get, open_session  # needs requests

    with open_session(hub) as session:
        files = _listing(hub, partial(get, hub, session))
        folder = home / _version(files)
        missing = _differing(folder, files)
        for name in tqdm(missing, desc=hub.model_id, unit="file", disable=not missing):
            size, digest = files[name]
            query = {"Revision": REVISION, "FilePath": name}
            data = get(hub, session, "repo", query, size)
            if len(data) != size or sha256(data) != digest:
                raise HubError(
                    f"{name} of {hub.model_id} is not what {hub.name} lists (its size or SHA-256); "
                    "try again: what has arrived is kept."
                )
            atomic_write(folder / name, data)
    write_json(home / "record.json", {"revision": REVISION, "files": files})
    return folder


def _listing(hub: Hub, ask: Callable[[str, dict[str, str], int], bytes]) -> Listing:
    """The predictor's files as the hub lists them; all other files are left out."""
    query = {"Revision": REVISION, "Recursive": "True"}
    body = ask("repo/files", query, MAX_LISTING)
    try:
        entries = json.loads(body)["Data"]["Files"] or []
        listed = {str(e["Path"]): (e.get("Size"), e.get("Sha256")) for e in entries}
    except Exception as error:  # a foreign server sends anything
        raise HubError(
            f"{hub.name} doesn't list the files of {hub.model_id}; is it a ModelScope hub?"
        ) from error
    files = {name: entry for name, entry in listed.items() if is_predictor_file(name)}
    for name, (size, digest) in files.items():
        if not (isinstance(size, int) and size >= 0 and _SHA256.fullmatch(str(digest))):
            raise HubError(
                f"{hub.name} lists {name} of {hub.model_id} without size and SHA-256; "
                "it can't be verified."
            )
    if "predictor.json" not in files or sum(size for size, _ in files.values()) > MAX_MODEL:
        raise CheckpointError(
            f"{hub.model_id} at {hub.name} is no model of tftnhits: it holds no predictor.json, "
            "or more bytes than any predictor; don't use it."
        )
    return files


def _recorded(home: Path) -> Listing:
    """What the last whole download had verified; empty if there is none that can be read."""
    try:
        files = read_json(home / "record.json")["files"]
        return {
            n: (int(size), str(sha)) for n, (size, sha) in files.items() if is_predictor_file(n)
        }
    except (CheckpointError, LookupError, TypeError, ValueError, AttributeError):
        return {}


def _version(files: Listing) -> str:
    """A folder's name for each state of a model: a newer one never mixes with what is in use."""
    return sha256(json.dumps(sorted(files.items())).encode())[:16]


def _differing(folder: Path, files: Listing) -> list[str]:
    """Names whose file isn't there with that hash."""
    differing = []
    for name, (_, digest) in files.items():
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()) != digest:
            differing.append(name)
    return differing
