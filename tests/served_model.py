"""A stand-in of an OpenAI-compatible server on the loopback, which fails as servers do.

python tests/served_model.py MODEL PORT
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EOS = 2


class Stand(ThreadingHTTPServer):
    """Answers each prompt with three ids of its seed and EOS; what it was asked, and what it shall do wrong."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.models: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.faults: dict[int, list[int]] = {}  # by seed: statuses before the answer; 0 hangs up
        self.returns_ids = True
        self.at_once, self.most = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Stand

    def do_GET(self) -> None:
        self.server.keys.add(self.headers["Authorization"])
        self.say(200, {"object": "list", "data": [{"object": "model", **model} for model in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.at_once += 1
            self.server.most = max(self.server.most, self.server.at_once)
            faults = self.server.faults.get(body["seed"])
            fault = faults.pop(0) if faults else 200
        try:
            if fault == 0:
                self.close_connection = True
                return
            if fault != 200:
                return self.say(fault, {"error": {"message": f"status {fault}", "type": "x"}})
            ids = [5 + body["seed"] % 7, 6, 7, EOS]
            choice: dict[str, Any] = {"index": 0, "text": "x", "finish_reason": "stop", "logprobs": None}
            if self.server.returns_ids:
                choice["token_ids"] = ids
            self.say(200, {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]})
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def say(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    stand = Stand(int(sys.argv[2]))
    stand.models = [{"id": sys.argv[1]}]
    stand.serve_forever()
