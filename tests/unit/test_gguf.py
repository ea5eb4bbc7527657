"""GGUF files: weights, ids, tokenizer, template and rope are the file's own; what could not be kept ends in one line."""

import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter

from regime_w.models import gguf as ours
from regime_w.models.folders import check_whole
from regime_w.models.gguf import from_gguf
from regime_w.models.gguf_tokenizer import CUTS
from regime_w.runtime.errors import UserError

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
# The file's architecture, transformers' type and what it needs besides.
MODELS = {
    "llama": ("llama", {"tie_word_embeddings": True}),
    "llama with biases": ("llama", {"attention_bias": True}),
    "mistral": ("mistral", {"sliding_window": 64}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", {}),
    "qwen2moe": ("qwen2_moe", MOE | {"shared_expert_intermediate_size": 40}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3moe": ("qwen3_moe", MOE | {"head_dim": 8, "norm_topk_prob": True}),
    "gemma2": (
        "gemma2",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "tie_word_embeddings": True},
    ),
    "gemma3": ("gemma3_text", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}),
    "phi3": ("phi3", {"sliding_window": 64, "pad_token_id": None}),
}
ARCHITECTURES = {"llama with biases": "llama", "mistral": "llama", "mixtral": "llama"}
TOKEN = {"normal": 1, "unknown": 2, "control": 3, "user": 4, "unused": 5, "byte": 6}


def words() -> dict:
    """A byte-level tokenizer's metadata: bytes, two merges, three control tokens, one of the user's, one filler."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return {
        "model": "gpt2",
        "pre": "qwen2",
        "tokens": [*letters, "Ġa", "11", *own, "<tool>", "[PAD0]"],
        "token_type": [1] * (len(letters) + 2) + [TOKEN["control"]] * 3 + [TOKEN["user"], TOKEN["unused"]],
        "merges": ["Ġ a", "1 1"],
        "bos_token_id": 258,
        "eos_token_id": 260,
        "padding_token_id": 258,
        "add_bos_token": False,
    }


def add(writer, key: str, value) -> None:
    """Write a value under the type that llama.cpp's converter gives it."""
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def save(path: Path, architecture: str, own: dict, tensors: dict, tokenizer: dict | None = None, **raw) -> Path:
    """Write a GGUF file; `raw` are tensors of quantised blocks by name: (bytes, type)."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in own.items():
        add(writer, f"{architecture}.{key}", value)
    for key, value in (words() if tokenizer is None else tokenizer).items():
        add(writer, key if key.startswith(("tokenizer", "split")) else f"tokenizer.ggml.{key}", value)
    for name, values in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    for name, (blocks, kind) in raw.items():
        writer.add_tensor(name, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def metadata(config) -> dict:
    """What llama.cpp's converter writes of a configuration."""
    kind = config.model_type
    found = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": 10_000.0,
        "vocab_size": config.vocab_size,
    }
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    found["rope.freq_base"] = float(rope["rope_theta"])
    if width := getattr(config, "head_dim", None):
        found |= {"attention.key_length": width, "attention.value_length": width, "rope.dimension_count": width}
    if getattr(config, "sliding_window", None):
        found["attention.sliding_window"] = config.sliding_window
    if kind == "gemma2":
        found |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    if kind in ("mixtral", "qwen2_moe", "qwen3_moe"):
        found |= {"expert_count": 4, "expert_used_count": 2}
    if "moe_intermediate_size" in config.to_dict():
        found["expert_feed_forward_length"] = config.moe_intermediate_size
    if "shared_expert_intermediate_size" in config.to_dict():
        found["expert_shared_feed_forward_length"] = config.shared_expert_intermediate_size
    return found


