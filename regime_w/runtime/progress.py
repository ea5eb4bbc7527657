"""Progress with rate and time left: a bar on a terminal, a line now and then in a log file."""

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0


class Progress:
    """Counts `total` units; `update(n, tokens)` shows done, units/s, tokens/s and the time left.

    On a terminal a tqdm bar. Elsewhere a line when both 10 s and `log_every` units have passed since the last one.
    """

    def __init__(self, total: int, label: str, unit: str = "trajectories", log_every: int = 1) -> None:
        self.total, self.label, self.unit, self.log_every = total, label, unit, log_every
        self.done = self.tokens = self.logged = 0
        self.start = self.last = time.monotonic()
        self.bar = tqdm(total=total, desc=label, unit=f" {unit}") if sys.stderr.isatty() else None

    def update(self, n: int = 1, tokens: int = 0) -> None:
        self.done += n
        self.tokens += tokens
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(n)
            if self.tokens:
                self.bar.set_postfix_str(f"{self.tokens / max(now - self.start, 1e-9):,.0f} tokens/s", refresh=False)
        elif now - self.last >= LOG_SECONDS and self.done - self.logged >= self.log_every:
            self.last, self.logged = now, self.done
            log.info(self._line(now - self.start))

    def _line(self, seconds: float) -> str:
        rate = self.done / max(seconds, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        tokens = f", {self.tokens / max(seconds, 1e-9):,.0f} tokens/s" if self.tokens else ""
        return (
            f"{self.done:,}/{self.total:,} {self.unit}, {rate:,.1f}/s{tokens}, "
            f"{seconds:.0f} s so far, about {left:.0f} s left"
        )

    def close(self) -> float:
        """End the bar and return the seconds since the start."""
        if self.bar is not None:
            self.bar.close()
        return time.monotonic() - self.start
