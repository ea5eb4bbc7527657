"""Make an environment and keep it whole: `python envs/environment.py cpu .venv`. The Makefile calls it before every target.

The Python that runs this makes the environment, then pip installs `envs/KIND.lock` in it. A finished environment has
a record that says where it stands and what was installed; nothing is done when that still holds. What was begun and
not finished, was moved, or lost its Python is made again.

Nothing but the standard library, and nothing that Python 3.8 cannot read: an unfit Python is to say so itself.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
FIRST, LAST = (3, 11), (3, 13)  # the pinned packages have wheels for these; `requires-python` says the same
RECORD = ".made.json"
# To fetch, as the index counts for Linux on x86_64, Python 3.13.
SIZES = {"cpu": "0.5 GB", "dev": "0.6 GB", "gpu": "4.3 GB", "vllm-cpu": "0.7 GB", "outside": "0.6 GB"}
CUDA_SIZE = "2.7 GB to fetch, 5.5 GB on disk"


class Told(Exception):
    """What the user is to know, in one line."""


def unfit() -> str | None:
    """Why the Python that runs this cannot make the environment, or None."""
    name = f"{sys.executable or 'this'} is Python {RUNNING}"
    if not FIRST <= sys.version_info[:2] <= LAST:
        return f"{name}, the pinned packages need 3.11, 3.12 or 3.13: install one, or name it, PYTHON=python3.13"
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        return (
            f"{name} without venv and ensurepip, so it cannot make an environment: install them"
            f" (Debian, Ubuntu: apt-get install python3.{sys.version_info[1]}-venv), or name another, PYTHON=..."
        )
    return None


def version_of(folder: Path) -> str | None:
    """`3.12` for the Python of an environment, None where it does not run or has no pip."""
    code = "import sys, importlib.util as u; print('%d.%d' % sys.version_info[:2]); sys.exit(not u.find_spec('pip'))"
    try:
        done = subprocess.run(
            [str(folder / "bin/python"), "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def recorded(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {} if (folder / RECORD).exists() else None
    return found if isinstance(found, dict) else {}


def record(place: Path, **what: Any) -> None:
    part = place / f"{RECORD}.part"
    part.write_text(json.dumps(what))
    part.replace(place / RECORD)


def is_somebodys(folder: Path) -> bool:
    """Whether a folder without our record holds something to lose: more than what `python -m venv` leaves when it is killed."""
    if not (folder / "pyvenv.cfg").exists():
        return any(not path.is_dir() or path.is_symlink() for path in folder.rglob("*"))
    installed = {path.name.split("-")[0] for path in folder.glob("lib/python*/site-packages/*.dist-info")}
    return bool(installed - {"pip", "setuptools", "wheel"})


def broken(folder: Path, found: dict[str, Any]) -> str | None:
    """Why an environment has to be made again, or None where it is whole."""
    if "folder" not in found:
        return "was not finished"
    if found["folder"] != str(folder):
        return f"was made as {found['folder']}"
    return None if version_of(folder) else "has no Python that runs, or no pip"


def digest(kind: str) -> str:
    return hashlib.sha256((HERE / f"{kind}.lock").read_bytes()).hexdigest()


def serves(found: dict[str, Any], kind: str) -> bool:
    """Whether what is installed is what `kind` asks for. One for GPUs serves machines without one too."""
    installed = found.get("locks", {})
    kinds = {"cpu": ("cpu", "dev", "gpu")}.get(kind, (kind,))
    return any(installed.get(name) == digest(name) for name in kinds if name in installed)


def pip(folder: Path, *arguments: str) -> None:
    """Run the environment's own pip, whatever PYTHONPATH, PIP_USER and the like say."""
    command = [str(folder / "bin/python"), "-I", "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    if subprocess.run(command, env={**os.environ, "PIP_USER": "0"}).returncode:
        raise Told(f"pip could not install (its words are above): {folder} is unfinished, the next make makes it again")


def torch_pin(kind: str) -> str | None:
    found = re.search(r"^torch==[^ ;\n]+", (HERE / f"{kind}.lock").read_text(), re.MULTILINE)
    return found[0] if found else None


def comes_with_cuda(folder: Path, torch: str, source: list[str]) -> bool:
    """Whether the build of torch that pip would take wants CUDA's libraries. Nothing but metadata is fetched."""
    pip(folder, "install", "pip>=23.2")  # older ones fetch the whole wheel for its metadata
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        pip(folder, "install", "--dry-run", "--ignore-installed", "--report", str(report), *source, torch)
        names = [entry["metadata"]["name"].lower() for entry in json.loads(report.read_text())["install"]]
    return any(name.startswith(("nvidia-", "cuda-")) for name in names)


def agree_to_cuda(torch: str) -> None:
    told = (
        f"the package index has {torch} with CUDA only ({CUDA_SIZE}), and this machine has no GPU:"
        " name an index of CPU builds, TORCH_INDEX=URL, or take it, TORCH_CUDA=yes"
    )
    if not sys.stdin.isatty():
        raise Told(told)
    if input(f"{told}\nTake it now? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Told("nothing was fetched; make asks again, or takes torch from TORCH_INDEX=URL")


def install(folder: Path, kind: str, torch_index: str, cuda: bool) -> None:
    """Install a lock. It is complete, so pip adds nothing; only CUDA's libraries stand in that for GPUs alone."""
    torch = torch_pin(kind)
    source = ["--extra-index-url", torch_index] if torch_index else []
    with_cuda = bool(torch) and kind != "gpu" and comes_with_cuda(folder, torch, source)
    if with_cuda and not cuda:
        agree_to_cuda(torch)
    print(f"Installing envs/{kind}.lock in {folder} (once; about {SIZES[kind]} to fetch, some minutes) ...", flush=True)
    if with_cuda:
        print(f"Installing {torch} with CUDA ({CUDA_SIZE}) ...", flush=True)
    if torch:
        pip(folder, "install", *([] if with_cuda else ["--no-deps"]), *source, torch)
    pip(folder, "install", "--no-deps", "-r", str(HERE / f"{kind}.lock"))


def ensure(folder: Path, kind: str, asked: bool = False, torch_index: str = "", cuda: bool = False) -> None:
    """Leave `folder` with the packages of `envs/KIND.lock`.

    asked: the user named the Python, so one that is unfit or differs from the environment's is no detail.
    torch_index: where to take torch from, for machines without GPU.
    cuda: take torch with CUDA where the index has no other.

    Raises Told: the Python cannot do it, the folder is somebody's, pip failed, CUDA was not agreed to.
    """
    folder = folder.resolve()
    problem = unfit()
    if asked and problem:
        raise Told(problem)

    def whole() -> bool:
        found = recorded(folder)
        return (
            bool(found)
            and not broken(folder, found)
            and serves(found, kind)
            and not (asked and found["python"] != RUNNING)
        )

    if whole():
        return
    if problem:
        raise Told(problem)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)  # another make in this checkout
        if not whole():
            prepare(folder, kind, asked)
            install(folder, kind, torch_index, cuda)
            kinds = {name: digest(name) for name in {"dev": ("dev", "cpu")}.get(kind, (kind,))}
            record(folder, folder=str(folder), python=version_of(folder), locks=kinds)
    finally:
        os.close(handle)


def prepare(folder: Path, kind: str, asked: bool) -> None:
    """Make the environment, or keep a whole one, and record that what follows is not finished."""
    found = recorded(folder)
    if found is None:
        if is_somebodys(folder):
            raise Told(f"{folder} was not made by make: remove it, or name another folder, VENV=...")
    else:
        reason = broken(folder, found)
        if not reason and asked and found["python"] != RUNNING:
            reason = f"has Python {found['python']}"
        if not reason:
            if kind == "dev" and "gpu" in found.get("locks", {}):
                raise Told(
                    f"{folder} holds the packages for GPUs, tests have others: name another folder, VENV=.venv-dev"
                )
            record(folder)
            return
        print(f"{folder} {reason}: made again", flush=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    record(folder)
    create(folder)


def create(folder: Path) -> None:
    if subprocess.run([sys.executable, "-I", "-m", "venv", str(folder)]).returncode:
        raise Told(f"{sys.executable} could not make an environment (its words are above): PYTHON=... names another")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", nargs="?", choices=sorted(SIZES))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--fits", action="store_true", help="only tell by the exit status whether this Python can")
    parser.add_argument("--asked", action="store_true", help="the user named this Python")
    parser.add_argument("--torch-index", default="", metavar="URL", help="an index of CPU builds of torch")
    parser.add_argument("--cuda", action="store_true", help="take torch with CUDA where the index has no other")
    args = parser.parse_args(arguments)
    if args.fits:
        return int(unfit() is not None)
    if not args.folder:
        parser.error("name a kind and a folder")
    try:
        ensure(args.folder, args.kind, args.asked, args.torch_index, args.cuda)
    except Told as told:
        print(f"error: {told}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {args.folder}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{args.folder} is unfinished, the next make makes it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