def neighbours(weights: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's `permute`: the two halves of each head's rows become neighbours."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def converted(model) -> dict:
    """The file's tensors of a model, by gguf's own names."""
    config, found = model.config, {}
    kind = config.model_type
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[{"gemma3_text": "GEMMA3"}.get(kind, kind.replace("_", "").upper())]
                                     if kind not in ("mistral", "mixtral") else gguf.MODEL_ARCH.LLAMA, 2)  # fmt: skip
    for name, tensor in model.state_dict().items():
        values, (stem, _, ending) = tensor.float().numpy(), name.rpartition(".")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        block = re.match(r"model\.layers\.(\d+)\.", name)
        if ".experts." in name:
            parts = (
                {"down": values}
                if "down_proj" in name
                else dict(zip(("gate", "up"), np.split(values, 2, 1), strict=True))
            )
            found |= {f"blk.{block[1]}.ffn_{part}_exps.weight": each for part, each in parts.items()}
            continue
        if kind == "mixtral" and ".mlp.gate." in name:
            stem = f"model.layers.{block[1]}.block_sparse_moe.gate"
        if kind in ("llama", "mistral", "mixtral") and re.search(r"\.[qk]_proj\.", name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            values = neighbours(values, heads)
        if kind.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        if name.endswith("shared_expert_gate.weight"):
            values = values[0]
        found[f"{names.get_name(stem)}.{ending}"] = values
    return found


def random_model(name: str):
    kind, more = MODELS[name]
    torch.manual_seed(0)
    ids = {"bos_token_id": 258, "eos_token_id": 260} | ({} if kind == "phi3" else {"pad_token_id": 258})
    sizes = SIZES | {"vocab_size": len(words()["tokens"]), "tie_word_embeddings": False} | ids | more
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()
    for parameter in model.parameters():  # the file's numbers go through bfloat16 once
        parameter.data = (parameter.data + 0.1 * torch.randn_like(parameter)).bfloat16().float()
    if kind.startswith("gemma"):  # 1 is added in the file, where the sum has fewer places
        for key, parameter in model.named_parameters():
            if key.endswith("norm.weight"):
                parameter.data = (parameter.data * 64).round() / 64
    return model


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 33).view(2, 15)).logits


@pytest.mark.parametrize("name", MODELS)
def test_a_file_becomes_the_model_that_it_was_made_from(tmp_path, name, monkeypatch):
    model = random_model(name)
    architecture = ARCHITECTURES.get(name, name)
    file = save(tmp_path / "model.gguf", architecture, metadata(model.config), converted(model))
    monkeypatch.setattr(ours, "SHARD_BYTES", 20_000)
    folder = tmp_path / "folder"
    from_gguf(file, folder)
    check_whole(folder, {})
    assert len(list(folder.glob("*.safetensors"))) > 2
    made = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(made) is type(model)
    for key, tensor in model.state_dict().items():
        assert torch.equal(made.state_dict()[key], tensor), key
    torch.testing.assert_close(logits(made), logits(model))
    assert made.generation_config.eos_token_id == 260
    assert made.config.eos_token_id == 260


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "Q8_0", "Q4_0", "F16", "BF16"])
def test_quantised_tensors_are_those_that_gguf_reads(tmp_path, kind):
    of_type = gguf.GGMLQuantizationType[kind]
    model = random_model("qwen2")
    model.config.hidden_size = 512
    shape = (100, 512)  # no multiple of the rows that are read at once
    block, size = gguf.GGML_QUANT_SIZES[of_type]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 60, (shape[0], shape[1] // block * size), dtype=np.uint8)  # small exponents: all finite
    if kind == "F16":
        blocks = rng.normal(size=shape).astype(np.float16)
    file = save(tmp_path / "model.gguf", "qwen2", {}, {}, **{"blk.0.ffn_up.weight": (blocks, of_type)})
    (tensor,) = ours.open_gguf(file).tensors
    (source,) = ours.sources_of([tensor], model.config)
    found = ours.weights_of(source, model.config)
    expected = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)).bfloat16()
    assert source.name == "model.layers.0.mlp.up_proj.weight"
    assert found.shape == shape
    assert torch.equal(found, expected)
    assert expected.float().std() > 0


