"""Publish a predictor's folder to a ModelScope hub; `Predictor.load("owner/name")` is the way back.

modelscope's client runs in a process of its own, `python -m tftnhits.apps.hub`, since that can be
ended: a thread that hangs in it could still publish later.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, HubError, quoted
from ..files import atomic_write, read_json, write_json
from ..models.hub import Hub, connect, is_predictor_file

# modelscope asks for the first three, and by the fourth runs ms_wrapper.py for those who trust it;
# a key "model" would make it look for a model of its own
CONFIGURATION = {
    "framework": "pytorch",
    "task": "time-series-forecasting",
    "pipeline": {"type": "tft-nhits-forecasting"},
    "allow_remote": True,
}
WRAPPER = "ms_wrapper.py"
# modelscope would retry for minutes what a person can try again
PATIENCE = {
    "MODELSCOPE_API_MAX_RETRIES": "1",
    "MODELSCOPE_UPLOAD_BLOB_MAX_ATTEMPTS": "2",
    "MODELSCOPE_UPLOAD_COMMIT_MAX_ATTEMPTS": "2",
    "MODELSCOPE_UPLOAD_FAILED_FILE_MAX_RETRY_ROUNDS": "1",
    "MODELSCOPE_UPLOAD_RECOVERY_ENABLED": "false",
}

log = logging.getLogger("tftnhits")


def add_modelscope_files(folder: str | Path) -> None:
    """Write what ModelScope's pipeline wants beside a predictor's files; raises OutputError."""
    write_json(Path(folder) / "configuration.json", CONFIGURATION)
    atomic_write(Path(folder) / WRAPPER, Path(__file__).with_name(WRAPPER).read_bytes())


def publish(folder: str | Path, model_id: str, private: bool = False) -> list[str]:
    """Upload a predictor's folder as the model "owner/name", made if it isn't there.

    Only what a predictor is made of goes, with README.md and the two files for ModelScope, and only
    if it can be loaded; a warning in the log names what stays. Files that an older version left
    there are deleted. The token is MODELSCOPE_API_TOKEN, else that of `modelscope login`. The whole
    upload may take TFTNHITS_HUB_SECONDS (300), and goes to the hub and TFTNHITS_HUB_STORAGE alone.

    Parameters
    ----------
    folder : what Predictor.save or train_predictor wrote
    model_id : "owner/name"
    private : where the model is new, let nobody else see it

    Returns
    -------
    Names of the files that went up

    Raises
    ------
    ConfigError (id, token, limit), CheckpointError (the folder isn't whole), HubError (out of
    reach, refuses, too slow), MissingDependency (modelscope)
    """
    hub = connect(model_id)
    with tempfile.TemporaryDirectory(prefix="tftnhits-") as work:
        stage = Path(work) / "model"
        _copy_predictor(Path(folder), stage)
        add_modelscope_files(stage)
        _upload(hub, stage, private)
        return sorted(path.name for path in stage.iterdir())


def _copy_predictor(folder: Path, stage: Path) -> None:
    """Copy the predictor's files and load the copy, so that what goes up has proved whole."""
    from ..forecast.folder import files_named
    from ..forecast.predictor import Predictor

    if not folder.is_dir():
        raise CheckpointError(
            f"There is no model folder {quoted(str(folder), 100)} to publish; name one."
        )
    stage.mkdir()
    left_out = []
    for path in sorted(folder.iterdir()):
        # a link could lead anywhere
        if is_predictor_file(path.name) and path.is_file() and not path.is_symlink():
            shutil.copyfile(path, stage / path.name)
        elif path.name not in (WRAPPER, "predictor.json.lock"):
            left_out.append(path.name)
    try:
        whole = Predictor.load(stage)
        record = read_json(stage / "predictor.json")
        lost = set(record["members"]) - set(whole.members)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(stage), str(folder))) from error
    if lost:
        raise CheckpointError(f"{folder} is not whole: {min(lost)} can't be loaded; save it again.")
    for path in stage.glob("*.safetensors"):  # what a killed writer left is none of it
        if path.name not in files_named(record):
            path.unlink()
            left_out.append(path.name)
    if left_out:
        log.warning("Not published, since no part of a predictor: %s", ", ".join(left_out))


