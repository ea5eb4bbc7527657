"""Trackers of experiments: which package each needs, and where stands what it keeps on this machine.

    tracking = {"to": ["tensorboard"], "project": "regime-w", "run": "demo/round1/train_dpo", "folder": "results/demo/tracking"}
    prepare(tracking)    # UserError names the package to install

A variable that its user set stays as it is: MLFLOW_TRACKING_URI of a server, WANDB_MODE=offline, TRACKIO_DIR.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regime_w.runtime.errors import UserError

# Modules by tracker, any one of which is enough.
MODULES = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "mlflow": ("mlflow",),
}


def missing(trackers: Iterable[str]) -> list[str]:
    """A line for each tracker whose package is not installed here."""
    return [
        f"tracking.to: {name} is not installed; run `pip install {name}`, or take it out"
        for name in trackers
        if not any(map(_is_there, MODULES[name]))
    ]


def _is_there(module: str) -> bool:
    with suppress(ValueError):  # a module that was put in place by hand
        return find_spec(module) is not None
    return False


def prepare(tracking: dict[str, Any]) -> None:
    """Tell the trackers their project and folder by the environment, where they are not told otherwise.

    UserError, with a line for each, where trackers are not installed here.
    """
    if lines := missing(tracking["to"]):
        raise UserError(*lines)
    folder = Path(tracking["folder"]).resolve()
    values = {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard" / tracking["run"]),
        "WANDB_PROJECT": tracking["project"],
        "WANDB_DIR": str(folder / "wandb"),
        "WANDB_SILENT": "true",  # our log is the job's
        "TRACKIO_DIR": str(folder / "trackio"),
        "MLFLOW_EXPERIMENT_NAME": tracking["project"],
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}",
    }
    for name, value in values.items():
        os.environ.setdefault(name, value)
    with suppress(OSError):  # the tracker itself fails there, and is left out
        for name in tracking["to"]:
            (folder / name).mkdir(parents=True, exist_ok=True)


def failed(name: str, error: BaseException) -> str:
    """The line of a log that says that a tracker fails."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"tracking: {name} fails and is left out from here on: {reason:.300}"