@pytest.fixture(scope="module")
def qwen():
    model = random_model("qwen2")
    return metadata(model.config), converted(model)


def made(tmp_path, qwen, own=None, tensors=None, architecture="qwen2", **tokenizer):
    """The folder of a file like `qwen`, with changes; None takes a key out."""

    def changed(given, changes):
        return {key: value for key, value in (given | (changes or {})).items() if value is not None}

    file = save(
        tmp_path / "model.gguf",
        architecture,
        changed(qwen[0], own),
        changed(qwen[1], tensors),
        changed(words(), tokenizer),
    )
    folder = tmp_path / "folder"
    from_gguf(file, folder)
    check_whole(folder, {})
    return folder


def test_the_files_own_ids_and_template(tmp_path, qwen):
    folder = made(tmp_path, qwen, **{"tokenizer.chat_template": TEMPLATE, "eot_token_id": 258})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 260)
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id) == (258, 258)
    assert tokenizer.chat_template == TEMPLATE
    assert AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id == [260, 258]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "a 11 <tool>[PAD0]"}], tokenize=False)
    assert text == "<|im_start|>user\na 11 <tool>[PAD0]<|im_end|>\n"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == 259
    assert ids[-2] == 260
    assert 261 in ids  # the user's own token
    assert 262 not in ids  # a filler is no token
    assert tokenizer.decode(ids) == text
    assert "<tool>" in tokenizer.decode(ids, skip_special_tokens=True)
    assert "<|im_end|>" not in tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize(("said", "pre", "expected"), [
    (True, "qwen2", True), (False, "llama-bpe", False), (None, "qwen2", False), (None, "llama-bpe", True),
])  # fmt: skip
def test_bos_is_added_where_the_file_says_so_or_its_kind_does(tmp_path, qwen, said, pre, expected):
    tokenizer = AutoTokenizer.from_pretrained(made(tmp_path, qwen, add_bos_token=said, pre=pre))
    ids = tokenizer("a")["input_ids"]
    assert (ids[0] == 258) == expected
    assert len(ids) == 1 + expected


