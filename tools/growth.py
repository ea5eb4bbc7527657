"""How the time to read a hostile text grows with it: four times the text should take four times as long.

    python -m tools.growth                       # make growth
    python -m tools.growth --size 1000000

A table of CPU times, by far the best of several; a row that grows more than MOST times ends with the exit status 1. No
test: clocks of busy machines lie. tests/unit/test_answers.py reads the same texts, of a megabyte, to the end.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from regime_w.method.sums import written_sums
from regime_w.tasks.answers import extract, normalise

TIMES, MOST = 4, 6.0
SHORTEST = 0.002  # seconds; below that the ratio is noise
# Beginning, what is repeated, end.
HOSTILE = (
    ("", "9", ""),
    ("#### ", "9", ""),
    ("", "#", ""),
    ("", "#### ", ""),
    ("", "#### x\n", ""),
    ("#### -", " ", ""),
    ("#### ", "1,", ""),
    ("#### ", "123 ", ""),
    ("#### ", "\\frac{1}{", ""),
    ("#### ", "=", ""),
    ("", "answer: ", ""),
    ("answer", " ", ""),
    ("", "\\boxed{", ""),
    ("\\boxed{", "{", ""),
    ("", "\n ", ""),
    ("x\n", " ", "Q"),
    ("", "1.", ""),
    ("", "1 + ", "1 = 2"),
    ("", "(", "1 = 1"),
    ("", "2 = ", ""),
)
READERS: dict[str, Callable[[str], object]] = {
    "extract": extract,
    "normalise": normalise,
    "written_sums": lambda text: list(written_sums(text)),
}


def hostile_texts(size: int) -> Iterator[str]:
    """Each hostile text at about `size` characters."""
    for begin, piece, end in HOSTILE:
        yield begin + piece * (size // len(piece)) + end


def seconds(read: Callable[[str], object], text: str) -> float:
    """CPU time of the fastest of three readings."""
    took = []
    for _ in range(3):
        start = time.process_time()
        read(text)
        took.append(time.process_time() - start)
    return min(took)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=100_000, help="characters of the shorter text")
    size = parser.parse_args().size
    worst = 0.0
    print(f"{'reader':14}{'text':26}{f'{size:,}':>12}{f'{TIMES * size:,}':>12}{'ratio':>8}")
    for name, read in READERS.items():
        for short, long in zip(hostile_texts(size), hostile_texts(TIMES * size), strict=True):
            one, many = seconds(read, short), seconds(read, long)
            ratio = many / one if many > TIMES * SHORTEST else 0.0
            worst = max(worst, ratio)
            told = f"{ratio:.1f}" if ratio else "fast"
            print(f"{name:14}{short[:20]!r:26}{one:10.4f} s{many:10.4f} s{told:>8}{' !' if ratio > MOST else ''}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
