"""The tokenizer of a GGUF file: its tokens, merges, types, special ids and chat template, as `tokenizers` has them.

    tokenizer = tokenizer_of({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", ...})

How a text is cut before merging is a name in the file (`tokenizer.ggml.pre`); a name that is not known here is refused, since
another cut gives other tokens without a word. Names and rules: llama.cpp's llama-vocab.cpp; patterns: the models' own
tokenizer.json and tiktoken's.
"""

from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from regime_w.runtime.errors import UserError

UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5  # token types
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+{end}|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*{end}|"
CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class Cut(NamedTuple):
    """How texts are cut before merging."""

    patterns: tuple[str, ...]
    whole_words: bool = False  # a word that is a token is taken as it is, whatever the merges say
    bos: bool = False  # where the file does not say
    nfc: bool = False


LLAMA3 = Cut((CONTRACTIONS + WORDS + r"\p{N}{1,3}" + REST,), whole_words=True, bos=True)
QWEN2 = Cut((CONTRACTIONS + WORDS + r"\p{N}" + REST,), nfc=True)
CUTS = {
    "llama-bpe": LLAMA3,
    "llama3": LLAMA3,
    "llama-v3": LLAMA3,
    "dbrx": Cut(LLAMA3.patterns),
    "qwen2": QWEN2,
    "deepseek-r1-qwen": QWEN2,
    "gpt-2": Cut((GPT2,)),
    "smollm": Cut((r"\p{N}", GPT2)),
    "tekken": Cut((CASED.replace("{end}", "") + r"\p{N}" + CASED_REST,), whole_words=True, bos=True),
    "gpt-4o": Cut((CASED.replace("{end}", CONTRACTIONS + "?") + r"\p{N}{1,3}" + CASED_REST,)),
}


def special_ids(fields: dict[str, Any]) -> dict[str, int]:
    """The file's ids of bos, eos, eot, eom, unknown and padding; UserError for one that is no token."""
    ids = {}
    for name in ("bos", "eos", "eot", "eom", "unknown", "padding"):
        number = fields.get(f"tokenizer.ggml.{name}_token_id")
        if number is None:
            continue
        if not 0 <= number < len(fields["tokenizer.ggml.tokens"]):
            raise UserError(f"its {name}_token_id {number} is none of its tokens")
        ids[name] = int(number)
    return ids


def tokenizer_of(fields: dict[str, Any]) -> Any:
    """A PreTrainedTokenizerFast; UserError, without the file's name, for a kind that is not known here."""
    from transformers import PreTrainedTokenizerFast

    kind, tokens = fields.get("tokenizer.ggml.model"), fields["tokenizer.ggml.tokens"]
    types = fields.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    ids = special_ids(fields)
    if kind == "gpt2":
        tokenizer, adds_bos = byte_level(fields, tokens, types)
    elif kind == "llama":
        unknown = ids.get("unknown", types.index(UNKNOWN) if UNKNOWN in types else None)
        tokenizer, adds_bos = sentence_piece(fields, tokens, None if unknown is None else tokens[unknown]), True
    else:
        raise UserError(f"has a tokenizer of kind {kind!r}, and read here are gpt2 and llama")
    stripped = fields["general.architecture"] == "phi3" and kind == "llama"
    for token, of_type in zip(tokens, types, strict=True):
        if of_type in (UNKNOWN, CONTROL):
            # Phi-3's own drop the white space behind them, which the file has no word for (llama-vocab.cpp).
            right = stripped and token not in ("<unk>", "<s>", "<|endoftext|>")
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False, rstrip=right)])
        elif of_type == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])
    first = "bos" in ids and fields.get("tokenizer.ggml.add_bos_token", adds_bos)
    last = "eos" in ids and fields.get("tokenizer.ggml.add_eos_token", False)
    if first or last:
        ends = [(tokens[ids[name]], ids[name]) for name, there in (("bos", first), ("eos", last)) if there]
        whole = [*([tokens[ids["bos"]]] if first else []), "$A", *([tokens[ids["eos"]]] if last else [])]
        tokenizer.post_processor = processors.TemplateProcessing(single=whole, special_tokens=ends)
    names = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=fields.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **{option: tokens[ids[name]] for name, option in names.items() if name in ids},
    )


def byte_level(fields: dict[str, Any], tokens: list[str], types: list[int]) -> tuple[Tokenizer, bool]:
    """Byte-level BPE, and whether it begins a text with BOS where the file does not say."""
    name = fields.get("tokenizer.ggml.pre")
    if name not in CUTS:
        raise UserError(f"cuts texts by {name!r} before it merges, and known here are {', '.join(CUTS)}")
    if "tokenizer.ggml.merges" not in fields:
        raise UserError("has a byte-level tokenizer without merges")
    cut = CUTS[name]
    # Fillers up to the embedding's size are no tokens of the model's own tokenizer.
    vocabulary = {token: number for number, token in enumerate(tokens) if types[number] != UNUSED}
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cut.whole_words))
    except Exception as error:  # what tokenizers raises for merges of no tokens has no class of its own
        raise UserError(f"its merges do not fit its tokens ({error})") from None
    if cut.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        *(pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in cut.patterns),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, cut.bos


def sentence_piece(fields: dict[str, Any], tokens: list[str], unknown: str | None) -> Tokenizer:
    """SentencePiece's BPE, whose merges follow from the tokens' scores, with bytes for what is no token."""
    from transformers.tokenization_utils_base import generate_merges

    if "tokenizer.ggml.scores" not in fields:
        raise UserError("has a SentencePiece tokenizer without scores")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = generate_merges(vocabulary, dict(zip(tokens, fields["tokenizer.ggml.scores"], strict=True)))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    decoding: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        decoding.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(decoding)
    return tokenizer