TEXTS = [
    "Hello  world's 12345 ünïcode\n\n  tabs\t\r\nx", "I'LL DON'T we'Ve 3.14,15", "中文字符，测试。日本語 12345",
    "naïve e\u0301 1234",
    "x = foo(bar)/baz\n/\nqux", "  leading", "trailing   ", "CamelCaseWord HTTPServer ABCdef", "\u0b95\u0bbe 😀🏽 \u200b",
]  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_texts_are_cut_as_the_models_own_tokenizers_cut_them(tmp_path, qwen, name):
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tiktoken = TikTokenConverter().pattern
    tekken = (  # transformers' own, as in tokenization_utils_tokenizers.py
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    o200k = tekken.replace("{M}]+|", r"{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|").replace(
        r"{M}]*|\p{N}|", r"{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
    )

    def split(pattern):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])

    expected = {
        "gpt-2": gpt2,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
        "qwen2": split(tiktoken.replace(r"\p{N}{1,3}", r"\p{N}")),
        "tekken": split(tekken),
        "gpt-4o": split(o200k),
    }
    expected["deepseek-r1-qwen"] = expected["qwen2"]
    expected |= dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "dbrx"), split(tiktoken))
    made(tmp_path, qwen, pre=name)
    found = Tokenizer.from_file(str(tmp_path / "folder/tokenizer.json")).pre_tokenizer
    for text in TEXTS:
        assert found.pre_tokenize_str(text) == expected[name].pre_tokenize_str(text), text


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_tokenizer_encodes_as_sentencepiece(tmp_path, prefix, architecture):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(["How many apples has Tom? He has 3 and buys 14 more: 3 + 14 = 17.", *TEXTS] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "sp"), vocab_size=420, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity",
        user_defined_symbols=["<turn>"], control_symbols=["<end>"], split_digits=True, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    count = pieces.get_piece_size()

    def of_type(number):
        kinds = {"unknown": pieces.is_unknown, "control": pieces.is_control, "byte": pieces.is_byte}
        return next((TOKEN[name] for name, has in kinds.items() if has(number)), TOKEN["normal"])

    types = [TOKEN["user"] if pieces.id_to_piece(n) == "<turn>" else of_type(n) for n in range(count)]
    tokenizer = {
        "model": "llama", "tokens": [pieces.id_to_piece(n) for n in range(count)], "token_type": types,
        "scores": [pieces.get_score(n) for n in range(count)], "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0,
        "add_space_prefix": prefix,
    }  # fmt: skip
    name = "llama" if architecture == "llama" else "gemma2"
    model = random_model(name)
    model.resize_token_embeddings(count, mean_resizing=False)
    file = save(tmp_path / "model.gguf", architecture, metadata(model.config), converted(model), tokenizer)
    folder = tmp_path / "folder"
    from_gguf(file, folder)
    check_whole(folder, {})
    found = AutoTokenizer.from_pretrained(folder)
    for text in [*TEXTS, "How many apples? 1234", "ab <turn>cd", "\u4e00\u2603"]:
        ids = found(text)["input_ids"]
        # As llama.cpp and the models' own tokenizers do, what follows a token of the user's begins anew.
        parts = [pieces.encode(part) for part in text.split("<turn>")]
        expected = [1, *parts[0], *(number for part in parts[1:] for number in (pieces.piece_to_id("<turn>"), *part))]
        assert ids == expected, text
        assert "<turn>" in text or found.decode(ids, skip_special_tokens=True) == text
    assert found.convert_tokens_to_ids("<end>") in found("x<end>")["input_ids"]
    assert found.eos_token_id == 2


