"""Files that are whole or absent: every write goes to a temporary name and is renamed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import stat
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import CheckpointError, OutputError, shown


def atomic_write(path: str | Path, content: bytes | str) -> Path:
    """Write `content` to `path` so that a crash leaves the old file or the new one; raises OutputError."""
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
        raise OutputError(
            f"Can't write {path}: {error.strerror or error}; choose a folder that you may write to."
        ) from error
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, atomically."""
    return atomic_write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; raises CheckpointError if the file is missing or is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device may never end
            raise CheckpointError(f"Can't read {path}: no regular file; is this a model folder?")
        value = json.loads(Path(path).read_bytes())
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"Can't read {path}: {error.strerror or error}; is this a model folder?"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); save the model again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; save the model again.")
    return value


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of Python and of `packages`, for manifests; "not installed" where there is none."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def data_file(folder: Path, name: Any) -> Path:
    """`folder`/`name`, the file of weights that a folder's JSON names: it lies in the folder, whole and plain.

    Raises CheckpointError on a name of other than ASCII letters, digits, "_", "-" and ".", on a link that leads out of
    the folder (what it led to would be read, or copied when the model is published), and on what is no regular file
    (a pipe or a device may never end).
    """
    if not isinstance(name, str) or not _DATA.fullmatch(name) or _RESERVED.fullmatch(name):
        raise CheckpointError(
            f"{folder} names the file {shown(name)}, which is no plain file name; don't use this folder."
        )
    path = folder / name
    if os.path.dirname(os.path.realpath(path)) != os.path.realpath(folder):
        raise CheckpointError(
            f"{path} is a link out of its folder; put a copy of the file itself there."
        )
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no regular file; fetch or save the model again.")
    return path


_DATA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Symbols come from data. Plain ones keep their name: ASCII letters, digits and the signs that symbols have, 80 at most.
_PLAIN = re.compile(r"[A-Za-z0-9^_]([A-Za-z0-9^_=+. -]{0,78}[A-Za-z0-9^_=+-])?")
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)  # Windows' devices, whatever the ending
_HASHED = re.compile(r".*-[0-9a-f]{8}")


def safe_name(text: str) -> str:
    """`text`, a symbol say, as the name of a file (to which an ending is put) that can't leave its folder.

    A name that is not plain is cleaned and gets a hash of `text`, so that different texts have different names.
    """
    reserved = _RESERVED.fullmatch(text)
    if _PLAIN.fullmatch(text) and not reserved and not _HASHED.fullmatch(text):
        return text
    clean = re.sub(r"[^A-Za-z0-9^_=+. -]+", "_", text)[:60].strip(" .-+=")
    return f"{'_' * bool(reserved or not clean)}{clean}-{sha256(text.encode('utf-8', 'surrogatepass'))[:8]}"
