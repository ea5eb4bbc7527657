"""Model folders in Hugging Face form: what must be in them, read without loading any weights."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regime_w.models.weights import check_finite, safetensors_shapes
from regime_w.runtime.errors import UserError

log = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
INDEX = "model.safetensors.index.json"
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
NOTES = ("_name_or_path", "transformers_version")  # in a config.json, and of no effect


def json_of(path: Path) -> dict[str, Any]:
    """A model's JSON file, an object; UserError otherwise."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); fetch or save the model again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a JSON object was expected; fetch or save the model again")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; UserError where there are none, or an index names an absent one."""
    index = folder / INDEX
    if not index.is_file():
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    else:
        names = sorted(set(json_of(index)["weight_map"].values()))
    if not names:
        raise UserError(f"{folder}: no safetensors weights; the folder is empty or incomplete")
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: named in {index.name} but missing; fetch or save the model again")
    return [folder / name for name in names]


def model_shapes(folder: Path) -> dict[str, list[int]]:
    """Tensor shapes of a whole model folder; UserError as in `weight_files` and where a file is damaged."""
    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder):
        shapes |= safetensors_shapes(path)
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


def check_whole(folder: Path, params: dict[str, Any]) -> None:
    """UserError unless every later stage can load and train this model: what `base_model` asks of its source.

    Files and their values, code that is trusted, a class that generates text, no weight missing or of another shape, a
    tokenizer with EOS whose ids the model has embeddings for.
    """
    check_model(folder)
    check_code(folder, params)
    check_finite(weight_files(folder))
    skeleton(folder, params)


def skeleton(folder: Path, params: dict[str, Any]) -> Any:
    """The model's modules without weights, on the device `meta`; UserError where the folder does not fill them.

    `params` may have `trust_remote_code`, as in `trusted`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, **trusted(params))
    if method := (getattr(config, "quantization_config", None) or {}).get("quant_method"):
        raise UserError(
            f"{folder}: its weights are quantised ({method}), and an adapter cannot be merged into such; "
            "take the model in bfloat16 or float32"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{folder}: {config.model_type} is an encoder with a decoder; take a causal language model")
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype="auto",
                device_map="meta",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **trusted(params),
            )
    except ImportError as error:
        raise UserError(f"{folder}: {config.model_type} needs a package that is not here ({error})") from None
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise UserError(
            f"{folder}: transformers knows no causal language model of type {config.model_type}; take another model"
        ) from None
    model, found = loaded
    if found["missing_keys"]:
        raise UserError(
            f"{folder}: {_some(found['missing_keys'])} missing, which {type(model).__name__} has; fetch or save the whole model"
        )
    for name, given, wanted in sorted(found["mismatched_keys"]):
        raise UserError(
            f"{folder}: {name} is {list(given)}, and config.json makes it {list(wanted)}; they do not belong together"
        )
    if found["unexpected_keys"]:
        log.info(f"Not used: {_some(found['unexpected_keys'])}, unknown to {type(model).__name__}")
    return model


def _some(names: Any) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else str(first)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' warnings, where what they warn of is checked."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.set_verbosity(level)


def trusted(params: dict[str, Any]) -> dict[str, bool]:
    """The argument of every `from_pretrained`: code of the model's repository runs only where the config says so.

    Left out, transformers would ask on the terminal. `params` may have `trust_remote_code` (base_model's).
    """
    return {"trust_remote_code": bool(params.get("trust_remote_code", False))}


def load_model(folder: Path, params: dict[str, Any], **how: Any) -> Any:
    """The model with its weights; `how` goes to `from_pretrained`. `params` as in `trusted`.

    Of transformers' kinds of attention eager alone caps scores (Gemma 2): all others leave that out without a word.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, **trusted(params))
    if getattr(config.get_text_config(), "attn_logit_softcapping", None):
        how["attn_implementation"] = "eager"
    return AutoModelForCausalLM.from_pretrained(folder, **how, **trusted(params))


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
    config = json_of(folder / "config.json")
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
        named = json_of(file).get("auto_map", {}) if file.is_file() else {}
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
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise errors of all kinds for files that are no good
        if "custom code" in str(error):
            raise UserError(
                f"{model}: needs code from its repository; read that code, then set base_model.trust_remote_code: true"
            ) from None
        raise UserError(
            f"{model}: config or tokenizer cannot be loaded ({type(error).__name__}: {error!s:.300}); fetch it again"
        ) from None


def _leaves(value: Any) -> list[str]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [leaf for each in inner for leaf in _leaves(each)]


def check_tokenizer(model: Path, params: dict[str, Any]) -> None:
    """UserError where the tokenizer has no EOS, or makes ids that the model has no embedding for.

    Added tokens may lie beyond it, as some models' do, unless they are the BOS, EOS or padding token or in the chat template.
    """
    config = json_of(model / "config.json")
    rows = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    tokenizer, own = vocabulary(model, params)
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{model}: its tokenizer has no EOS token, so that no completion would end; "
            "name it as eos_token in tokenizer_config.json"
        )
    if rows is None:
        return
    template = json.dumps(tokenizer.chat_template, ensure_ascii=False) if tokenizer.chat_template else ""
    used = own | {token: number for token, number in tokenizer.get_added_vocab().items() if token in template}
    used |= {tokenizer.bos_token: tokenizer.bos_token_id, tokenizer.eos_token: tokenizer.eos_token_id}
    used |= {tokenizer.pad_token: tokenizer.pad_token_id}
    token = max(used, key=lambda token: used[token] or 0)
    if (used[token] or 0) >= rows:
        raise UserError(
            f"{model}: its tokenizer has {token!r} as id {used[token]} and the model embeds {rows} tokens; "
            "they do not match: save the model's own tokenizer beside it"
        )


def vocabulary(folder: Path, params: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    """The tokenizer and its tokens by id, without those that were added to it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, **trusted(params))
    added = tokenizer.get_added_vocab()
    return tokenizer, {token: number for token, number in tokenizer.get_vocab().items() if token not in added}


def mend_generation(folder: Path) -> None:
    """Rewrite a generation_config.json that transformers reads and would not save again, as Llama-2-chat has one.

    Its sampling settings are not used here; the ids in it are.
    """
    file = folder / "generation_config.json"
    if not file.is_file():
        return
    from transformers import GenerationConfig

    given = json_of(file)
    ids: dict[str, Any] = {
        name: given[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in given
    }
    for settings in (given, given | {"do_sample": True}, ids):
        try:
            with quiet():
                mended = GenerationConfig(**settings)
                mended.validate(strict=True)
        except (TypeError, ValueError) as error:
            log.info(f"{file.name}: mended ({str(error).splitlines()[0]:.200})")
        else:
            break
    if settings is not given:
        mended.save_pretrained(folder)
