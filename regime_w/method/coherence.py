"""How far the trajectories of one question agree, each measured against the others (leave-one-out), all in [0, 1].

    s_end    share of the others with the same final answer
    s_path   mean similarity of the reasoning to the others with the same answer; 0 where nobody agrees
    s_cf     share of the *other styles'* trajectories with the same answer (the counterfactual: "had it reasoned in the
             other style"); 0 where there is one style only
    s_wm     their weighted mean

The mean of s_end over the trajectories is the pairwise consistency rate. No answer agrees with nothing, and by default
(`coherence.answers: marked`) an answer without a mark, or of a text that did not end by itself, counts as none: it is a guess
of ours, which shares of agreement would otherwise be made of.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from rapidfuzz.distance import Indel

MAX_ITEMS = 4096  # words, numbers of a reasoning that are compared; bounds the time on runaway text

ENUMERATION = re.compile(r"^[ \t*]{0,8}(?:step[ \t]{0,3})?[0-9]{1,3}[.):](?=\s|$)", re.IGNORECASE | re.MULTILINE)
# A number, or an operator. One set of first characters, and all conditions behind it: re skips the rest of a text at once.
CALCULATION = re.compile(
    r"[0-9+/=×÷*−-](?:(?<=[0-9])[0-9,]*(?:\.[0-9]+)?|(?<=[+/=×÷])|(?<=\*)(?<!\*\*)(?!\*)"
    r"|(?<=[0-9] [-−])|(?<=[0-9][-−])(?=[0-9]))"
)
WORD = re.compile(r"[^\W\d_]+")
ASCII_WORDS = bytes(code if chr(code).isalpha() else ord(" ") for code in range(128)) + bytes(128)
SAME_SIGN = str.maketrans("×÷−", "*/-")


class Coherence(NamedTuple):
    s_end: float
    s_path: float
    s_cf: float
    s_wm: float


def coherence(
    answers: Sequence[str | None],
    reasonings: Sequence[str],
    styles: Sequence[str],
    weights: Mapping[str, float],
    path_mix: float,
) -> list[Coherence]:
    """Coherence of each trajectory of one question, in their order.

    Equal `answers` are equal strings (tasks/verifiers.py). `weights` has s_end, s_path and
    s_cf, which sum to 1; `path_mix` in [0, 1] weighs the sequence of calculations against the wording in s_path.
    """
    count = len(answers)
    similarities = _similarities(answers, reasonings, path_mix)
    result = []
    for i in range(count):
        agreeing = [j for j in range(count) if j != i and answers[j] is not None and answers[j] == answers[i]]
        other_style = sum(style != styles[i] for style in styles)
        s_end = len(agreeing) / (count - 1) if count > 1 else 0.0
        s_path = sum(similarities[min(i, j), max(i, j)] for j in agreeing) / len(agreeing) if agreeing else 0.0
        s_cf = sum(styles[j] != styles[i] for j in agreeing) / other_style if other_style else 0.0
        s_wm = weights["s_end"] * s_end + weights["s_path"] * s_path + weights["s_cf"] * s_cf
        # Sums of floats may end a rounding error beyond 1.
        result.append(Coherence(s_end, min(s_path, 1.0), s_cf, min(s_wm, 1.0)))
    return result


def mean(values: Sequence[Coherence]) -> Coherence:
    """The question's coherence: the mean over its trajectories."""
    return Coherence(*(sum(column) / len(values) for column in zip(*values, strict=True)))


def calculations(reasoning: str) -> list[str]:
    """The numbers and operators of a reasoning in their order, without step numbers: the same in any style."""
    return [_plain(item) for item in _calculations(reasoning)]


def _calculations(reasoning: str) -> list[str]:
    return CALCULATION.findall(ENUMERATION.sub("", reasoning))[:MAX_ITEMS]


def words(reasoning: str) -> list[str]:
    if reasoning.isascii():  # the same, in a third of the time
        return reasoning.lower().encode().translate(ASCII_WORDS).decode().split()[:MAX_ITEMS]
    return WORD.findall(reasoning.lower())[:MAX_ITEMS]


def _similarities(
    answers: Sequence[str | None], reasonings: Sequence[str], path_mix: float
) -> dict[tuple[int, int], float]:
    """Similarity of the reasonings of each pair i < j with the same answer."""
    agreeing = [
        (i, j) for i, j in combinations(range(len(answers)), 2) if answers[i] is not None and answers[i] == answers[j]
    ]
    of_item, of_word = _Characters(_plain), _Characters(str)
    calculated, worded = {}, {}
    for i in {index for pair in agreeing for index in pair}:
        calculated[i] = "".join(map(of_item.__getitem__, _calculations(reasonings[i])))
        worded[i] = "".join(map(of_word.__getitem__, words(reasonings[i])))
    return {(i, j): _mix(calculated[i], calculated[j], worded[i], worded[j], path_mix) for i, j in agreeing}


def _mix(calculated: str, other_calculated: str, worded: str, other_worded: str, path_mix: float) -> float:
    wording = Indel.normalized_similarity(worded, other_worded) if worded or other_worded else 0.0
    if not calculated and not other_calculated:
        return wording
    return path_mix * Indel.normalized_similarity(calculated, other_calculated) + (1 - path_mix) * wording


class _Characters(dict[str, str]):
    """One character an item, the same for items that `canonical` makes equal.

    rapidfuzz is many times faster on text than on lists.
    """

    def __init__(self, canonical: Callable[[str], str]) -> None:
        super().__init__()
        self.canonical = canonical

    def __missing__(self, item: str) -> str:
        canonical = self.canonical(item)
        character = chr(min(len(self), 0x10FFFF)) if canonical == item else self[canonical]
        self[item] = character
        return character


def _plain(item: str) -> str:
    """A number without commas and trailing zeros after the point, an operator in ASCII."""
    if not item[0].isdigit():
        return item.translate(SAME_SIGN)
    item = item.replace(",", "")
    return item.rstrip("0").rstrip(".") if "." in item else item
