"""Files that are whole or absent: every write goes to a temporary name and is renamed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import CheckpointError, OutputError, quoted

MAX_JSON = 1 << 20  # bytes of a JSON file; parsed it takes some thirty times as many
MAX_WEIGHTS = 1 << 28  # bytes of a network's or trees' file; the shipped ones have half a million

_PLAIN_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Symbols come from data: ASCII letters, digits and the signs that symbols have, 80 at most.
_PLAIN_SYMBOL = re.compile(r"[A-Za-z0-9^_]([A-Za-z0-9^_=+. -]{0,78}[A-Za-z0-9^_=+-])?")
# Windows' devices, whatever the ending
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_HASHED = re.compile(r".*-[0-9a-f]{8}")


def atomic_write(path: str | Path, content: bytes | str) -> Path:
    """Write `content` so that a crash leaves the old file or the new one; raises OutputError."""
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"Can't write {path}: {reason}; choose a folder that you may write to."
        ) from error
    return path


@contextmanager
def locked(path: str | Path, wait: float = -1) -> Iterator[None]:
    """Keep others from `path` by a file beside it; OutputError after `wait` seconds (−1: never)."""
    from filelock import FileLock, Timeout  # a reader needs none

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=wait)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"Another process holds {path}; wait for it, or choose another folder."
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"Can't write {path}: {reason}; choose another folder.") from error
    try:
        yield
    finally:
        lock.release()


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, atomically; OutputError if `read_json` would refuse it."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if len(text) > MAX_JSON:  # json.dumps writes ASCII alone
        raise OutputError(
            f"{path} would have {len(text)} bytes, more than the {MAX_JSON} that are read again; "
            "take fewer symbols."
        )
    return atomic_write(path, text)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; raises CheckpointError if the file is missing, too large or is none."""
    try:
        value = json.loads(read_at_most(path, MAX_JSON))
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"Can't read {path}: {reason}; is this a model folder?") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); save the model again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; save the model again.")
    return value


def read_at_most(path: str | Path, most: int) -> bytes:
    """The content of a regular file of up to `most` bytes; raises OSError on any other."""
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe or a device may never end
            raise OSError(None, "no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(None, f"it has more than {most} bytes")
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens a pipe that nobody writes to, too, so that it can be refused."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def cache_folder() -> Path:
    """TFTNHITS_CACHE, else tftnhits in the user's cache folder."""
    from platformdirs import user_cache_path

    given = os.environ.get("TFTNHITS_CACHE")
    return Path(given).expanduser().absolute() if given else user_cache_path("tftnhits", False)


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file of any size; raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def data_file(folder: Path, name: Any) -> Path:
    """`folder`/`name`, a file that a folder's JSON names: it lies in the folder, whole and plain.

    Raises CheckpointError on a name of other than ASCII letters, digits, "_", "-" and ".", on a
    link out of the folder (what it leads to would be read, or published), and on a pipe or device.
    """
    if not isinstance(name, str) or not _PLAIN_FILE.fullmatch(name) or _DEVICE.fullmatch(name):
        raise CheckpointError(
            f"{folder} names the file {quoted(name)}, which is no plain file name; "
            f"don't use this folder."
        )
    path = folder / name
    if os.path.dirname(os.path.realpath(path)) != os.path.realpath(folder):
        raise CheckpointError(
            f"{path} is a link out of its folder; put a copy of the file itself there."
        )
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file; fetch or save the model again.")
    return path


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of Python and of `packages`, for manifests."""
    result = {"python": platform.python_version()}
    for name in packages:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "not installed"
    return result


def safe_name(text: str) -> str:
    """`text`, a symbol say, as a file's name (less its ending) that can't leave its folder.

    A name that is not plain is cleaned and gets a hash of `text`, so that no two are the same.
    """
    device = _DEVICE.fullmatch(text)
    if _PLAIN_SYMBOL.fullmatch(text) and not device and not _HASHED.fullmatch(text):
        return text
    clean = re.sub(r"[^A-Za-z0-9^_=+. -]+", "_", text)[:60].strip(" .-+=")
    prefix = "_" if device or not clean else ""
    return f"{prefix}{clean}-{sha256(text.encode('utf-8', 'surrogatepass'))[:8]}"
