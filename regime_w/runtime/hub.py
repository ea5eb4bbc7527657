"""Send files to a repository on the Hugging Face hub, one commit a repository, by huggingface_hub's own API.

    hub = open_hub()                                           # UserError without a token, or with one that is not taken
    done = send(hub, "me/model", {"README.md": b"...", "model.safetensors": Path("...")}, private=True, replaces=["*.safetensors"])

Large files go first and are kept there, so that a second call after a failure sends only what is missing; the commit makes
them all visible at once. What is there already makes no new commit. The token is HF_TOKEN or what `hf auth login` kept, and
stands in no message.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import disable_progress_bars

from regime_w.runtime.errors import UserError
from regime_w.runtime.records import sha256_file

log = logging.getLogger(__name__)

AGAIN = "run the same command again, what is there is not sent again"
LOGIN = "set HF_TOKEN to one with the right to write, or run `hf auth login`"


def open_hub() -> HfApi:
    """The hub's API with a token that it takes; UserError otherwise."""
    if not (token := get_token()):
        raise UserError(f"publish: no token for the hub; {LOGIN}")
    disable_progress_bars()
    api = HfApi(token=token)
    with told("the hub", token):
        log.info(f"Publishing as {api.whoami()['name']} on {api.endpoint}")
    return api


def send(
    api: HfApi,
    repository: str,
    files: Mapping[str, Path | bytes],
    private: bool,
    kind: str = "model",
    replaces: Sequence[str] = (),
) -> dict[str, Any]:
    """Make the repository where there is none, and have it hold the files; returns commit and hashes.

    Files there that fit a pattern of `replaces` and are not among `files` are removed. UserError where its visibility is
    another than asked for, before anything is sent, and where the hub refuses or fails.
    """
    token = str(api.token)
    with told(repository, token):
        api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        info = api.repo_info(repository, repo_type=kind)
    if bool(info.private) != private:
        is_, wanted = ("private", "false") if info.private else ("public", "true")
        raise UserError(
            f"{repository}: is {is_} on the hub and publish.private is {wanted}; change one of the two, nothing was sent"
        )
    there = [entry.rfilename for entry in getattr(info, "siblings", None) or ()]
    stale = [name for name in there if name not in files and any(fnmatch(name, form) for form in replaces)]
    hashes = {name: sha256(content) for name, content in files.items()}
    log.info(f"{repository}: {len(files)} files, {sum(map(size, files.values())) / 1e6:,.1f} MB")
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        CommitOperationAdd(name, str(content) if isinstance(content, Path) else content)
        for name, content in files.items()
    ]
    operations += [CommitOperationDelete(name, is_folder=False) for name in stale]
    with told(repository, token):
        commit = api.create_commit(repository, operations, commit_message="Published by Regime W", repo_type=kind)
    log.info(f"{repository}: commit {commit.oid}")
    return {
        "type": kind,
        "private": private,
        "commit": commit.oid,
        "files": {name: {"bytes": size(content), "sha256": hashes[name]} for name, content in files.items()},
    }


def sha256(content: Path | bytes) -> str:
    return sha256_file(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def size(content: Path | bytes) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


@contextmanager
def told(what: str, token: str) -> Iterator[None]:
    """What the hub or the way to it refuses, as one line without the token."""
    try:
        yield
    except Exception as error:
        causes = [error]
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)  # type: ignore[arg-type]
        status = next((e.response.status_code for e in causes if isinstance(e, HfHubHTTPError)), None)
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(token, "(token)")
        if status == 401:
            line = f"{what}: the hub does not take the token; {LOGIN}"
        elif status == 403:
            line = f"{what}: the token may not write there; {LOGIN}, or change publish.hub_id"
        elif status == 400:
            line = f"{what}: the hub refuses what was sent ({reason:.300}); mend it, then {AGAIN}"
        elif status or any(isinstance(e, httpx.HTTPError | OSError | RuntimeError | ValueError) for e in causes):
            line = f"{what}: the hub cannot be reached or fails ({reason:.300}); {AGAIN}"
        else:
            raise
        raise UserError(line) from None
