"""A small ModelScope-shaped hub on 127.0.0.1: it stores, serves, and fails when told to.

Only what the clients ask of it: create and look up a model, the LFS batch, blobs, commits, the list
of files, the files. `fault` is one of FAULTS, on the requests whose path holds `where`; `seen` has
every request with its headers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qs, urlsplit

# "short" ends the body early, "shrunk" announces the shorter body, "altered" changes a byte of it,
# "trickle" sends a byte at a time, "hang" answers nothing; a number is answered as HTTP status
FAULTS = ("short", "shrunk", "altered", "trickle", "hang", 401, 403, 404, 429, 500, 503)
FILE, LIST = "/repo?", "/repo/files"  # for `where`


class Hub(ThreadingHTTPServer):
    """Models by id, each a dict of path -> bytes; `token`, if set, is asked for by everything."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1"):
        super().__init__((host, 0), Handler)
        self.models: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.extra: list[dict] = []  # entries that the list of files has beside the model's own
        self.fault: str | int | None = None
        self.where = ""
        self.token: str | None = None
        self.elsewhere = ""  # address of another hub, where files are to be had
        self.blobs_at = ""  # address of another hub, where files are to be sent
        self.cookie = ""  # that it sets
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.over = threading.Event()  # ends what hangs

    def server_bind(self):
        """Without HTTPServer's look-up of our own name, which can take its time."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    @property
    def address(self) -> str:
        return f"http://{self.server_name}:{self.server_port}"

    def fail(self, fault: str | int | None, where: str = "") -> None:
        assert fault is None or fault in FAULTS
        self.fault, self.where, self.seen = fault, where, []

    def handle_error(self, request, client_address):
        """Clients that go away are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for its body
    server: Hub

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub, url = self.server, urlsplit(self.path)
        hub.seen.append((self.command, self.path, dict(self.headers)))
        fault = hub.fault if hub.where in self.path else None
        shown = f"{self.headers['Authorization']} {self.headers['Cookie']}"
        if fault == "hang":
            hub.over.wait(60)
        elif isinstance(fault, int):
            self.refuse(fault, "told to fail")
        elif hub.token and hub.token not in shown:
            self.refuse(401, "who are you?")
        else:
            self.route(url.path, {k: v[0] for k, v in parse_qs(url.query).items()}, body)

    def route(self, path: str, query: dict[str, str], body: bytes):
        hub, parts = self.server, path.strip("/").split("/")
        match self.command, parts:
            case "POST", ["api", "v1", "models"]:
                asked = json.loads(body)
                name = f"{asked['Path']}/{asked['Name']}"
                if name in hub.models:
                    return self.refuse(400, "model already exists", 10010101001)
                hub.models[name] = {}
                hub.private |= {name} if asked.get("Visibility") == 1 else set()
                return self.grant({"Path": asked["Path"], "Name": asked["Name"]})
            case "POST", ["api", "v1", "repos", "models", _, _, "info", "lfs", "objects", "batch"]:
                wanted = [o for o in json.loads(body)["objects"] if o["oid"] not in hub.blobs]
                for one in wanted:
                    href = f"{hub.blobs_at or hub.address}/blobs/{one['oid']}"
                    one["actions"] = {"upload": {"href": href}}
                return self.grant({"objects": wanted})
            case "PUT", ["blobs", oid]:
                if hashlib.sha256(body).hexdigest() != oid:
                    return self.refuse(400, "another hash")
                hub.blobs[oid] = body
                return self.grant({})
            case "POST", ["api", "v1", "repos", "models", owner, name, "commit", _]:
                return self.commit(f"{owner}/{name}", json.loads(body)["actions"])
        model = "/".join(parts[3:5])
        if model not in hub.models:
            return self.refuse(404, "not found", 10010205001)
        files = hub.models[model]
        match parts[:3], parts[5:]:
            case ((["api", "v1", "models"] | ["openapi", "v1", "models"]), []):
                owner, name = model.split("/")
                old = {"Owner": owner, "Path": owner, "Name": name}
                return self.grant(old | {"id": model, "owner": owner, "name": name})
            case ["api", "v1", "models"], ["repo", "files"]:
                listed = [self.entry(path, data) for path, data in files.items()] + hub.extra
                return self.grant({"Files": listed})
            case ["api", "v1", "models"], ["repo"] if hub.elsewhere:
                return self.send(b"", 302, location=hub.elsewhere + self.path)
            case ["api", "v1", "models"], ["repo"] if query.get("FilePath") in files:
                return self.send(files[query["FilePath"]])
            case ["api", "v1", "models"], ["revisions"]:
                return self.grant(
                    {"RevisionMap": {"Branches": [{"Revision": "master"}], "Tags": []}}
                )
        self.refuse(404, "no such thing")

    @staticmethod
    def entry(path: str, data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        entry = {"Path": path, "Name": path.rsplit("/", 1)[-1], "Type": "blob"}
        return entry | {"Size": len(data), "Sha256": digest}

    def commit(self, model: str, actions: list[dict]):
        files = self.server.models[model]
        for action in actions:
            if action["action"] == "delete":
                files.pop(action["path"], None)
            elif action["type"] == "lfs":
                files[action["path"]] = self.server.blobs[action["sha256"]]
            else:
                files[action["path"]] = base64.b64decode(action["content"])
        self.grant({"Id": "1"})

    def grant(self, data: dict):
        answer = {"Code": 200, "Success": True, "Data": data, "success": True, "data": data}
        self.send(json.dumps(answer).encode())

    def refuse(self, status: int, message: str, code: int = 0):
        answer = {"Code": code or status, "Success": False, "Message": message}
        self.send(json.dumps(answer).encode(), status)

    def send(self, data: bytes, status: int = 200, location: str = ""):
        fault = self.server.fault if self.server.where in self.path and status == 200 else None
        if fault == "altered":
            data = data[:-1] + bytes([data[-1] ^ 1])
        size = len(data)
        if fault in ("short", "shrunk"):
            data = data[: size // 2]
            size = size if fault == "short" else len(data)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(size))
        if location:
            self.send_header("Location", location)
        if self.server.cookie:
            self.send_header("Set-Cookie", self.server.cookie)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "trickle":
            for byte in data:
                if self.server.over.wait(0.05):
                    break
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(data)
        self.close_connection = fault in ("short", "trickle")


@contextmanager
def hub_server(host: str = "127.0.0.1"):
    """A hub while the block runs."""
    with Hub(host) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.over.set()
            hub.shutdown()
            thread.join(5)