def _upload(hub: Hub, stage: Path, private: bool) -> None:
    """Run `_send` in a process of its own; of what it prints only the last line counts."""
    job = json.dumps([hub.model_id, str(stage), private])
    package = str(Path(__file__).parents[2])
    environment = os.environ | PATIENCE
    environment["MODELSCOPE_API_TIMEOUT"] = f"{max(1, min(30, hub.seconds)):.0f}"
    environment["PYTHONPATH"] = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    if hub.token:  # in its environment already; nothing need be kept at home
        environment["MODELSCOPE_HOME"] = str(stage.parent / "home")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tftnhits.apps.hub", job],
            env=environment,
            cwd=stage.parent,  # where no module lies that could be taken for another
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=hub.seconds,
        )
    except subprocess.TimeoutExpired:
        raise hub.late() from None
    lines = done.stdout.splitlines()
    outcome = json.loads(lines[-1]) if done.returncode == 0 and lines else {"kind": "it ended"}
    if outcome.get("status"):
        raise hub.refusal(outcome["status"], "publish")
    if outcome.get("sentence"):
        raise HubError(outcome["sentence"])
    if outcome.get("kind"):
        raise HubError(
            f"{hub.model_id} can't be published at {hub.name} ({outcome['kind']}); check the "
            "connection and try again: what is there is kept."
        )


def _stay_at(hub: Hub, refused: list[str]) -> None:
    """Let modelscope's client, in this process, ask the hub and its storage alone.

    It would upload to any address that the hub names, with the token, and cookies go to all ports
    of a host. The token is for the hub and, where that is storage too, its host for large files.
    What it may not ask is a sentence in `refused`: the client makes an error of its own of it.
    """
    from requests.adapters import HTTPAdapter

    from ..models.hub_client import Guard, Inside, check_redirect, is_storage, origin

    home = origin(hub.endpoint)
    large_files = f"https://lfs.{home[1].removeprefix('www.')}"
    trusted = [home, origin(large_files)] if is_storage(large_files) else [home]
    send, guard = HTTPAdapter.send, Guard(hub)

    def send_there(self: HTTPAdapter, request: Any, *args: Any, **options: Any) -> Any:
        try:
            check_redirect(hub, hub.endpoint, request.url)
        except HubError as error:
            refused.append(str(error))
            raise
        if origin(request.url) not in trusted:
            request.headers.pop("Authorization", None)
            request.headers.pop("Cookie", None)
        try:
            return send(guard, request, *args, **options)
        except Inside:
            refused.append(str(hub.inside()))
            raise

    HTTPAdapter.send = send_there


def _send(model_id: str, folder: str, private: bool) -> None:
    """Make the model if need be, send `folder`, delete what older versions left."""
    from modelscope_hub import HubApi
    from modelscope_hub.errors import NotExistError

    api = HubApi()
    try:
        api.get_repo(model_id, "model")
    except NotExistError:
        visibility = "private" if private else "public"
        # without a license it would say Apache-2.0
        api.create_repo(model_id, "model", visibility=visibility, license="Other")
    options = {"use_cache": False, "disable_tqdm": True}
    api.upload_folder(model_id, "model", folder, commit_message="Publish", **options)
    listed = {file.path for file in api.list_repo_files(model_id, "model")}
    sent = {path.name for path in Path(folder).iterdir()}
    old = [name for name in listed - sent if is_predictor_file(name)]
    if old:
        api.delete_files(model_id, "model", old, commit_message="Remove an older version's files")


def _main(job: str) -> None:
    """Say as JSON how it ended: an error's kind and HTTP status, no text but our own."""
    outcome: dict[str, Any] = {}
    refused: list[str] = []
    model_id, folder, private = json.loads(job)
    try:
        _stay_at(connect(model_id), refused)
        _send(model_id, folder, private)
    except Exception as error:
        outcome = {"kind": type(error).__name__, "status": getattr(error, "status_code", None)}
    if refused:
        outcome["sentence"] = refused[0]
    print(f"\n{json.dumps(outcome)}", flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
