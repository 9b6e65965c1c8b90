"""`python -m tftnhits.apps.upload JOB`: hub.publish runs modelscope's client here, and reads what is left in a file.

JOB is JSON: model, folder, private, said. The token comes by the environment or modelscope's own login, and what is
said of a failure is its kind and HTTP status alone, no text of the client or the hub.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from ..files import write_json
from ..models.hub import is_predictor_file


def upload(model: str, folder: str, private: bool) -> None:
    """Make the model if need be, send `folder`, delete what older versions left; raises modelscope's errors."""
    from modelscope_hub import HubApi
    from modelscope_hub.errors import NotExistError

    api = HubApi()
    try:
        api.get_repo(model, "model")
    except NotExistError:
        visibility = "private" if private else "public"
        api.create_repo(
            model, "model", visibility=visibility, license="Other"
        )  # else it would say Apache-2.0
    api.upload_folder(
        model, "model", folder, commit_message="Publish", use_cache=False, disable_tqdm=True
    )
    sent = {path.name for path in Path(folder).iterdir()}
    there = [
        file.path for file in api.list_repo_files(model, "model") if is_predictor_file(file.path)
    ]
    if old := [path for path in there if path not in sent]:
        api.delete_files(model, "model", old, commit_message="Remove what an older version left")


class Refusals(logging.Handler):
    """Keeps the HTTP status of errors that the client logs: what it raises in the end no longer has it."""

    status: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        for arg in record.args if isinstance(record.args, tuple) else ():
            self.status = getattr(arg, "status_code", None) or self.status


def main(job: dict[str, Any]) -> None:
    """Do `job` and leave in the file `said`: done, or kind, HTTP status, and whether the hub was out of reach."""
    from modelscope_hub.errors import NetworkError

    refusals = Refusals()
    logging.getLogger("modelscope_hub").addHandler(refusals)
    try:
        upload(job["model"], job["folder"], job["private"])
        outcome: dict[str, Any] = {"done": True}
    except Exception as error:
        status = getattr(error, "status_code", None) or refusals.status
        outcome = {
            "kind": type(error).__name__,
            "status": status,
            "network": isinstance(error, NetworkError),
        }
    write_json(job["said"], outcome)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
