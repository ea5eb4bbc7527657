"""A Kubernetes of one loopback server: it notes each job that it is given and runs its container's command in an empty folder.

What a real one adds, images, limits, mounts, nodes, is not here: the volume's path is the same inside and outside.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class Cluster:
    """`jobs`: what was submitted, by name; `logs`: what the pods said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, subprocess.Popen[str]] = {}

    def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        workdir = self.folder / name
        workdir.mkdir(parents=True)
        with open(self.folder / f"{name}.log", "w") as log:
            command = [*container["command"], *container["args"]]
            environment = {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "PYTHONPATH")}
            self.pods[name] = subprocess.Popen(command, cwd=workdir, env=environment, stdout=log, stderr=log, text=True)
        self.jobs[name] = job
        return job

    def status(self, name: str) -> dict[str, Any]:
        ended = self.pods[name].poll()
        said = {"active": 1} if ended is None else {"failed": 1} if ended else {"succeeded": 1}
        return self.jobs[name] | {"status": said}

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Cluster, Path]]:
    """The cluster, and a KUBECONFIG that leads to it."""
    here = Cluster(folder / "pods")

    class Handler(BaseHTTPRequestHandler):
        def answer(self, what: dict[str, Any]) -> None:
            body = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(here.submit(sent) if self.path.endswith("/jobs") else sent)

        def do_GET(self) -> None:
            parts = self.path.split("?")[0].split("/")
            if "jobs" in parts:
                self.answer(here.status(parts[parts.index("jobs") + 1]))
            else:
                self.answer({"kind": "PodList", "apiVersion": "v1", "items": []})

        def do_DELETE(self) -> None:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = folder / "kubeconfig"
        config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "me", "user": {}}],
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "current-context": "here",
                }
            )
        )
        try:
            yield here, config
        finally:
            for pod in here.pods.values():
                pod.kill()
                pod.wait()
            server.shutdown()
            thread.join()
