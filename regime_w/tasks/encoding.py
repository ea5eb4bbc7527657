"""Token ids of text in which some is the model's control and the rest is not, whatever it spells.

    encoder = Encoder(tokenizer, eos)
    encoder.ids([Piece("<|im_start|>user\\n", True), Piece("What is <|im_end|>?", False), Piece("<|im_end|>\\n", True)])

Ids are those of the tokenizer for the whole text wherever data spells no control token. Where it does, a copy of the
tokenizer is asked whose control tokens have other names: the same ids for all else, and none for what data spells.
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from regime_w.runtime.errors import UserError

# An added token that is not flagged as special is control all the same where it looks so: <|fim_prefix|>, [THINK].
CONTROL_SHAPE = re.compile(r"<[|｜].*[|｜]>|\[/?[A-Z_]{3,}\]|</?think>")
PRIVATE = 0xF0000  # first of the code points that belong to nobody: names that no text has


class Piece(NamedTuple):
    """A part of a text; `control`: control tokens are read in it."""

    text: str
    control: bool


def text_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same text, neighbours of one kind as one piece."""
    return [Piece(text_of(own), control) for control, own in itertools.groupby(pieces, key=lambda piece: piece.control)]


class Encoder:
    """A tokenizer that knows control tokens by their place. `eos`: ids that end a completion; `template`: the chat template,
    whose own added tokens are control too."""

    def __init__(self, tokenizer: Any, eos: Iterable[int] = (), template: str = "") -> None:
        self.tokenizer = tokenizer
        self.control: dict[str, int] = control_tokens(tokenizer, set(eos), template)
        names = sorted(self.control, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        # What is unknown may stand for letters that the tokenizer lacks; where BOS or EOS is that token, it lacks none.
        unknown = tokenizer.unk_token if tokenizer.unk_token_id not in {tokenizer.bos_token_id, *eos} else None
        self._unknown = unknown if unknown in self.control else None
        self._ids = {number for name, number in self.control.items() if name != self._unknown}

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer itself begins a text with BOS (Llama and Mistral do, SmolLM2 does not)."""
        ids = self.tokenizer("a")["input_ids"]
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def ids(self, pieces: Sequence[Piece]) -> list[int]:
        """Token ids of the pieces' text as one, no BOS added."""
        pieces = joined(pieces)
        text = text_of(pieces)
        spelled = [name for piece in pieces if piece.control for name in self.spelled(piece.text)]
        wanted = [self.control[name] for name in spelled if name != self._unknown]
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if self._as_wanted(ids, wanted) and not (self._unknown and self._unknown in text):
            return ids
        ids = self._apart(pieces)
        if not self._as_wanted(ids, wanted):
            found = self.tokenizer.convert_ids_to_tokens([number for number in ids if number in self._ids])
            raise UserError(
                f"the tokenizer makes control tokens of plain text: {found} in {text!r:.200}; take that text out"
            )
        return ids

    def spelled(self, text: str) -> list[str]:
        """The control tokens that a text spells, in their order."""
        return self._spelled.findall(text)

    def ends_of_spelled(self, text: str) -> list[tuple[str, int]]:
        """The control tokens that a text spells, and where each ends."""
        return [(match[0], match.end()) for match in self._spelled.finditer(text)]

    def begun(self, ids: list[int]) -> list[int]:
        """The ids with exactly one BOS in front where the tokenizer adds one."""
        bos = self.tokenizer.bos_token_id
        return [bos, *ids] if self.adds_bos and ids[:1] != [bos] else ids

    def _as_wanted(self, ids: list[int], wanted: list[int]) -> bool:
        return [number for number in ids if number in self._ids] == wanted

    def _apart(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids by the copy, in which control tokens go by names of nobody's."""
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            return self._piecewise(pieces)
        renamed = "".join(self._renamed(piece.text) if piece.control else piece.text for piece in pieces)
        return list(self._copy.encode(renamed, add_special_tokens=False).ids)

    def _renamed(self, text: str) -> str:
        return self._spelled.sub(lambda match: self._names[match[0]], text)

    @cached_property
    def _names(self) -> dict[str, str]:
        return {name: f"{chr(PRIVATE)}{chr(PRIVATE + 1 + place)}" for place, name in enumerate(self.control)}

    @cached_property
    def _copy(self) -> Any:
        from tokenizers import Tokenizer

        spec = json.loads(self.tokenizer.backend_tokenizer.to_str())
        spec |= {"truncation": None, "padding": None, "post_processor": None}
        for token in spec["added_tokens"]:
            token["content"] = self._names.get(token["content"], token["content"])
        model = spec["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            model["vocab"] = {self._names.get(piece, piece): number for piece, number in vocabulary.items()}
        else:
            model["vocab"] = [[self._names.get(piece, piece), score] for piece, score in vocabulary]
        if "merges" in model:  # what merges to a control token's spelling is no such token
            pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
            model["merges"] = [pair for pair in pairs if "".join(pair) not in self._names]
        if model.get("unk_token"):
            model["unk_token"] = self._names.get(model["unk_token"], model["unk_token"])
        return Tokenizer.from_str(json.dumps(spec))

    def _piecewise(self, pieces: Sequence[Piece]) -> list[int]:
        """For a tokenizer without such a copy, in Python: text between control tokens by itself."""
        ids: list[int] = []
        plain = ""
        for piece in pieces:
            start = 0
            for name, end in self.ends_of_spelled(piece.text) if piece.control else ():
                plain += piece.text[start : end - len(name)]
                ids += [*self._plain(plain), self.control[name]]
                plain, start = "", end
            plain += piece.text[start:]
        return ids + self._plain(plain)

    def _plain(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def control_tokens(tokenizer: Any, eos: set[int], template: str) -> dict[str, int]:
    """The tokens that steer a model, by what they spell: flagged as special, named (BOS, EOS and so on), ends of a completion,
    written by the chat template, or of such a shape. An added token of white space or of a word is text."""
    named = {*tokenizer.all_special_ids, *eos}
    found = {}
    for number, token in tokenizer.added_tokens_decoder.items():
        name = token.content
        written = len(name.strip()) > 2 and name in template
        if token.special or number in named or written or CONTROL_SHAPE.fullmatch(name):
            found[name] = int(number)
    for number in named - set(found.values()):
        if number is not None and (name := tokenizer.convert_ids_to_tokens(number)):
            found[name] = int(number)
    return found
