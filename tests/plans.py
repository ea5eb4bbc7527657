"""Dry runs of the workflow: which jobs a change plans."""

import re
from pathlib import Path
from typing import NamedTuple

import yaml
from helpers import snakemake


class Planned(NamedTuple):
    """A job as a dry run prints it: `told` has its input, output, log, wildcards, threads and resources, where it has any.

    `local` is one that is not submitted.
    """

    local: bool
    rule: str
    told: dict[str, str]
    command: str

    @property
    def outputs(self) -> list[str]:
        return self.told["output"].split(", ")

    @property
    def resources(self) -> dict[str, str]:
        return dict(part.split("=", 1) for part in self.told["resources"].split(", "))


def dry_run(folder: Path, target: str, *arguments: str, cores: int = 2) -> list[Planned]:
    """The jobs that a dry run would start, with their shell commands, in its order."""
    options = ("--dry-run", "--printshellcmds", "--quiet", "host")
    done = snakemake(folder, target, *options, *arguments, cores=cores)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    blocks = re.findall(
        r"^(local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)(?:Shell command: (.*)\n)?", text, re.MULTILINE
    )
    return [
        Planned(bool(local), rule, dict(re.findall(r"^    (\w+): (.*)$", told, re.MULTILINE)), command)
        for local, rule, told, command in blocks
    ]


def planned(folder: Path, *arguments: str, target: str = "eval_report") -> dict[str, list[str]]:
    """Rule -> wildcards of the jobs that a dry run would start."""
    jobs: dict[str, list[str]] = {}
    for job in dry_run(folder, target, *arguments):
        jobs.setdefault(job.rule, []).append(job.told.get("wildcards", ""))
    return jobs


def edit_config(folder: Path, **changes: object) -> None:
    """Set values at dotted paths, with __ for the dot, in the clone's config.yaml, which is laid over configs/demo.yaml."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for dotted, value in changes.items():
        *parents, key = dotted.split("__")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[key] = value
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def make_outputs(folder: Path, target: str) -> None:
    """Put something in the place of every file that the target needs, recorded as made with the clone's config."""
    listed = snakemake(folder, target, "--summary")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    outputs = [line.split("\t")[0] for line in listed.stdout.splitlines()[1:]]
    for name in outputs:
        output = folder / name
        if f"{name}.sha256" in outputs:  # a model or an adapter: a folder
            output.mkdir(parents=True, exist_ok=True)
        elif not output.exists():
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(f"made: {output.name}\n")
    touched = snakemake(folder, target, "--touch", "--forceall")
    assert touched.returncode == 0, touched.stdout + touched.stderr
