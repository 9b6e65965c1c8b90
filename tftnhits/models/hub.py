"""Models by id from a ModelScope hub: downloaded once, verified file by file, and offline from then on.

The two GET requests are those of modelscope's own client, which isn't used for them: on a hub that hangs it waits for
minutes, on HTTP 429, 500 or a wrong hash it retries for 7 to 21 s, offline it doesn't know whether what it has cached
is whole, and it takes along whatever else lies in a repository. Of modelscope we take the settings:
MODELSCOPE_ENDPOINT, MODELSCOPE_CACHE, and MODELSCOPE_API_TOKEN for private models.
"""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import ENSEMBLE_WEIGHTS
from ..errors import CheckpointError, ConfigError, HubError
from ..files import atomic_write, sha256, write_json
from .connection import Hub, connect, get, session, within

if TYPE_CHECKING:
    import requests

LISTING = 8 << 20  # bytes of the hub's list of files
LARGEST = 1 << 30  # bytes of a model; the shipped one has under 10 million
REVISION = "master"
FILES = ("predictor.json", "configuration.json", "README.md")
_NAMES = "|".join((*ENSEMBLE_WEIGHTS, "boosting"))
_MEMBER = re.compile(rf"({_NAMES})(-[0-9]+)?(\.json|-[0-9a-f]{{8}}\.(safetensors|skops))")
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,95}")
_SHA256 = re.compile("[0-9a-f]{64}")

log = logging.getLogger("tftnhits")
Listing = dict[str, tuple[int, str]]  # name -> size in bytes, SHA-256


def model_folder(source: str | Path | None) -> Path | None:
    """The local folder that `source` names: a folder itself, or a model's id "owner/name", downloaded where need be.

    A folder that is there wins over an id, and a Path is never an id. Raises CheckpointError on a text that is
    neither, and what `fetch` raises.
    """
    if source is None or isinstance(source, Path):
        return source
    if isinstance(source, os.PathLike) or (isinstance(source, str) and os.path.exists(source)):
        return Path(source)
    if not is_id(source):
        shown = repr(source if len(str(source)) < 80 else f"{str(source)[:80]}…")
        raise CheckpointError(
            f"There is no model folder {shown}; name one, or a model's id such as 'owner/name'."
        )
    return fetch(source)


def is_id(text: Any) -> bool:
    """Whether `text` is "owner/name" of plain letters, digits, '.', '_' and '-', neither part starting with a dot."""
    parts = text.split("/") if isinstance(text, str) else ()
    return len(parts) == 2 and all(map(_PART.fullmatch, parts))


def check_id(model_id: Any) -> None:
    """Raises ConfigError unless `is_id`."""
    if not is_id(model_id):
        raise ConfigError(
            f"{str(model_id)[:80]!r} is no model id; write 'owner/name' of letters, digits, '.', '_' and '-'."
        )


def is_predictor_file(name: str) -> bool:
    """Whether a predictor's folder may hold `name`: nothing else is downloaded or published."""
    return name in FILES or _MEMBER.fullmatch(name) is not None


def fetch(model_id: str, refresh: bool = False, seconds: float | None = None) -> Path:
    """Folder of the model "owner/name", from the cache if it is whole there, else from the hub.

    What is cached is verified by size and SHA-256, with no network; `refresh` asks the hub for a newer version (the
    older one stays in its own folder, since it may be in use). From the hub come only the files of a predictor, never
    code; a file is kept once it has the hub's size and SHA-256, so that a call after a failed one goes on where that
    stopped. `seconds` (300, or TFTNHITS_HUB_SECONDS) bound the whole download.
    Raises ConfigError on a bad id, token or limit, HubError if the hub can't be reached, refuses or is too slow,
    CheckpointError if what it has is no predictor, OutputError if the cache can't be written, and MissingDependency
    without modelscope.
    """
    check_id(model_id)
    hub = connect(model_id, seconds)
    home = hub.cache / Path(*model_id.split("/"))
    if not refresh and (known := _recorded(home)) and not _differing(home / _version(known), known):
        return home / _version(known)
    return within(hub, lambda: _download(hub, home))


