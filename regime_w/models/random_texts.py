"""Random texts of a wanted number of tokens, for measurements in which no text needs to mean anything."""

import random
from pathlib import Path

from transformers import AutoTokenizer

from regime_w.models.folders import trusted


def words_of(model: Path) -> list[str]:
    """Words with the space before them that are one token each."""
    vocabulary = sorted(AutoTokenizer.from_pretrained(model, **trusted({})).get_vocab())
    return [" " + token[1:] for token in vocabulary if token.startswith("Ġ") and token[1:].isalpha()]


def text_of(words: list[str], tokens: int, rng: random.Random) -> str:
    return "".join(rng.choices(words, k=tokens)).strip()
