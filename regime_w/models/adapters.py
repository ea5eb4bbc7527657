"""LoRA adapters and their kin: whether one belongs to a base model, does something and can be merged; what it adapts.

copy_adapter(Path("from/elsewhere"), Path("sft_lora"))    # its .bin weights as safetensors
check_adapter(Path("sft_lora"), Path("base"), params)     # PEFT's own names and shapes on the base's modules
"""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from regime_w.models.folders import TOKENIZER_FILES, quiet, skeleton, vocabulary
from regime_w.models.weights import check_finite, convert_bin, safetensors_shapes
from regime_w.runtime.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
KINDS = ("LORA", "ADALORA", "LOHA", "LOKR")  # that are merged here: each adds a product of its factors to a weight
FACTOR = re.compile(r"\.(?:lora|hada|lokr)_")
# Initialisations that change the base's weights, which are not in the adapter's file.
CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Settings of a LoRA whose merged weights would not be a model of the base's class, or depend on the text.
NO_MERGE = ("layer_replication", "alora_invocation_tokens", "arrow_config", "megatron_config", "lora_bias")
MERGE_YOURSELF = "merge it with its own tools, and give the merged model as base_model"


def copy_adapter(adapter: Path, folder: Path) -> None:
    """Copy an adapter and the tokenizer that came with it, weights as safetensors; UserError where `adapter` is none."""
    if not (adapter / ADAPTER_CONFIG).is_file():
        what = "is a model; name it as base_model.path" if (adapter / "config.json").is_file() else "is no PEFT adapter"
        raise UserError(f"{adapter / ADAPTER_CONFIG}: missing; {adapter} {what}")
    weights, pickled = adapter / ADAPTER_WEIGHTS, adapter / "adapter_model.bin"
    if not weights.is_file() and not pickled.is_file():
        raise UserError(f"{weights}: missing; the adapter's folder is incomplete")
    for path in sorted(adapter.iterdir()):
        if (
            path.is_file()
            and path.suffix in (".json", ".md", ".model", ".txt", ".jinja")
            and path.name != "manifest.json"
        ):
            shutil.copyfile(path, folder / path.name)
    if weights.is_file():
        shutil.copyfile(weights, folder / ADAPTER_WEIGHTS)
    else:
        convert_bin(pickled, folder / ADAPTER_WEIGHTS)


def check_adapter(adapter: Path, base: Path, params: dict[str, Any]) -> Any:
    """The PEFT model without weights; UserError unless the adapter fits the base in every tensor, does something and merges."""
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = read_config(adapter)
    shapes = safetensors_shapes(adapter / ADAPTER_WEIGHTS)
    check_finite([adapter / ADAPTER_WEIGHTS])
    state = load_file(adapter / ADAPTER_WEIGHTS)
    _check_change(adapter, state)
    model = skeleton(base, params)
    fit_embeddings(model, adapter)
    own = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
    other = f"{adapter} was made for another base than {base}"
    if hasattr(config, "init_lora_weights"):
        config.init_lora_weights = False  # nothing to compute with
    try:
        with quiet():
            adapted = PeftModel(model, config, low_cpu_mem_usage=True)
            found: Any = set_peft_model_state_dict(adapted, state, ignore_mismatched_sizes=True, low_cpu_mem_usage=True)
    except KeyError as error:
        raise UserError(f"{adapter}: {error} is missing; the adapter is incomplete") from None
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{other}, or not with this PEFT: {str(error).strip():.400}") from None
    for name in found.unexpected_keys:
        if ".modules_to_save." in name and name.replace(".modules_to_save", "", 1) in shapes:
            continue  # PEFT saves embeddings that were resized and trained more than once
        target = _target(name)
        if target in own:
            raise UserError(f"{adapter}: adapts {target}, which its {ADAPTER_CONFIG} does not name; save it again")
        raise UserError(f"{adapter}: adapts {target}, which {base} does not have; {other}")
    needed = {name: list(tensor.shape) for name, tensor in adapted.state_dict().items()}
    for name in found.missing_keys:
        if not FACTOR.search(name) and ".modules_to_save." not in name:
            continue  # the base's own
        short = name.replace(".default", "", 1)
        if short in shapes and shapes[short] != needed[name]:
            raise UserError(
                f"{adapter}: {short} is {shapes[short]}, and {needed[name]} by {ADAPTER_CONFIG} on {base}; {other}"
            )
        raise UserError(f"{adapter}: {short} is missing; the adapter is incomplete")
    return adapted