def factors(factor: float, base: float, width: int) -> np.ndarray:
    """rope_freqs as convert_hf_to_gguf.py writes it for a Llama 3."""
    found = []
    for frequency in 1 / base ** (np.arange(0, width, 2) / width):
        wavelength = 2 * np.pi / frequency
        smooth = (8192 / wavelength - 1) / 3
        inside = 1 / ((1 - smooth) / factor + smooth)
        found.append(1 if wavelength < 8192 / 4 else factor if wavelength > 8192 else inside)
    return np.array(found)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3_s_rope_is_found_again(tmp_path, factor):
    model = random_model("llama")
    own = metadata(model.config) | {
        "rope.freq_base": 500_000.0, "rope.dimension_count": 64, "attention.key_length": 64, "attention.value_length": 64,
    }  # fmt: skip
    tensors = {name: values for name, values in converted(model).items() if "attn_" not in name or "norm" in name}
    for block in range(2):
        shapes = {"q": (256, 32), "k": (128, 32), "v": (128, 32), "output": (32, 256)}
        tensors |= {f"blk.{block}.attn_{part}.weight": np.full(shape, 0.01) for part, shape in shapes.items()}
    tensors["rope_freqs.weight"] = factors(factor, 500_000.0, 64)
    folder = made(tmp_path, (own, tensors), architecture="llama")
    config = AutoConfig.from_pretrained(folder)
    assert config.rope_parameters == {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    tensors["rope_freqs.weight"] = np.linspace(1, 8, 32)
    with pytest.raises(UserError, match=r"has a rope_freqs\.weight that is not Llama 3's scaling"):
        made(tmp_path, (own, tensors), architecture="llama")


def test_scaled_ropes(tmp_path, qwen):
    def rope(own):
        return AutoConfig.from_pretrained(made(tmp_path, qwen, own)).rope_parameters

    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
    found = rope(yarn)
    assert (found["rope_type"], found["factor"], found["original_max_position_embeddings"]) == ("yarn", 4.0, 64)
    found = rope({"rope.scaling.type": "linear", "rope.scaling.factor": 2.0})
    assert (found["rope_type"], found["factor"]) == ("linear", 2.0)
    with pytest.raises(UserError, match="scales its rope by 'su'"):
        rope({"rope.scaling.type": "su"})


def test_phi_3_s_long_rope(tmp_path):
    model = random_model("phi3")
    own = metadata(model.config) | {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.25}
    long, short = np.linspace(1, 9, 4), np.linspace(1, 2, 4)
    both = {"rope_factors_long.weight": long, "rope_factors_short.weight": short}
    folder = made(tmp_path, (own, converted(model) | both), architecture="phi3")
    config = AutoConfig.from_pretrained(folder)
    rope = config.rope_parameters
    assert rope["rope_type"] == "longrope"
    assert rope["long_factor"] == pytest.approx(long.tolist())
    assert rope["short_factor"] == pytest.approx(short.tolist())
    assert rope["attention_factor"] == 1.25
    assert config.original_max_position_embeddings == 64
    logits(AutoModelForCausalLM.from_pretrained(folder))
    with pytest.raises(UserError, match="without the other"):
        made(tmp_path, (own, converted(model) | {"rope_factors_long.weight": long}), architecture="phi3")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tokens": None, "token_type": None, "merges": None}, "holds no tokenizer"),
        ({"pre": "some-new-cut"}, "cuts texts by 'some-new-cut'"),
        ({"pre": None}, "cuts texts by None"),
        ({"model": "t5"}, "has a tokenizer of kind 't5'"),
        ({"merges": None}, "without merges"),
        ({"model": "llama"}, "without scores"),
        ({"merges": ["qq zz"]}, "its merges do not fit its tokens"),
        ({"eos_token_id": 999}, "its eos_token_id 999 is none of its tokens"),
        ({"eos_token_id": None}, "names no EOS token"),
        ({"own": {"attention.temperature_length": 9}}, "has qwen2.attention.temperature_length = 9, whose meaning"),
        ({"own": {"attention.value_length": 4}}, "keys and values differ in width"),
        ({"own": {"attention.head_count_kv": [2, 1]}}, "its layers differ in num_key_value_heads"),
        ({"tensors": {"blk.0.attn_sinks.weight": np.ones(4)}}, "blk.0.attn_sinks.weight has no place in a qwen2"),
        ({"tensors": {"blk.1.ffn_up.weight": None}}, "mlp.up_proj.weight missing, which Qwen2ForCausalLM has"),
        ({"tensors": {"token_embd.weight": None}}, "has no token_embd.weight"),
        ({"tensors": {"blk.1.ffn_up.weight": np.full((48, 32), np.nan)}}, "no finite numbers"),
        ({"split.count": 3}, "is one of 3 parts"),
        ({"architecture": "rwkv7"}, "of architecture 'rwkv7', and read here are llama"),
    ],
)  # fmt: skip
def test_what_the_folder_could_not_keep_is_refused(tmp_path, qwen, changes, match):
    with pytest.raises(UserError, match=match):
        made(tmp_path, qwen, **changes)


def test_what_is_no_whole_file(tmp_path, qwen):
    file = save(tmp_path / "model.gguf", "qwen2", *qwen)
    whole = file.read_bytes()
    for cut in (whole[:-100], whole[: len(whole) // 2], whole[:3000], whole[:30], whole[:5]):
        file.write_bytes(cut)
        with pytest.raises(UserError, match=r"model\.gguf: is cut short or damaged"):
            from_gguf(file, tmp_path / "folder")
    for other in (b"", b"A text file.\n", b"PK\x03\x04"):
        file.write_bytes(other)
        with pytest.raises(UserError, match="is no GGUF file"):
            from_gguf(file, tmp_path / "folder")
    with pytest.raises(UserError, match="is no file"):
        from_gguf(tmp_path / "none.gguf", tmp_path / "folder")
