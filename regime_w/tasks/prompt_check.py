"""Whether a model's prompts can be made, before anything is made from them, and what they look like.

    check_prompts(Path("checkpoints/demo/base"), {"prompt": {"prompt": {...}, "styles": {...}}}, {"trust_remote_code": False})

A chat template is a program that came with the model: it is first run in a process of its own, with bounds.
"""

import json
import logging
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from regime_w.runtime.errors import UserError
from regime_w.runtime.processes import die_with_parent
from regime_w.tasks.prompts import Params, Prompts, prompts_of

log = logging.getLogger(__name__)

SECONDS = 30  # of CPU
BYTES = 2 * 2**30  # beyond what the process has when it begins
QUESTION = "How much is 3 + 4?"


def check_prompts(folder: Path, wanted: Mapping[str, Params], trust: dict[str, bool]) -> None:
    """Print, for the parameters of each name, the first prompt of each style as text and ids.

    UserError where the model cannot be asked so, which begins with the name.
    """
    chats = {name: params for name, params in wanted.items() if params["prompt"]["format"] == "chat"}
    if chats:
        try_template(folder, chats, trust)
    for name, params in wanted.items():
        with _named(name):
            prompts = prompts_of(folder, params, trust)
            show(name, prompts, vocabulary(folder))


def show(name: str, prompts: Prompts, rows: int | None) -> None:
    """Print what a model is asked; UserError where a token is beyond the `rows` that it embeds."""
    for style in prompts.forms:
        prompt = prompts.ask(QUESTION, style)
        _, answer = prompts.example(QUESTION, style, "7")
        highest = max((*prompt.ids, *answer, *prompts.stops))
        if rows is not None and highest >= rows:
            token = prompts.tokenizer.convert_ids_to_tokens(highest)
            raise UserError(
                f"it uses {token!r}, id {highest}, and the model embeds {rows} tokens; resize its embeddings, or set "
                "prompt.format: template"
            )
        log.info(f"{name}, style {style}: {prompt.text!r}\n  ids: {list(prompt.ids)}\n  an answer `7`: {answer}")
    names = prompts.tokenizer.convert_ids_to_tokens(list(prompts.stops))
    log.info(f"Completions end at: {', '.join(names)}; an answer that is learnt ends with {prompts.ending!r}")
    log.info(f"Think marks: {' '.join(prompts.marks) if prompts.marks else 'none'}")


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def try_template(folder: Path, wanted: Mapping[str, Params], trust: dict[str, bool], seconds: int = SECONDS) -> None:
    """Render the chat template in a process with bounds; UserError where it fails, takes too long or too much memory."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_render, args=(theirs, folder, dict(wanted), trust, seconds))
    child.start()
    theirs.close()
    try:
        fault = ours.recv()
    except EOFError:
        fault = None
    child.join()
    if (child.exitcode or 0) < 0:
        fault = (
            f"the model's chat template takes more than {seconds} s or {BYTES >> 30} GB; set prompt.format: template"
        )
    elif child.exitcode and not fault:
        fault = "the model's chat template could not be tried, for the reason above; mend it, or set prompt.format: template"
    if fault:
        raise UserError(fault)


def _render(pipe: Connection, folder: Path, wanted: dict[str, Params], trust: dict[str, bool], seconds: int) -> None:
    from transformers import AutoTokenizer

    die_with_parent()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a thread for each of 64 cores takes more than BYTES
    tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
    _bound(seconds)
    try:
        for name, params in wanted.items():
            with _named(name):
                Prompts(params, tokenizer, folder)
        pipe.send(None)
    except UserError as error:
        pipe.send(str(error))


def _bound(seconds: int) -> None:
    """From here on this process may use so many seconds of CPU and BYTES more memory; beyond, the kernel ends it."""
    used = psutil.Process().memory_info().vms
    until = int(time.process_time()) + 1 + seconds
    for kind, most in ((resource.RLIMIT_CPU, until), (resource.RLIMIT_AS, used + BYTES)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def vocabulary(folder: Path) -> int | None:
    """How many tokens the model embeds, where its config.json says."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
