"""Snakemake, imported once: each line of stdin is a call, run in a fork; its exit status is a line of stdout.

Importing it takes longer than a dry run. A fork keeps calls apart, so each is what a new process would be.
"""

import json
import os
import sys
from typing import Any, NoReturn

import jinja2  # noqa: F401
import pydantic  # noqa: F401
import pynvml  # noqa: F401
import smart_open  # noqa: F401
import snakemake.cli
import snakemake_executor_plugin_slurm  # noqa: F401
import yaml  # noqa: F401


def run(folder: str, arguments: list[str], environment: dict[str, str], out: str, err: str) -> NoReturn:
    for number, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder  # as under `python -m snakemake`
    sys.argv[1:] = arguments
    status: Any = 0
    try:
        snakemake.cli.main(arguments)
    except SystemExit as ended:
        status = ended.code
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            run(**json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
