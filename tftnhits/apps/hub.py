"""Publish a predictor's folder to a ModelScope hub; `Predictor.load("owner/name")` is the way back."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, HubError
from ..files import atomic_write, read_json, write_json
from ..forecast.predictor import Predictor
from ..models.connection import Hub, connect
from ..models.hub import check_id, is_predictor_file
from .register import PIPELINE, TASK

# modelscope asks for the first three, and refuses the folder without trust_remote_code by the fourth where tftnhits
# is not imported; a key "model" would make it look for a model of its own
CONFIGURATION = {
    "framework": "pytorch",
    "task": TASK,
    "pipeline": {"type": PIPELINE},
    "allow_remote": True,
}
WRAPPER = "ms_wrapper.py"
# modelscope's own patience, for us: it would retry for minutes what a person can try again
PATIENCE = {
    "MODELSCOPE_API_MAX_RETRIES": "1",
    "MODELSCOPE_UPLOAD_BLOB_MAX_ATTEMPTS": "2",
    "MODELSCOPE_UPLOAD_COMMIT_MAX_ATTEMPTS": "2",
    "MODELSCOPE_UPLOAD_FAILED_FILE_MAX_RETRY_ROUNDS": "1",
    "MODELSCOPE_UPLOAD_RECOVERY_ENABLED": "false",
}

log = logging.getLogger("tftnhits")


def add_modelscope_files(folder: str | Path) -> None:
    """Write what ModelScope wants beside a predictor's own files: configuration.json and ms_wrapper.py.

    With them `modelscope.pipeline` takes a folder that Predictor.save wrote; raises OutputError.
    """
    write_json(Path(folder) / "configuration.json", CONFIGURATION)
    atomic_write(Path(folder) / WRAPPER, Path(__file__).with_name(WRAPPER).read_bytes())


def publish(
    folder: str | Path, model_id: str, private: bool = False, seconds: float | None = None
) -> list[str]:
    """Upload a predictor's folder as the model "owner/name", made if it isn't there; returns the files that went up.

    Only what a predictor is made of goes, with the README.md and the two files for ModelScope; anything else stays,
    and a warning in the log names it. Files of an older version of the predictor are deleted from the model's newest
    state. The folder is loaded before anything is sent. The token is MODELSCOPE_API_TOKEN, else that of
    `modelscope login`. `seconds` bound the whole upload (300, or TFTNHITS_HUB_SECONDS).
    Raises ConfigError on a bad id, token or limit, CheckpointError if the folder isn't whole, HubError if the hub can't
    be reached, refuses or is too slow, MissingDependency without modelscope.
    """
    check_id(model_id)
    hub = connect(model_id, seconds)
    if not hub.token and not _logged_in():
        raise HubError(
            "There is no token to publish with; set MODELSCOPE_API_TOKEN to one from your account."
        )
    with tempfile.TemporaryDirectory(prefix="tftnhits-") as work:
        stage = Path(work) / "model"
        stage.mkdir()
        _copy_parts(Path(folder), stage)
        add_modelscope_files(stage)
        _upload(hub, stage, private)
        return sorted(path.name for path in stage.iterdir())


def _copy_parts(folder: Path, stage: Path) -> None:
    """Copy the predictor's files and load the copy, so that what goes up has proved whole; log what stays behind."""
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no model folder {str(folder)[:80]!r} to publish; name one."
        )
    found = {path.name: path for path in folder.iterdir()}
    # a link could lead anywhere
    parts = [
        n
        for n, path in found.items()
        if is_predictor_file(n) and path.is_file() and not path.is_symlink()
    ]
    for name in parts:
        shutil.copyfile(found[name], stage / name)
    try:
        here = Predictor.load(stage).members
        members = list(read_json(stage / "predictor.json")["members"])
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(stage), str(folder))) from error
    if lost := [name for name in members if name not in here]:
        raise CheckpointError(
            f"{folder} is not whole here: {lost[0]} can't be loaded; publish where all of it can."
        )
    if stay := sorted({*found} - {*parts, WRAPPER}):
        log.warning("Not published, since no part of a predictor: %s", ", ".join(stay))


def _logged_in() -> bool:
    """Whether `modelscope login` has left something; modelscope reads it, in its own process."""
    from modelscope_hub import HubConfig

    return (HubConfig(token="").credentials_dir / "cookies").is_file()


def _upload(hub: Hub, stage: Path, private: bool) -> None:
    """modelscope's own client, in a process that can be ended: a thread that hangs in it could still publish later."""
    said = stage.parent / "said.json"
    job = {"model": hub.model_id, "folder": str(stage), "private": private, "said": str(said)}
    environment = {
        **os.environ,
        **PATIENCE,
        "MODELSCOPE_API_TIMEOUT": f"{max(1, min(30, hub.seconds)):.0f}",
    }
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    if hub.token:  # in its environment already; nothing need be kept at home
        environment["MODELSCOPE_HOME"] = str(stage.parent / "home")
    try:
        # what it prints and logs ends here: only `said` counts
        subprocess.run(
            [sys.executable, "-m", "tftnhits.apps.upload", json.dumps(job)],
            env=environment,
            cwd=stage.parent,  # Python looks for modules in the working folder first: in ours there are none
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max(hub.deadline - time.monotonic(), 0.001),
        )
    except subprocess.TimeoutExpired:
        raise hub.late() from None
    outcome = _outcome(said)
    if outcome.get("done"):
        return
    if status := outcome.get("status"):
        raise hub.refusal(status, "publish")
    if outcome.get("network"):
        raise HubError(
            f"{hub.name} can't be reached to publish {hub.model_id}; check the connection and try again."
        )
    why = outcome.get("kind", "it ended early")
    raise HubError(
        f"{hub.model_id} could not be published at {hub.name} ({why}); try again: what is there is kept."
    )


def _outcome(said: Path) -> dict[str, Any]:
    return read_json(said) if said.is_file() else {}
