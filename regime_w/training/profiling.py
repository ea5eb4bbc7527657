"""Where an optimiser step's time goes: torch's profiler over one step of a training."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

log = logging.getLogger(__name__)

STEP = 4  # the first ones load kernels, compile and grow the memory
ROWS = 40


class StepProfile(TrainerCallback):
    """Writes a table of the fourth step's operators and kernels, the longest first, to `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        on_gpu = torch.cuda.is_available()
        self.order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        self.profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == STEP - 1:
            self.profiler.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == STEP:
            self.profiler.stop()
            table = self.profiler.key_averages().table(self.order, row_limit=ROWS, max_name_column_width=80)
            self.path.write_text(table + "\n")
            log.info(f"Profile of step {STEP}: {self.path}")