def read_config(adapter: Path) -> Any:
    """The PeftConfig of a kind that can be merged; UserError otherwise."""
    from peft import PeftConfig

    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (adapter / name).is_file():
            raise UserError(f"{adapter / name}: missing; {adapter} is not a PEFT adapter folder")
    try:
        kind = str(json.loads((adapter / ADAPTER_CONFIG).read_text())["peft_type"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{adapter / ADAPTER_CONFIG}: names no peft_type ({error}); save the adapter again") from None
    if kind not in KINDS:
        raise UserError(f"{adapter}: of kind {kind}, and merged here are {', '.join(KINDS)} alone; {MERGE_YOURSELF}")
    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{adapter / ADAPTER_CONFIG}: not read by this PEFT ({error}); save the adapter again"
        ) from None
    start = str(getattr(config, "init_lora_weights", ""))
    if start.startswith(CHANGED_BASE):
        raise UserError(
            f"{adapter}: its start ({start}) changed the base's weights, and these are not in the adapter; "
            "save it with PEFT's path_initial_model_for_weight_conversion"
        )
    if setting := next((name for name in NO_MERGE if getattr(config, name, None)), None):
        raise UserError(f"{adapter}: has {setting}, with which it cannot be merged here; {MERGE_YOURSELF}")
    return config


def fit_embeddings(model: Any, adapter: Path) -> bool:
    """Give the model as many embeddings as the adapter has in whole, where it was trained after a resize; True if so."""
    shapes = safetensors_shapes(adapter / ADAPTER_WEIGHTS)
    names = {id(module): name for name, module in model.named_modules()}
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        for ending in ("weight", "base_layer.weight"):
            shape = shapes.get(f"base_model.model.{names.get(id(module))}.{ending}")
            if shape and shape[0] != module.weight.shape[0]:
                model.resize_token_embeddings(shape[0], mean_resizing=False)
                return True
    return False


def untie(adapted: Any) -> bool:
    """Give a model with one matrix for both embeddings two, where its adapter changes one of them; True if so.

    Merged into the one matrix, the change would be in both.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    model = adapted.get_base_model()
    text = model.config.get_text_config()
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    changed = any(isinstance(end, BaseTunerLayer | AuxiliaryTrainingWrapper) for end in ends)
    if not text.tie_word_embeddings or not changed or getattr(adapted.active_peft_config, "ensure_weight_tying", False):
        return False
    output = ends[1]
    if isinstance(output, BaseTunerLayer):
        output = output.get_base_layer()
    elif isinstance(output, AuxiliaryTrainingWrapper):
        output = output.original_module
    output.weight = torch.nn.Parameter(output.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = text.tie_word_embeddings = False
    return True


def check_adapters_tokenizer(adapter: Path, base: Path, params: dict[str, Any]) -> None:
    """UserError where a tokenizer that came with the adapter gives a token of the base's another id."""
    if not has_tokenizer(adapter):
        return
    theirs = vocabulary(adapter, {})[0].get_vocab()
    for token, number in vocabulary(base, params)[1].items():
        if theirs.get(token) != number:
            raise UserError(
                f"{adapter}: its tokenizer has {token!r} as {theirs.get(token, 'no token')}, that of {base} as {number}; "
                "the adapter was made for another base"
            )


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def adapted_modules(model: Any) -> str:
    """A line for the log: which kinds of a PEFT model's matrices are adapted, and which are not."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted, left = Counter[str](), Counter[str]()
    sizes = Counter[bool]()
    stacked = False  # experts' matrices in one parameter, which is no module
    tuned = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    own = {id(parameter) for module in tuned.values() for parameter in _adapters_own(module)}
    bases = {}
    for module in tuned.values():
        inner = module.get_base_layer()
        if wanted := getattr(module, "parameter_name", None):
            bases[id(getattr(inner, wanted))] = True
        else:
            bases |= {id(parameter): True for parameter in inner.parameters(recurse=False)}
    for name, parameter in model.named_parameters():
        if id(parameter) in own or parameter.ndim < 2:
            continue
        is_adapted = id(parameter) in bases
        sizes[is_adapted] += parameter.numel()
        (adapted if is_adapted else left)[_kind(name)] += 1
        stacked |= parameter.ndim == 3 and not is_adapted
    share = sizes[True] / sizes.total()
    line = f"The adapter changes {_counted(adapted)}: {share:.1%} of the model's matrices"
    if left:
        line += f"; it leaves out {_counted(left)}"
    if stacked:
        line += " (experts' parameters are adapted where lora.target_parameters names them)"
    return line


def _adapters_own(module: Any) -> list[Any]:
    from torch.nn import Module

    names = (*module.adapter_layer_names, *getattr(module, "other_param_names", ()))
    found = [getattr(module, name) for name in names if hasattr(module, name)]
    return [p for layer in found if isinstance(layer, Module) for p in layer.parameters()]


def _kind(name: str) -> str:
    """`model.layers.3.mlp.experts.down_proj` is one of the experts.down_proj, of a Linear its module's name is enough."""
    parts = [part for part in name.split(".") if part not in ("base_layer", "weight") and not part.isdigit()]
    return ".".join(parts[-2:]) if "expert" in name else parts[-1]


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(names.items()))


def _check_change(adapter: Path, state: dict[str, Any]) -> None:
    """UserError where the adapter has no tensors, or a factor of each of its products is 0, as before the first step."""
    if not state:
        raise UserError(f"{adapter / ADAPTER_WEIGHTS}: holds no tensors; the adapter would change nothing")
    changes: dict[str, bool] = {}
    for name, tensor in state.items():
        target = FACTOR.split(name)[0]
        changes[target] = changes.get(target, True) and bool(tensor.any())
    if not any(changes.values()):
        raise UserError(
            f"{adapter}: a factor of each of its products is 0: it would change nothing, and was never trained"
        )


def _target(name: str) -> str:
    """The weight of the base that a tensor of the adapter belongs to."""
    return FACTOR.split(name.removeprefix("base_model.model."))[0].partition(".modules_to_save.")[0]
