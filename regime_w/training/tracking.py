"""Log a training to trackers; none of them can end it or change what it makes.

tracking = {"to": ["tensorboard"], "project": "regime-w", "run": "demo/round1/train_dpo", "folder": "results/demo/tracking"}
DPOConfig(**training.arguments(...), **named(tracking))
callbacks = [watch, *trackers(tracking)]
"""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from regime_w.runtime.trackers import failed, prepare

log = logging.getLogger(__name__)


def named(tracking: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the Trainer's that name a run to its trackers, which are `trackers` and no others."""
    on = {"project": tracking["project"], "run_name": tracking["run"]} if tracking.get("to") else {}
    return {"report_to": "none", **on}


def trackers(tracking: dict[str, Any]) -> list[TrainerCallback]:
    """transformers' callbacks of the trackers, behind a shield: what `report_to` would give the Trainer.

    UserError where one is not installed; one that fails otherwise is told and left out.
    """
    if not tracking.get("to"):
        return []
    prepare(tracking)
    found: dict[str, TrainerCallback] = {}
    for name in tracking["to"]:
        try:
            (kind,) = get_reporting_integration_callbacks([name])
            found[name] = kind()
        except Exception as error:
            log.warning(failed(name, error))
    return [Shield(found)]


class Shield(TrainerCallback):
    """Trackers' callbacks, each left out from its first failure on: a server that is down, a full disk, no login."""

    def __init__(self, inner: dict[str, TrainerCallback]) -> None:
        self.inner = inner

    def tell(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Pass an event on. What comes back would steer the training, and is dropped."""
        for name, callback in list(self.inner.items()):
            try:
                with random_states_kept():
                    getattr(callback, event)(*args, **kwargs)
            except (Exception, SystemExit) as error:
                del self.inner[name]
                log.warning(failed(name, error))


def _event(name: str) -> Any:
    return lambda self, *args, **kwargs: self.tell(name, *args, **kwargs)


for _name in [name for name in vars(TrainerCallback) if name.startswith("on_")]:
    setattr(Shield, _name, _event(_name))


@contextmanager
def random_states_kept() -> Iterator[None]:
    """What is drawn at random inside does not move what a training draws."""
    python, torchs = random.getstate(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(torchs)
