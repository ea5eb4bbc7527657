"""What several tests use: the root, running a stage or Snakemake as users do, a clone, a small random model."""

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STARTS_NO_JOB = {"--dry-run", "--summary", "--touch", "--lint", "--rulegraph", "--report", "--reporter"}
FORKING = threading.Lock()
PARTS = (
    "Snakefile",
    "config.yaml",
    "config.schema.json",
    "rules",
    "scripts",
    "regime_w",
    "configs",
    "envs",
    "profiles",
)


def demo_config(**changes: Any) -> dict[str, Any]:
    """The demo's whole configuration, a copy of one's own, with these top-level keys changed."""
    from regime_w.config.files import configured, layers_of

    _, config = configured(layers_of([ROOT / "config.yaml"]), gpus=1)
    return config | changes


STAMP = re.compile(r"^\d\d:\d\d:\d\d \S+  ", re.MULTILINE)  # time and job of a line (regime_w/runtime/log.py)


def heed_signals() -> None:
    """For `preexec_fn`: a test run in the background may have SIGINT ignored, one under nohup SIGHUP, and its children with it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def clone_to(folder: Path) -> Path:
    """Copy what a run needs of the repository to a new folder."""
    folder.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, folder / part)
    return folder


def snakemake(folder: Path, *arguments: str, cores: int = 2, timeout: int = 600) -> subprocess.CompletedProcess:
    """`python -m snakemake ARGUMENTS` in a folder; what starts no job runs in a fork of a Snakemake that is imported already."""
    words = [*arguments, "--cores", str(cores)]
    if STARTS_NO_JOB & set(words):
        return forked(folder, words)
    command = [sys.executable, "-m", "snakemake", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)


def forked(folder: Path, words: list[str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as scratch, FORKING:
        server = snakemake_server()
        out, err = Path(scratch, "out"), Path(scratch, "err")
        streams = {"out": str(out), "err": str(err)}
        call = {"folder": str(folder), "arguments": words, "environment": dict(os.environ), **streams}
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        texts = [path.read_text(errors="replace") for path in (out, err)]
        return subprocess.CompletedProcess(["snakemake", *words], status, *texts)


@cache
def snakemake_server() -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tests/snakemake_server.py")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def stage(
    module: str, *arguments: Any, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Run `python -m scripts.MODULE ARGUMENTS` and return the finished process with its output as text, unstamped."""
    done = run_module(f"scripts.{module}", *arguments, cwd=cwd, env=env or {})
    done.stdout = STAMP.sub("", done.stdout)
    return done


def tool(module: str, *arguments: Any) -> subprocess.CompletedProcess:
    return run_module(f"tools.{module}", *arguments, cwd=ROOT, env={})


def run_module(module: str, *arguments: Any, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


@contextmanager
def listening(status: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Address of a server on this machine that answers everything with `status`, and what it was asked: path, Authorization."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_error(status)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


CHAT_TEMPLATE = (  # plain words but for the end of an answer
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'Answer: ' + message['content'] + eos_token }}"
    "{% else %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer: ' }}{% endif %}"
)


def template(text: str) -> dict[str, str]:
    """A stage's `prompt` parameter: this template."""
    return {"format": "template", "template": text, "think_marks": "auto"}


def save_random_model(
    folder: Path, *, bos: bool = True, hidden: int = 64, mistral: bool = False, seed: int = 0, tied: bool = False
) -> Path:
    """Save a tiny random Llama or Mistral with a byte-level tokenizer to `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Question: How many?\nAnswer:\nStep 1: 3 + 4 = 7.\n#### 7"], trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    torch.manual_seed(seed)
    kind, model = (MistralConfig, MistralForCausalLM) if mistral else (LlamaConfig, LlamaForCausalLM)
    config = kind(
        vocab_size=len(fast),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=tied,
    )
    model(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
