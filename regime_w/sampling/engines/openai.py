"""A served model: completions of an OpenAI-compatible endpoint (vLLM, SGLang) by the `openai` client, many at once.

    engine: {name: openai, openai: {base_url: "http://gpu01:8000/v1"}}
    engine: {name: openai, openai: {serve: "vllm serve {model} --port {port}"}}

Prompts go there as token ids, and the ids that were sampled come back (`return_token_ids`): what is trained is what was
sampled. With `base_url` the server must say that it serves this job's model; with `serve` the job starts one for each model,
on its own GPUs, and ends it. A key is read from OPENAI_API_KEY alone.
"""

import logging
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from regime_w.models.folders import trusted
from regime_w.models.manifests import MANIFEST
from regime_w.runtime.errors import UserError
from regime_w.runtime.job import die_with_parent
from regime_w.runtime.records import read_json
from regime_w.sampling.engines.interface import CannotSwitch, Completion, Request, text_of
from regime_w.tasks.prompts import end_ids

log = logging.getLogger(__name__)

LEAVE_SECONDS = 20.0
# A server takes what generation_config.json says for all that a request leaves open; the other engines take nothing from it.
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
AGAIN = "what is finished is kept: run again"


@contextmanager
def open_served(model: Path, params: dict[str, Any]) -> Iterator["ServedEngine"]:
    """The engine for the model; `params` is the config section engine.openai, with trust_remote_code as the config has it."""
    engine = ServedEngine(model, params)
    try:
        yield engine
    finally:
        engine.leave()


class ServedEngine:
    def __init__(self, model: Path, params: dict[str, Any]) -> None:
        self.folder, self.params = model, params
        self.server: subprocess.Popen[bytes] | None = None
        self.client: Any = None
        self.name = ""

    def load(self, max_model_len: int) -> None:
        base_url = self._start(max_model_len) if self.params["serve"] else str(self.params["base_url"])
        self.client = client_of(base_url, self.params)
        if self.server:
            self._wait_for(self.server)
        self.name = self._model_there()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, **trusted(self.params))
        self.ends = end_ids(self.tokenizer, self.folder)
        self.longest = max_model_len

    def switch(self, model: Path) -> None:
        if self.client is None:
            self.folder = model
            return
        if not self.params["serve"]:
            raise CannotSwitch(f"{self.params['base_url']} serves one model")
        self.leave()
        self.folder = model
        self.load(self.longest)

    def leave(self) -> None:
        """End the server that was started here."""
        if self.server is None:
            return
        self.server.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.server.wait(LEAVE_SECONDS)
        self.server.kill()
        self.server.wait()
        self.server = None

    def generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Yield completions as they arrive, `concurrency` requests on their way at once."""
        waiting = iter(requests)
        with ThreadPoolExecutor(self.params["concurrency"]) as pool:
            running: set[Future[Completion]] = set()
            try:
                while True:
                    for request in waiting:
                        running.add(pool.submit(self._answer, request))
                        if len(running) >= 2 * self.params["concurrency"]:
                            break
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, request: Request) -> Completion:
        from openai import APIError

        try:
            made = self.client.completions.create(
                model=self.name,
                prompt=list(request.prompt_ids),
                max_tokens=request.max_new_tokens,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
                stop=list(request.stop) or None,
                extra_body=PLAIN
                | {"return_token_ids": True, "skip_special_tokens": False}
                | ({"stop_token_ids": list(request.stop_ids)} if request.stop_ids else {}),
            )
        except APIError as error:
            raise UserError(f"{self.client.base_url}: {reason_of(error)}; {AGAIN}") from None
        (choice,) = made.choices
        ids = (choice.model_extra or {}).get("token_ids")
        if ids is None:
            raise UserError(
                f"{self.client.base_url}: returns no token ids, and what is trained must be what was sampled; serve the model"
                " with vLLM or SGLang of a version that knows return_token_ids"
            )
        if choice.finish_reason not in ("stop", "length"):
            raise UserError(f"{self.client.base_url}: ended a completion for {choice.finish_reason!r}; {AGAIN}")
        ends = {*self.ends, *request.stop_ids}
        text = text_of(self.tokenizer, ids, ends, request.stop)
        return Completion(request.key, text, tuple(ids), choice.finish_reason)

    def _start(self, max_model_len: int) -> str:
        """Start the server on a free port of this machine's loopback; returns its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        places = {"model": str(self.folder.resolve()), "port": str(port), "max_model_len": str(max_model_len)}
        command = [part.format(**places) for part in shlex.split(self.params["serve"])]
        log.info(f"Starting {shlex.join(command)}")
        try:
            # What it says stands in the job's log.
            self.server = subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr, preexec_fn=die_with_parent)
        except OSError as error:
            raise UserError(f"engine.openai.serve: {command[0]}: {error.strerror}") from None
        return f"http://127.0.0.1:{port}/v1"

    def _wait_for(self, server: "subprocess.Popen[bytes]") -> None:
        """Until the server that was started here answers."""
        from openai import APIError

        end, client = time.monotonic() + self.params["start_timeout"], self.client.with_options(max_retries=0)
        while True:
            with suppress(APIError):
                client.models.list()
                return
            if (status := server.poll()) is not None:
                raise UserError(f"engine.openai.serve: the server ended with status {status}; its words are above")
            if time.monotonic() > end:
                raise UserError(
                    f"engine.openai.serve: no server at {client.base_url} after {self.params['start_timeout']} s"
                    " (engine.openai.start_timeout); does the command name {port}?"
                )
            time.sleep(0.2)

    def _model_there(self) -> str:
        """The name of this job's model at the server; UserError where it serves another."""
        from openai import APIError

        base_url = self.client.base_url
        try:
            there = list(self.client.models.list())
        except APIError as error:
            raise UserError(f"{base_url}: {reason_of(error)}; is a server there?") from None
        ours = names_of(self.folder)
        for entry in there:
            said = {entry.id, (entry.model_extra or {}).get("root")}
            if ours & {str(Path(name).resolve()) if Path(str(name)).is_dir() else name for name in said if name}:
                return str(entry.id)
        served = ", ".join(str((entry.model_extra or {}).get("root") or entry.id) for entry in there)
        raise UserError(
            f"{base_url}: serves {served or 'nothing'}, and this job needs {self.folder}; serve that folder, or let"
            " engine.openai.serve start a server for each model"
        )


def client_of(base_url: str, params: dict[str, Any]) -> Any:
    """The client; it asks again, after waits that double, where a server is busy, fails or cannot be reached."""
    from openai import OpenAI

    key = os.environ.get("OPENAI_API_KEY") or "none"  # the client wants one; a server without keys takes any
    return OpenAI(base_url=base_url, api_key=key, timeout=params["timeout"], max_retries=params["retries"])


def names_of(folder: Path) -> set[str]:
    """What a server may call a model: its folder, or the hub id of a base that came from there."""
    found = {str(folder.resolve())}
    if (folder / MANIFEST).is_file():
        made_from = read_json(folder / MANIFEST).get("made_from", {})
        if made_from.get("source") == "hub":
            found.add(made_from["hub_id"])
    return found


def reason_of(error: Exception) -> str:
    """In one line what a server refused, or why it was not reached."""
    said = str(error.__cause__ or error) if type(error).__name__ == "APIConnectionError" else str(error)
    return f"{type(error).__name__}, {' '.join(said.split()):.300}"
