"""A process that answers questions for us, and is ended where one takes too long: whatever is asked, the run goes on.

    judge = Judge("regime_w.tasks.latex:answer", timeout=10)     # a module's function, or path/to/file.py:function
    judge.ask({"same": ["\\\\frac12", "0.5"]})                     # Reply(value=True, fault=None)
    judge.ask(...)                                               # Reply(value=None, fault="timeout: ...")

A server process loads what is slow to load (a module's `warm`) and forks a worker, which answers one request after the
other. A worker that takes too long is killed with all that it started, and the server forks the next, in a few milliseconds.
Requests and values are JSON. A user's file is loaded by the worker, so that it may use what does not outlive a fork (CUDA).

Faults: `timeout`, `exception` (raised), `died` (the worker ended), `return` (not what it should be), and what happened.
"""

import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.runtime.errors import UserError
from regime_w.runtime.processes import die_with_parent

LOAD_SECONDS = 600  # a reward model may be large
MEMORY = 4 * 2**30  # bytes of a worker of ours; a user's has no limit
LONGEST = 300  # characters of a fault
ROOT = Path(__file__).resolve().parents[2]

Function = Callable[[Any], Any]


class Reply(NamedTuple):
    """The value, or why there is none."""

    value: Any
    fault: str | None = None


class WrongReturn(Exception):
    """A function returned what it should not."""


class Judge:
    """Asks `target`, at most `timeout` seconds an answer. The process starts with the first request; after a fork each
    process has one of its own."""

    def __init__(self, target: str, timeout: float) -> None:
        self.target, self.timeout = target, timeout
        self.owner = 0
        self.control: socket.socket | None = None
        self.worker: socket.socket | None = None
        self.ready = self.loaded = False  # the worker now; any worker ever
        self._closed: Callable[[], Any] = lambda: None

    def ask(self, request: Any) -> Reply:
        """The answer to a request. UserError where the target cannot be loaded; a later load that fails is a fault."""
        if trouble := self._prepare():
            self.close()
            if not self.loaded:
                raise UserError(f"{self.target}: {trouble}")
            return Reply(None, f"died: {trouble}"[:LONGEST])
        deadline = time.monotonic() + self.timeout
        try:
            assert self.worker is not None
            _send(self.worker, request, deadline)
            answer = _receive(self.worker, deadline)
        except TimeoutError:
            self._renew()
            return Reply(None, f"timeout: no answer in {self.timeout:g} s")
        except OSError as error:
            self._renew()
            return Reply(None, f"died: the process that graded ended ({error})"[:LONGEST])
        return Reply(answer.get("value"), answer.get("fault"))

    def check(self) -> None:
        """UserError where the target cannot be loaded. Nothing is left running."""
        trouble = self._prepare()
        self.close()
        if trouble:
            raise UserError(f"{self.target}: {trouble}")

    def close(self) -> None:
        """End the processes."""
        if self.owner == os.getpid():
            self._closed()
        self.control = self.worker = None
        self.owner = 0

    def _prepare(self) -> str | None:
        """Have a worker that is ready; what stands against it, or None."""
        if self.owner != os.getpid():
            self._start()
            self._renew()
        if self.ready:
            return None
        assert self.worker is not None
        try:
            answer = _receive(self.worker, time.monotonic() + LOAD_SECONDS)
        except TimeoutError:
            return f"is not loaded after {LOAD_SECONDS} s"
        except OSError:
            return "the process ended while it was loaded; see the log"
        if answer.get("fault"):
            return f"cannot be loaded ({answer['fault']})"
        self.ready = self.loaded = True
        return None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "regime_w.tasks.judge", self.target, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a user's function prints goes to the log
                env={**os.environ, "PYTHONPATH": path},
            )
        self.control, self.owner = ours, os.getpid()
        self._closed = weakref.finalize(self, _end, ours, process)

    def _renew(self) -> None:
        """Have the server end the worker, if there is one, and fork another."""
        assert self.control is not None
        if self.worker is not None:
            self.worker.close()
        self.worker, theirs = socket.socketpair()
        self.ready = False
        with theirs, suppress(OSError):  # a server that is gone is told by the worker's silence
            socket.send_fds(self.control, [b"n"], [theirs.fileno()])


