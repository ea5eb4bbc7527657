"""A stand-in for the hub's API on this machine: tokens, repositories, large files, commits, and failures on demand."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_canary_of_the_tests"


class Hub:
    """What is there: repositories by kind and id, large files by SHA-256, what was sent; `refuse`: large files to fail on."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], dict[str, Any]] = {}
        self.large: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.commits: list[str] = []
        self.cards: list[str] = []
        self.refuse: set[str] = set()
        self.url = ""

    def files(self, kind: str, repository: str) -> dict[str, bytes]:
        return self.repositories[kind, repository]["files"]


def answer(hub: Hub, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
    """Status and JSON of a request."""
    if method == "PUT":
        name = path.rpartition("/")[2]
        if name in hub.refuse:
            return 400, {"error": "the storage is down"}
        assert hashlib.sha256(body).hexdigest() == name
        hub.large[name] = body
        hub.uploads.append(name)
        return 200, {}
    if token != f"Bearer {TOKEN}":
        return 401, {"error": "Invalid username or password."}
    if path == "/api/whoami-v2":
        return 200, {"name": "me", "type": "user", "orgs": []}
    if path == "/api/validate-yaml":
        hub.cards.append(json.loads(body)["content"])
        return 200, {"errors": [], "warnings": []}
    if path == "/api/repos/create":
        asked = json.loads(body)
        kind, name = asked.get("type") or "model", f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "me":
            return 403, {"error": "You don't have the rights to create a model under this namespace"}
        status = 409 if (kind, name) in hub.repositories else 200
        hub.repositories.setdefault((kind, name), {"private": asked.get("visibility") == "private", "files": {}})
        return status, {"url": f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"}
    if found := re.fullmatch(r"/(?:datasets/)?(.+)\.git/info/lfs/objects/batch", path):
        objects = []
        for each in json.loads(body)["objects"]:
            there = each["oid"] in hub.large
            actions = {} if there else {"actions": {"upload": {"href": f"{hub.url}/large/{each['oid']}"}}}
            objects.append(each | actions)
        return 200, {"transfer": "basic", "objects": objects}
    found = re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(preupload|commit|revision)/main)?", path)
    assert found, path
    kind, name, what = found.groups()
    own = hub.repositories[kind, name]
    if what == "preupload":
        return 200, {"files": [mode_of(own["files"], each["path"]) for each in json.loads(body)["files"]]}
    if what == "commit":
        return 200, commit(hub, own["files"], f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}", body)
    siblings = [{"rfilename": each} for each in own["files"]]
    return 200, {"id": name, "sha": f"{len(hub.commits):040d}", "private": own["private"], "siblings": siblings}


def mode_of(files: dict[str, bytes], path: str) -> dict[str, Any]:
    """How a file is to be sent, and the hash of what is there."""
    large, there = path.endswith(".safetensors"), files.get(path)
    oid = None
    if there is not None:
        head = b"" if large else f"blob {len(there)}\0".encode()
        oid = (hashlib.sha256 if large else hashlib.sha1)(head + there).hexdigest()
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}


def commit(hub: Hub, files: dict[str, bytes], url: str, body: bytes) -> dict[str, Any]:
    for line in map(json.loads, body.splitlines()):
        own = line["value"]
        if line["key"] == "file":
            files[own["path"]] = base64.b64decode(own["content"])
        elif line["key"] == "lfsFile":
            files[own["path"]] = hub.large[own["oid"]]
        elif line["key"] == "deletedFile":
            del files[own["path"]]
    hub.commits.append(f"{len(hub.commits) + 1:040d}")
    return {"success": True, "commitOid": hub.commits[-1], "commitUrl": f"{url}/commit/{hub.commits[-1]}"}


@contextmanager
def standing_in() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def handle_one_of_them(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            status, found = answer(hub, self.command, path, body, self.headers.get("Authorization", ""))
            text = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = handle_one_of_them

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
