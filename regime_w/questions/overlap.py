"""Questions that stand in two sets: by their whole text, in any language, or by the n-grams of words they share.

known = Texts(8)
known.add("platinum", {"id": "eval-00003", "question": "..."})
known.best("... a training question ...")    # ("platinum", "eval-00003", 0.71), or None
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

SHOWN = 20
# Scripts written without spaces: a character stands for a word. Thai, Lao, Myanmar, Khmer, kana, Han, Yi.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
# What two copies of a text may differ in: space, quotes, and marks of prose, but no decimal point and no operator.
LOOSE = re.compile(r"(?<!\d)\s+|\s+(?!\d)|[\"'`´“”„‘’‚«»$。、]|[.,;:!?](?!\d)")


class Found(NamedTuple):
    """The known question that a text covers most of: its set and id, and the share of its n-grams (1 for the whole text)."""

    set: str
    id: str
    coverage: float
    whole: bool


class Texts:
    """Known questions by whole text and by n-grams of `n` words."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.whole: dict[str, list[tuple[str, str]]] = {}
        self.sizes: dict[tuple[str, str], int] = {}
        self.owners: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    def add(self, name: str, row: dict[str, Any]) -> None:
        key = name, row["id"]
        self.whole.setdefault(whole_text(row["question"]), []).append(key)
        grams = ngrams(row["question"], self.n)
        self.sizes[key] = len(grams)
        for gram in grams:
            self.owners.setdefault(gram, []).append(key)

    def best(self, text: str) -> Found | None:
        """The known question that a text is, or covers most of; None where it shares no n-gram with any."""
        if keys := self.whole.get(whole_text(text)):
            return Found(*keys[0], 1.0, True)
        covered = self.covered(text)
        if not covered:
            return None
        name, identity = max(covered, key=lambda key: (covered[key], key[1]))
        return Found(name, identity, round(covered[name, identity], 4), False)

    def all_close(self, text: str, threshold: float) -> set[tuple[str, str]]:
        """Set and id of every known question that a text is, or covers this share of."""
        covered = self.covered(text)
        return {*self.whole.get(whole_text(text), ()), *(key for key in covered if covered[key] >= threshold)}

    def covered(self, text: str) -> dict[tuple[str, str], float]:
        """Of each known question that shares an n-gram with a text, the share of its n-grams that the text has."""
        shared: dict[tuple[str, str], int] = {}
        for gram in ngrams(text, self.n):
            for key in self.owners.get(gram, ()):
                shared[key] = shared.get(key, 0) + 1
        return {key: count / self.sizes[key] for key, count in shared.items()}


def find_overlap(rows: Iterable[dict[str, Any]], known: Texts) -> dict[str, Found]:
    """What each row that shares a whole text or an n-gram with a known question covers most of, by the row's id."""
    return {row["id"]: found for row in rows if (found := known.best(row["question"]))}


def too_close(found: Found, threshold: float) -> bool:
    return found.whole or found.coverage >= threshold


def described(found: dict[str, Found], known: Texts, threshold: float) -> dict[str, Any]:
    """What the summary says of an overlap."""
    dropped = {identity: own for identity, own in found.items() if too_close(own, threshold)}
    ranked = sorted(found.items(), key=lambda entry: -entry[1].coverage)
    return {
        "ngram": known.n,
        "drop_threshold": threshold,
        "same_text": sum(own.whole for own in found.values()),
        "sharing_an_ngram": sum(not own.whole for own in found.values()),
        "dropped": sorted(dropped),
        "highest": [
            {"train": identity, "set": own.set, "id": own.id, "coverage": own.coverage}
            for identity, own in ranked[:SHOWN]
        ],
    }


def whole_text(text: str) -> str:
    """A text without what copies of it may differ in: case, forms of characters, space, quotes, marks of prose."""
    return LOOSE.sub("", unicodedata.normalize("NFKC", text).casefold()) or text


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
