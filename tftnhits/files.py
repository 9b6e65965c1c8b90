"""Files that are whole or absent: every write goes to a temporary name and is renamed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import CheckpointError, OutputError


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
        value = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise CheckpointError(f"Can't read {path}: {error.strerror or error}; is this a model folder?") from error
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
    """`folder`/`name` if `name` is a plain file name; raises CheckpointError on one that would leave the folder."""
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", "..") or "\0" in name:
        raise CheckpointError(f"{folder} names the file {name!r}, which is no plain file name; don't use this folder.")
    return folder / name
