"""Model folders and LoRA adapters in Hugging Face form: what must be in them, read without loading any weights."""

import json
import struct
from pathlib import Path
from typing import Any

from regime_w.runtime.errors import UserError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
ADAPTER_WEIGHTS = "adapter_model.safetensors"
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
NOTES = ("_name_or_path", "transformers_version")  # in a config.json, and of no effect


def safetensors_shapes(path: Path) -> dict[str, list[int]]:
    """Tensor shapes from a safetensors header; UserError where the file is cut short.

    Format: 8 bytes length, JSON header with data offsets, data (huggingface/safetensors README).
    """
    hint = "fetch or save it again"
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise UserError(f"{path}: truncated safetensors header ({size} bytes); {hint}")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise UserError(f"{path}: not a safetensors file; {hint}") from None
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if end != size:
        raise UserError(f"{path}: truncated safetensors file, {size} bytes where its header says {end}; {hint}")
    return {name: entry["shape"] for name, entry in tensors.items()}


def model_shapes(folder: Path) -> dict[str, list[int]]:
    """Tensor shapes of a whole model folder; UserError where weights are missing, or an index names an absent file."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        raise UserError(f"{folder}: no safetensors weights; the folder is empty or incomplete")
    shapes: dict[str, list[int]] = {}
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: named in {index.name} but missing; fetch or save the model again")
        shapes |= safetensors_shapes(folder / name)
    return shapes


def check_model(folder: Path) -> dict[str, list[int]]:
    """UserError unless the folder has config, tokenizer and complete weights; returns the tensor shapes."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder; check the path in the config")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; this is not a Hugging Face model folder")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"{folder}: no tokenizer ({', '.join(TOKENIZER_FILES)}); save it beside the model")
    return model_shapes(folder)


def check_adapter(adapter: Path, base: Path) -> dict[str, Any]:
    """The adapter's config; UserError unless every LoRA matrix fits a weight of the base model."""
    config_file, weights = adapter / "adapter_config.json", adapter / ADAPTER_WEIGHTS
    for path in (config_file, weights):
        if not path.is_file():
            raise UserError(f"{path}: missing; {adapter} is not a PEFT adapter folder")
    config = json.loads(config_file.read_text())
    base_shapes = model_shapes(base)
    for name, shape in safetensors_shapes(weights).items():
        for mark, axis, side in ((".lora_A.", 1, "inputs"), (".lora_B.", 0, "outputs")):
            if mark not in name:
                continue
            target = name.split(mark)[0].removeprefix("base_model.model.") + ".weight"
            found = base_shapes.get(target)
            if found is None:
                raise UserError(f"{adapter}: adapts {target}, which {base} does not have; it was made for another base")
            if shape[axis] != found[axis]:
                raise UserError(
                    f"{adapter}: {target} has {found[axis]} {side} in {base}, {shape[axis]} in the adapter; "
                    "it was made for another base"
                )
    return config


def trusted(params: dict[str, Any]) -> dict[str, bool]:
    """The argument of every `from_pretrained`: code of the model's repository runs only where the config says so.

    Left out, transformers would ask on the terminal. `params` may have `trust_remote_code` (base_model's).
    """
    return {"trust_remote_code": bool(params.get("trust_remote_code", False))}


def alike(one: Path, other: Path, params: dict[str, Any]) -> bool:
    """Whether a loaded model needs nothing but the other's weights to be the other one.

    False also where that cannot be told: with code of the model's own, with quantised weights, without a tokenizer.json.
    And with tied embeddings, of which vLLM puts new ones in and may go on with the old ones for the output.
    """
    if trusted(params)["trust_remote_code"]:
        return False
    made = _make(one, params)
    if made["config"].get("tie_word_embeddings") or "quantization_config" in made["config"] or not made["tokenizer"]:
        return False
    return made == _make(other, params)


