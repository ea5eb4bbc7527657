"""Snakemake, imported once: each line of stdin is a call, run in a fork; its exit status is a line of stdout.

Importing it takes longer than a dry run. A fork keeps calls apart, so each is what a new process would be.
"""

import json
import os
import runpy
import sys

import jinja2  # noqa: F401
import pydantic  # noqa: F401
import pynvml  # noqa: F401
import smart_open  # noqa: F401
import snakemake.cli  # noqa: F401
import snakemake_executor_plugin_slurm  # noqa: F401
import yaml  # noqa: F401


def prepare(folder: str, arguments: list[str], environment: dict[str, str], out: str, err: str) -> None:
    for number, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder  # as under `python -m`
    sys.argv[1:] = arguments


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            prepare(**json.loads(line))
            runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
            return
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
