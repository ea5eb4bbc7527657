"""How models and stages are named and how numbers are written, on the page, in Markdown and on the terminal alike."""

import re
from typing import Any

MINUS = "−"
NONE = "–"
# All but line feed and tab, which would upset a terminal, an editor or an XML reader; and what changes the order or
# direction of the text around it, so that a reader sees another text than there is (Unicode's bidirectional controls).
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def label(name: str) -> str:
    """`base`, `SFT`, `round 1`, `round 1, seed 2`, or the name as it is."""
    name, seed = of_seed(name)
    shown = {"sft": "SFT"}.get(name, name)
    if match := re.fullmatch(r"round(\d+)", name):
        shown = f"round {match[1]}"
    return shown if seed == 1 else f"{shown}, seed {seed}"


def of_seed(name: str) -> tuple[str, int]:
    """A recipe or model, and which training of it is meant, from 1: `vote.seed2` is the second of `vote`."""
    match = re.fullmatch(r"(.+)\.seed(\d+)", name)
    return (match[1], int(match[2])) if match else (name, 1)


def clean(text: Any) -> str:
    """Control characters shown as U+FFFD."""
    return CONTROL.sub("\ufffd", str(text).replace("\r\n", "\n").replace("\r", "\n"))


def percent(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{100 * value:.{digits}f}%"


def interval(estimate: dict[str, Any]) -> str:
    """`68.8 to 73.9`, in percent."""
    return f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign: `+1.2`, `−0.4`, `0.0`."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def equals(p: float) -> str:
    """`p < 0.001` or `p = 0.43`."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def number(value: Any, digits: int = 2) -> str:
    if value is None:
        return NONE
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return text.removeprefix("-") if not float(text.replace(",", "")) else text.replace("-", MINUS)


def rounded(value: float) -> str:
    """A large count in three digits or so: `431`, `5.2 k`, `12.3 M`, `1.5 B` (10^9)."""
    for unit, factor in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * factor:
            return f"{value / factor:,.1f} {unit}" if value < 99.95 * factor else f"{value / factor:,.0f} {unit}"
    return f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def dollars(value: float) -> str:
    return f"${value:,.2f}" if value == 0 or value >= 0.01 else "< $0.01"


def size(value: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"
