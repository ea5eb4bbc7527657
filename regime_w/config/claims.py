"""Two configs with one run name, of which the second would replace what the first made.

A run's outputs belong to the config file that named it when they were made. That file may change, and then its outputs are
rebuilt; another file with the same run name is refused, unless it says the same.

    results/{run}/claimed_by.json: {"file": "configs/abel.yaml", "config": {...}}
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regime_w.config.files import Layer, leaves
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, write_json

SHOWN = 3
# Of no effect on what is made.
PASSED_OVER = ("resources", "outside_check", "tracking", "publish")


def claim(config: dict[str, Any], file: str) -> None:
    """Record that the run's outputs are those of this file's config. UserError as `check_claim`."""
    check_claim(config, file)
    write_json(_place(config), {"file": file, "config": config})


def check_claim(config: dict[str, Any], file: str) -> None:
    """UserError where the run's outputs are another file's, and its config says something else."""
    place = _place(config)
    if not place.is_file():
        return
    found = read_json(place)
    try:
        owner, theirs = str(found["file"]), dict(leaves(that_makes(found["config"])))
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{place}: not what this pipeline writes; remove it") from None
    ours = dict(leaves(that_makes(config)))
    different = sorted(path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path))
    if owner == file or not different:
        return
    said = [f"{'.'.join(path)} {theirs.get(path)!r:.60}, here {ours.get(path)!r:.60}" for path in different[:SHOWN]]
    more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    raise UserError(
        f"run {config['run']}: what is there was made by {owner}, and {file} differs in {'; '.join(said)}{more}; give it a"
        f" `run` of its own, or remove {place} to have it take the place of the other"
    )


def owner_of(layers: Sequence[Layer]) -> str:
    """The file that a run stands for: of those that were asked for the last that names it, itself or by what it extends;
    where the command line names it, the last one."""
    asked = [layer for layer in layers if layer.named]
    saying = [layer.named for layer in asked if "run" in layer.values]
    return (saying or [layer.named for layer in asked] or [""])[-1]


def that_makes(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the sections that have no effect on what is made."""
    return {key: value for key, value in config.items() if key not in PASSED_OVER}


def _place(config: dict[str, Any]) -> Path:
    return Path("results", config["run"], "claimed_by.json")