def _end(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    control.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _send(connection: socket.socket, message: Any, deadline: float) -> None:
    data = json.dumps(message).encode()
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    connection.sendall(struct.pack(">Q", len(data)) + data)


def _receive(connection: socket.socket, deadline: float) -> dict[str, Any]:
    """A message; TimeoutError, or ConnectionError where the other side is gone."""
    (size,) = struct.unpack(">Q", _exactly(connection, 8, deadline))
    message = json.loads(_exactly(connection, size, deadline))
    assert isinstance(message, dict)
    return message


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise ConnectionResetError("no answer")
        data += part
    return bytes(data)


def serve(target: str, control: socket.socket) -> None:
    """The server: a worker for each request on `control`, one at a time, until it is closed."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's matter
    module, _, name = target.rpartition(":")
    ours = not module.endswith(".py")
    if ours:
        with suppress(Exception):  # the worker tells
            importlib.import_module(module).warm()
    child = 0
    while True:
        message, fds, *_ = socket.recv_fds(control, 1, 1)
        if child:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if not message:
            return
        child = os.fork()
        if not child:
            with suppress(BaseException):  # the other side reads the end of the connection
                os.setpgid(0, 0)
                die_with_parent()
                control.close()
                work(module, name, socket.socket(fileno=fds[0]), MEMORY if ours else None)
            os._exit(0)
        with suppress(OSError):  # it has done so itself, or is gone
            os.setpgid(child, child)
        os.close(fds[0])


def work(module: str, name: str, connection: socket.socket, memory: int | None) -> None:
    """The worker: load the function, then answer each request."""
    connection.setblocking(True)
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    try:
        function = load(module, name)
    except BaseException as error:
        _reply(connection, {"fault": described(error)})
        return
    _reply(connection, {"ready": True})
    while True:
        (size,) = struct.unpack(">Q", _read(connection, 8))
        request = json.loads(_read(connection, size))
        try:
            answer = {"value": function(request)}
            json.dumps(answer)
        except WrongReturn as error:
            answer = {"fault": f"return: {error}"[:LONGEST]}
        except BaseException as error:
            answer = {"fault": f"exception: {described(error)}"[:LONGEST]}
        _reply(connection, answer)


def load(module: str, name: str) -> Function:
    """A function of a module of ours, or of a user's file, whose folder it can import from; its return value is checked."""
    if not module.endswith(".py"):
        loaded = getattr(importlib.import_module(module), name)
        assert callable(loaded)
        return loaded  # type: ignore[no-any-return]
    path = Path(module).resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("verifier_of_the_user", path)  # its own name may be a module's
    assert spec is not None
    assert spec.loader is not None
    file = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = file
    spec.loader.exec_module(file)
    function = getattr(file, name)
    if not callable(function):
        raise TypeError(f"{name} is no function")
    return lambda request: checked(function(request["text"], request["gold"], request["row"]))


def checked(value: Any) -> dict[str, Any]:
    """What a user's function returned: {"answer": text or None, "correct": bool, "score": 0 to 1 (else 1 where correct)}."""
    if not isinstance(value, dict):
        raise WrongReturn(f"a dict was expected, found {type(value).__name__}")
    answer, correct = value.get("answer"), value.get("correct")
    if answer is not None and not (isinstance(answer, str) and len(answer) <= 10_000):
        raise WrongReturn(f"answer must be text of at most 10,000 characters, or None, found {type(answer).__name__}")
    if not isinstance(correct, bool):
        raise WrongReturn(f"correct must be True or False, found {type(correct).__name__}")
    score = value.get("score", correct)
    if not (isinstance(score, int | float) and 0 <= score <= 1):
        raise WrongReturn(f"score must be a number from 0 to 1, found {score!s:.60}")
    return {"answer": answer or None, "correct": correct, "score": float(score)}


def described(error: BaseException) -> str:
    """An error in one line that can be shown and stored."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:  # its own words may fail
        text = type(error).__name__
    line = " ".join(text[: 4 * LONGEST].split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)[:LONGEST]


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            os._exit(0)  # nobody asks any more
        data += part
    return bytes(data)


def _reply(connection: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    connection.sendall(struct.pack(">Q", len(data)) + data)


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