def _make(folder: Path, params: dict[str, Any]) -> dict[str, Any]:
    """All that an engine takes from a model's folder but the weights' values, in whatever form it was saved."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(folder, **trusted(params)).to_dict()
    generation = folder / "generation_config.json"
    tokenizer = AutoTokenizer.from_pretrained(folder, **trusted(params))
    return {
        "config": {key: value for key, value in config.items() if key not in NOTES},
        "eos": json.loads(generation.read_text()).get("eos_token_id") if generation.is_file() else None,
        # Checkpoints of old hold these constants; engines compute them from the config.
        "shapes": {name: s for name, s in model_shapes(folder).items() if not name.endswith("rotary_emb.inv_freq")},
        "tokenizer": tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else None,
        "special": [tokenizer.special_tokens_map, tokenizer.all_special_ids, tokenizer.clean_up_tokenization_spaces],
        "chat_template": tokenizer.chat_template,
    }


def positions(folder: Path) -> int | None:
    """Tokens that the model has positions for, by its config.json; None where that sets no bound.

    Scaled rotary embeddings reach further by their factor where the config says what the scale is held against.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config") or config
    most = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if most and scaling.get("rope_type", scaling.get("type")) in ("yarn", "linear", "dynamic"):
        most = max(most, int(scaling.get("original_max_position_embeddings", most) * scaling.get("factor", 1.0)))
    return most


def check_code(model: Path, params: dict[str, Any]) -> None:
    """UserError where model or tokenizer need code that the config does not trust, or that is not in the folder."""
    for name in ("config.json", "tokenizer_config.json"):
        file = model / name
        named = json.loads(file.read_text()).get("auto_map", {}) if file.is_file() else {}
        # "owner/name--module.Class" is another repository's: neither pinned nor in our manifest.
        elsewhere = [value for value in _leaves(named) if "--" in value]
        if elsewhere and trusted(params)["trust_remote_code"]:
            raise UserError(
                f"{model}: {name} names code of another repository ({elsewhere[0]}); copy that code into the model's "
                "folder, name it there, and use base_model.source: local"
            )
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(model, **trusted(params))
        check_tokenizer(model, params)
    except ValueError as error:
        if "custom code" not in str(error):
            raise
        raise UserError(
            f"{model}: needs code from its repository; read that code, then set base_model.trust_remote_code: true"
        ) from None


def _leaves(value: Any) -> list[str]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [leaf for each in inner for leaf in _leaves(each)]


def check_tokenizer(model: Path, params: dict[str, Any]) -> None:
    """UserError where the tokenizer makes ids that the model has no embedding for.

    Added tokens may lie beyond it, as some models' do, unless they are the BOS, EOS or padding token.
    """
    config = json.loads((model / "config.json").read_text())
    rows = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    if rows is None:
        return
    tokenizer, own = _vocabulary(model, params)
    used = own | {tokenizer.bos_token: tokenizer.bos_token_id, tokenizer.eos_token: tokenizer.eos_token_id}
    used |= {tokenizer.pad_token: tokenizer.pad_token_id}
    token = max(used, key=lambda token: used[token] or 0)
    if (used[token] or 0) >= rows:
        raise UserError(
            f"{model}: its tokenizer has {token!r} as id {used[token]} and the model embeds {rows} tokens; "
            "they do not match: save the model's own tokenizer beside it"
        )


def check_adapters_tokenizer(adapter: Path, base: Path, params: dict[str, Any]) -> None:
    """UserError where a tokenizer that came with the adapter gives a token of the base's another id."""
    if not any((adapter / name).is_file() for name in TOKENIZER_FILES):
        return
    theirs = _vocabulary(adapter, {})[0].get_vocab()
    for token, number in _vocabulary(base, params)[1].items():
        if theirs.get(token) != number:
            raise UserError(
                f"{adapter}: its tokenizer has {token!r} as {theirs.get(token, 'no token')}, that of {base} as {number}; "
                "the adapter was made for another base"
            )


def _vocabulary(folder: Path, params: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    """The tokenizer and its tokens by id, without those that were added to it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, **trusted(params))
    added = tokenizer.get_added_vocab()
    return tokenizer, {token: number for token, number in tokenizer.get_vocab().items() if token not in added}
