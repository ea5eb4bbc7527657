"""Dry runs of the workflow: which jobs a change plans."""

import re
from pathlib import Path

import yaml
from helpers import snakemake


def planned(folder: Path, *arguments: str, target: str = "eval_report") -> dict[str, list[str]]:
    """Rule -> wildcards of the jobs that a dry run would start."""
    done = snakemake(folder, target, "--dry-run", "--quiet", "host", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    jobs: dict[str, list[str]] = {}
    for block in re.findall(r"(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", text):
        wildcards = re.search(r"wildcards: (.*)", block[1])
        jobs.setdefault(block[0], []).append(wildcards[1] if wildcards else "")
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