def _download(hub: Hub, home: Path) -> Path:
    """Bring the cache to what the hub lists; the record comes last, so that an old version stays usable until then."""
    from tqdm.auto import tqdm  # costs more than all else that is imported here

    with session(hub) as opened:
        files = _listing(hub, opened)
        folder = home / _version(files)
        todo = _differing(folder, files)
        for name in tqdm(todo, desc=hub.model_id, unit="file", disable=not todo):
            atomic_write(folder / name, _file(hub, opened, name, *files[name]))
    write_json(home / "record.json", {"revision": REVISION, "files": files})
    return folder


def _listing(hub: Hub, opened: requests.Session) -> Listing:
    """The predictor's files as the hub lists them; others are left out, names that would leave the folder refused."""
    body = get(hub, opened, "repo/files", {"Revision": REVISION, "Recursive": "True"}, LISTING)
    try:
        entries = json.loads(body)["Data"]["Files"] or []
        found = [
            (str(e["Path"]), e.get("Size"), e.get("Sha256"))
            for e in entries
            if e.get("Type") != "tree"
        ]
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise HubError(
            f"{hub.name} doesn't list the files of {hub.model_id}; is it a ModelScope hub?"
        ) from error
    files: Listing = {}
    for name, size, digest in found:
        if (
            ".." in name.split("/")
            or name.startswith("/")
            or "\\" in name
            or "\0" in name
            or name in files
        ):
            raise CheckpointError(
                f"{hub.model_id} lists the file {name[:80]!r}, which can't be; don't use this model."
            )
        if not is_predictor_file(name):
            continue
        if (
            not isinstance(size, int)
            or size < 0
            or not isinstance(digest, str)
            or not _SHA256.fullmatch(digest)
        ):
            raise HubError(
                f"{hub.name} lists {name} of {hub.model_id} without size and SHA-256; it can't be verified."
            )
        files[name] = size, digest
    if "predictor.json" not in files:
        raise CheckpointError(
            f"{hub.model_id} at {hub.name} holds no predictor.json; it is no model of tftnhits."
        )
    if (total := sum(size for size, _ in files.values())) > LARGEST:
        raise CheckpointError(
            f"{hub.model_id} has {total:,} bytes, more than any predictor; don't use this model."
        )
    if skipped := sorted({name for name, _, _ in found} - files.keys()):
        log.info(
            "%s: not downloaded, since no part of a predictor: %s",
            hub.model_id,
            ", ".join(skipped)[:500],
        )
    return files


def _file(hub: Hub, opened: requests.Session, name: str, size: int, digest: str) -> bytes:
    data = get(hub, opened, "repo", {"Revision": REVISION, "FilePath": name}, size)
    if len(data) < size:
        raise HubError(
            f"{hub.name} broke off {name} of {hub.model_id} after {len(data):,} of {size:,} bytes; try again: "
            "what has arrived is kept."
        )
    if len(data) > size or sha256(data) != digest:
        raise HubError(
            f"{name} of {hub.model_id} is not what {hub.name} lists (size or SHA-256); try again later."
        )
    return data


def _recorded(home: Path) -> Listing | None:
    """What the last whole download had verified; None if there is none, or no longer one that can be read."""
    try:
        record = json.loads((home / "record.json").read_bytes())
        files = {name: (int(size), str(digest)) for name, (size, digest) in record["files"].items()}
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return files if "predictor.json" in files and all(map(is_predictor_file, files)) else None


def _version(files: Listing) -> str:
    """A folder's name for each state of a model, so that a newer one never mixes with what is in use."""
    return sha256(json.dumps(sorted(files.items())).encode())[:16]


def _differing(folder: Path, files: Listing) -> list[str]:
    """Names whose file isn't there with that size and hash."""

    def same(path: Path, size: int, digest: str) -> bool:
        try:
            return path.stat().st_size == size and sha256(path.read_bytes()) == digest
        except OSError:
            return False

    return [name for name, (size, digest) in files.items() if not same(folder / name, size, digest)]
