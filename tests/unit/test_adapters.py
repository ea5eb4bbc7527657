"""Adapters from elsewhere: those that merge do so to the logits of base + adapter, all others end in one line at takeover."""

import shutil
from pathlib import Path

import peft
import pytest
import torch
from helpers import save_random_model
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from training_inputs import LORA, SFT
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from regime_w.models import merging
from regime_w.models.adapters import ADAPTER_WEIGHTS, adapted_modules, check_adapter
from regime_w.models.folders import model_shapes, weight_files
from regime_w.models.manifests import load_manifest, write_manifest
from regime_w.models.merging import Product, added, in_float32, low_rank, write_merged
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, sha256_file, write_json
from regime_w.training.trainer import lora_config
from scripts import merge_lora, train_sft

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of small bases: llama, tied, mixtral."""
    folder = tmp_path_factory.mktemp("bases")
    for name, tied in (("llama", False), ("tied", True)):
        save_random_model(folder / name, tied=tied)
    save_random_model(folder / "mixtral")
    (folder / "mixtral/model.safetensors").unlink()
    sizes = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    size = {"vocab_size": read_json(folder / "llama/config.json")["vocab_size"], "num_local_experts": 4}
    torch.manual_seed(0)
    MixtralForCausalLM(MixtralConfig(**sizes, **size, num_key_value_heads=1)).save_pretrained(folder / "mixtral")
    for name in ("llama", "tied", "mixtral"):
        write_manifest(folder / name, {})
    return folder


def trained(model, share):
    """Give every adapter tensor a value, as training would."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=share * (0.2 if "lora_" in name or "hada" in name else 0.5))
    return model


def adapter_of(base, folder, config, tokens=None, share=1.0):
    """Save a trained adapter of `base`, with `tokens` embeddings where these are given."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if tokens:
        model.resize_token_embeddings(tokens)
    adapted = trained(get_peft_model(model, config), share)
    adapted.save_pretrained(folder)
    return folder


def lora(**how):
    return LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": EVERY, "task_type": "CAUSAL_LM"} | how)


def take_over(adapter, base, output):
    params = SFT | {"sft": SFT["sft"] | {"adapter": str(adapter)}}
    train_sft.take_over(adapter, base, output, params)
    return output


def merge(base, adapter, output):
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--params", '{"device": "cpu"}', "--base", base, "--adapter"]
        arguments += [adapter, "--output", output]
        patch.setattr("sys.argv", ["", *map(str, arguments)])
        merge_lora.main()
    return output


def refused(adapter, base, tmp_path, match):
    with pytest.raises(UserError, match=match) as told:
        take_over(adapter, base, tmp_path / "taken")
    assert ".partial" not in str(told.value)
    assert not (tmp_path / "taken").exists()


def taken_and_merged(base, adapter, tmp_path):
    taken = take_over(adapter, base, tmp_path / "taken")
    return merge(base, taken, tmp_path / "merged")


def logits(model):
    ids = torch.arange(3, 33).view(2, 15)
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def same_as_adapted(base, adapter, merged, tokens=None):
    """The merged folder gives what transformers and PEFT give for base and adapter; and not what the base gives."""
    model = AutoModelForCausalLM.from_pretrained(base)
    before = logits(model)
    if tokens:
        model.resize_token_embeddings(tokens)
    expected = logits(PeftModel.from_pretrained(model, adapter))
    found = logits(AutoModelForCausalLM.from_pretrained(merged))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[..., : before.shape[-1]], before, atol=0.05)


MERGED = {
    "lora": ("llama", lora()),
    "all-linear": ("llama", lora(target_modules="all-linear")),
    "of a part": ("llama", lora(layers_to_transform=[1], rank_pattern={"q_proj": 2}, use_rslora=True)),
    "dora": ("llama", lora(use_dora=True)),
    "the output": ("llama", lora(target_modules=["q_proj", "lm_head"])),
    "the embedding": ("llama", lora(target_modules=["q_proj", "embed_tokens"])),
    "tied": ("tied", lora()),
    "tied, the output": ("tied", lora(target_modules=["q_proj", "lm_head"])),
    "tied, the embedding": ("tied", lora(target_modules=["q_proj", "embed_tokens"])),
    "tied, both": ("tied", lora(target_modules=["q_proj", "embed_tokens", "lm_head"])),
    "tied, the output in whole": ("tied", lora(modules_to_save=["lm_head"])),
    "tied, the embedding in whole": ("tied", lora(modules_to_save=["embed_tokens"])),
    "tied, both as one": ("tied", lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "some tokens": ("llama", lora(trainable_token_indices=[5, 6, 7])),
    "norms in whole": ("llama", lora(modules_to_save=["input_layernorm"])),
    "experts": ("mixtral", lora(target_modules="all-linear")),
    "experts' parameters": (
        "mixtral",
        lora(target_modules=["q_proj"], target_parameters=["experts.down_proj", "experts.gate_up_proj"]),
    ),
    "AdaLoRA": ("llama", peft.AdaLoraConfig(init_r=4, total_step=9, target_modules=EVERY, task_type="CAUSAL_LM")),
    "LoHa": ("llama", peft.LoHaConfig(r=4, target_modules=EVERY, task_type="CAUSAL_LM")),
    "LoKr": ("llama", peft.LoKrConfig(r=4, target_modules=EVERY, task_type="CAUSAL_LM")),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_merges_of_half_precision_are_held_against_base_and_adapter_in_float32(bases, tmp_path, name):
    base, config = MERGED[name]
    half = tmp_path / "base"
    shutil.copytree(bases / base, half)
    model = AutoModelForCausalLM.from_pretrained(bases / base, dtype=torch.bfloat16)
    model.save_pretrained(half)
    write_manifest(half, {})
    merged = taken_and_merged(half, adapter_of(half, tmp_path / "adapter", config, share=0.3), tmp_path)
    assert AutoModelForCausalLM.from_pretrained(merged).dtype == torch.bfloat16
    assert load_manifest(merged)[1]["made_from"]["largest_logit_difference"] < 0.03


def test_a_merge_that_came_out_wrong_is_refused(bases, tmp_path, monkeypatch):
    adapter = adapter_of(bases / "llama", tmp_path / "adapter", lora(), share=0.3)
    taken = take_over(adapter, bases / "llama", tmp_path / "taken")
    monkeypatch.setattr(merging, "added", lambda weight, product: weight)
    with pytest.raises(
        UserError, match=r"merged model differs from base \+ adapter: logits by 0\.[0-9]+ standard deviations"
    ):
        merge(bases / "llama", taken, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_model_computes_in_float32_and_is_what_it_was(bases):
    whole = AutoModelForCausalLM.from_pretrained(bases / "mixtral", dtype=torch.float32)
    for parameter in whole.parameters():
        parameter.data = parameter.data.bfloat16().float()
    half = AutoModelForCausalLM.from_pretrained(bases / "mixtral", dtype=torch.bfloat16)
    before = {name: tensor.data_ptr() for name, tensor in half.state_dict().items()}
    with in_float32(half):
        torch.testing.assert_close(logits(half), logits(whole))
    assert {name: tensor.data_ptr() for name, tensor in half.state_dict().items()} == before
    assert logits(half).dtype == torch.bfloat16


@pytest.mark.parametrize("name", MERGED)
def test_what_fits_is_merged(bases, tmp_path, name):
    base, config = MERGED[name]
    base = bases / base
    adapter = adapter_of(base, tmp_path / "adapter", config)
    merged = taken_and_merged(base, adapter, tmp_path)
    same_as_adapted(base, adapter, merged)
    assert load_manifest(merged)[1]["made_from"]["largest_logit_difference"] < 0.001


PLAIN = ("lora", "all-linear", "of a part", "tied")


@pytest.mark.parametrize("name", MERGED)
def test_a_plain_lora_is_merged_shard_by_shard_and_all_else_by_peft(bases, tmp_path, name, monkeypatch):
    monkeypatch.setattr(merging, "SHARD_BYTES", 100_000)
    base, config = MERGED[name]
    base = bases / base
    adapter = adapter_of(base, tmp_path / "adapter", config)
    products = low_rank(check_adapter(adapter, base, {}), load_file(adapter / ADAPTER_WEIGHTS), model_shapes(base))
    assert (products is not None) == (name in PLAIN)
    if not products:
        return
    merged = tmp_path / "merged"
    merged.mkdir()
    hashes = write_merged(base, products, merged)
    assert len(hashes) > 2
    assert hashes == {file.name: sha256_file(file) for file in merged.glob("*.safetensors")}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    model.save_pretrained(tmp_path / "by_peft")
    expected = load_file(tmp_path / "by_peft/model.safetensors")
    found = {name: tensor for file in weight_files(merged) for name, tensor in load_file(file).items()}
    assert found.keys() == expected.keys()
    for weight, tensor in found.items():
        torch.testing.assert_close(tensor, expected[weight])


def test_what_is_merged_is_rounded_once():
    weight = torch.tensor([[1.0]], dtype=torch.bfloat16)  # its neighbours are 2**-8 below and 2**-7 above
    a, b = torch.tensor([[0.5]]), torch.tensor([[2**-7 + 2**-16]])
    assert added(weight, Product(1.0, a, b)).item() == 1 + 2**-7  # the product itself would round to half of that
    assert added(weight, None) is weight


def test_the_merged_folder_has_the_bases_files(bases, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(bases / "llama", base)
    (base / "LICENSE").write_text("Apache")
    (base / ".snakemake_timestamp").touch()
    write_manifest(base, {})
    adapter = adapter_of(base, tmp_path / "adapter", lora())
    merged = taken_and_merged(base, adapter, tmp_path)
    same = ["LICENSE", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    assert all((merged / name).read_bytes() == (base / name).read_bytes() for name in same)
    files = load_manifest(merged)[1]["files"]
    assert {*files} >= {*same, "README.md", "model.safetensors"}
    assert ".snakemake_timestamp" not in files


@pytest.mark.parametrize("base", ["llama", "tied"])
@pytest.mark.parametrize("more", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}])
def test_embeddings_that_were_resized_come_with_their_tokenizer(bases, tmp_path, base, more):
    base = bases / base
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<new {number}>" for number in range(10)])
    adapter = adapter_of(base, tmp_path / "adapter", lora(**more), tokens=len(tokenizer))
    tokenizer.save_pretrained(adapter)
    merged = taken_and_merged(base, adapter, tmp_path)
    same_as_adapted(base, adapter, merged, tokens=len(tokenizer))
    assert AutoTokenizer.from_pretrained(merged)("<new 3>", add_special_tokens=False)["input_ids"] == [
        len(tokenizer) - 7
    ]
    assert read_json(merged / "config.json")["vocab_size"] == len(tokenizer)


def test_an_adapter_in_torchs_own_form_is_converted(bases, tmp_path):
    base = bases / "llama"
    adapter = adapter_of(base, tmp_path / "adapter", lora())
    torch.save(load_file(adapter / ADAPTER_WEIGHTS), adapter / "adapter_model.bin")
    (adapter / ADAPTER_WEIGHTS).unlink()
    taken = take_over(adapter, base, tmp_path / "taken")
    assert not list(taken.glob("*.bin"))
    same_as_adapted(base, adapter, merge(base, taken, tmp_path / "merged"))


@pytest.fixture(scope="module")
def sound(bases, tmp_path_factory):
    return adapter_of(bases / "llama", tmp_path_factory.mktemp("sound") / "adapter", lora())


def changed(sound: Path, folder: Path, tensors=None, **config) -> Path:
    """A copy of an adapter with other tensors (None takes one out) and settings."""
    shutil.copytree(sound, folder)
    own = read_json(folder / "adapter_config.json") | config
    write_json(folder / "adapter_config.json", own)
    if tensors is not None:
        state = {
            name: tensor
            for name, tensor in (load_file(folder / ADAPTER_WEIGHTS) | tensors).items()
            if tensor is not None
        }
        save_file(state, folder / ADAPTER_WEIGHTS)
    return folder


A = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


def zeroed(sound, mark):
    return {name: torch.zeros_like(t) for name, t in load_file(sound / ADAPTER_WEIGHTS).items() if mark in name}


@pytest.mark.parametrize(
    ("tensors", "config", "match"),
    [
        ({A: torch.full((4, 64), float("nan"))}, {}, f"{A} holds values that are no finite numbers"),
        ({A: None}, {}, f"{A} is missing; the adapter is incomplete"),
        ({A: torch.ones(4, 32)}, {}, rf"{A} is \[4, 32\], and \[4, 64\].*made for another base"),
        ({}, {"r": 8}, r"is \[4, 64\], and \[8, 64\] by adapter_config.json"),
        ({}, {"target_modules": [*EVERY, "lm_head"]}, "lm_head.lora_A.weight is missing"),
        ({}, {"target_modules": ["q_proj"]}, "which its adapter_config.json does not name"),
        ({}, {"target_modules": ["query_key_value"]}, "made for another base"),
        ({"base_model.model.score.weight": torch.ones(2, 64)}, {"modules_to_save": ["score"]}, "adapts score.weight, which"),
        ({}, {"modules_to_save": ["lm_head"]}, "lm_head.weight' is missing; the adapter is incomplete"),
        ({A.replace("layers.1", "layers.9"): torch.ones(4, 64)}, {}, r"adapts model.layers.9.self_attn.q_proj"),
        ({}, {"peft_type": "NOT_ONE"}, "of kind NOT_ONE, and merged here are LORA, ADALORA, LOHA, LOKR alone"),
        ({}, {"peft_type": None}, "of kind None"),
        ({}, {"init_lora_weights": "pissa_niter_4"}, "changed the base's weights"),
        ({}, {"layer_replication": [[0, 2], [1, 2]]}, "has layer_replication"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_at_takeover(bases, sound, tmp_path, tensors, config, match):
    refused(changed(sound, tmp_path / "adapter", tensors, **config), bases / "llama", tmp_path, match)


@pytest.mark.parametrize("mark", ["lora_B", "lora_A", "lora_"])
def test_an_adapter_that_changes_nothing(bases, sound, tmp_path, mark):
    adapter = changed(sound, tmp_path / "adapter", zeroed(sound, mark))
    refused(adapter, bases / "llama", tmp_path, "would change nothing, and was never trained")


def test_an_adapter_of_which_one_layer_is_trained_is_one(bases, sound, tmp_path):
    tensors = zeroed(sound, "lora_B")
    tensors[A.replace("lora_A", "lora_B")] = torch.ones(64, 4)
    take_over(changed(sound, tmp_path / "adapter", tensors), bases / "llama", tmp_path / "taken")


def test_an_adapter_without_tensors_or_cut_short(bases, sound, tmp_path):
    adapter = changed(sound, tmp_path / "adapter")
    weights = adapter / ADAPTER_WEIGHTS
    whole = weights.read_bytes()
    save_file({}, weights)
    refused(adapter, bases / "llama", tmp_path, "holds no tensors")
    weights.write_bytes(whole[:-9])
    refused(adapter, bases / "llama", tmp_path, "not a whole safetensors file")
    weights.unlink()
    refused(adapter, bases / "llama", tmp_path, "adapter_model.safetensors: missing")
    (adapter / "adapter_config.json").write_text("{")
    weights.write_bytes(whole)
    refused(adapter, bases / "llama", tmp_path, "names no peft_type")
    (adapter / "adapter_config.json").unlink()
    refused(adapter, bases / "llama", tmp_path, "adapter_config.json: missing; .* is no PEFT adapter")
    refused(bases / "tied", bases / "llama", tmp_path, "is a model; name it as base_model.path")
    refused(tmp_path / "nowhere", bases / "llama", tmp_path, "adapter_config.json: missing")


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        peft.IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
        ),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_kinds_that_are_not_merged(bases, tmp_path, config):
    adapter = adapter_of(bases / "llama", tmp_path / "adapter", config)
    refused(adapter, bases / "llama", tmp_path, f"of kind {config.peft_type.value}, .*merge it with its own tools")


def test_an_adapter_of_another_base(bases, tmp_path, sound):
    larger = save_random_model(tmp_path / "larger", hidden=128)
    write_manifest(larger, {})
    refused(sound, larger, tmp_path, "made for another base")
    refused(sound, bases / "mixtral", tmp_path, "made for another base")


def test_the_log_says_what_is_adapted(bases):
    def said(base, **how):
        return adapted_modules(get_peft_model(AutoModelForCausalLM.from_pretrained(bases / base), lora(**how)))

    line = said("llama", target_modules="all-linear")
    assert line.startswith("The adapter changes 2 down_proj, 2 gate_proj, 2 k_proj")
    assert line.endswith("it leaves out 1 embed_tokens, 1 lm_head")
    line = said("mixtral", target_modules=["q_proj", "v_proj"])
    assert "2 experts.down_proj, 2 experts.gate_up_proj, 2 gate, 2 k_proj, 1 lm_head" in line
    assert "where lora.target_parameters names them" in line
    line = said("mixtral", target_modules=["q_proj"], target_parameters=["experts.down_proj"])
    assert "changes 2 experts.down_proj, 2 q_proj:" in line
    assert "2 experts.gate_up_proj" in line.partition("leaves out")[2]


def test_lora_on_what_the_model_has(bases):
    model = AutoModelForCausalLM.from_pretrained(bases / "mixtral")

    def config(**how):
        return lora_config(LORA | how, model)

    assert config(target_parameters=["experts.down_proj"]).target_parameters == ["experts.down_proj"]
    assert config(target_modules=["self_attn.q_proj", "lm_head"]).exclude_modules is None
    with pytest.raises(
        UserError, match=r"lora.target_modules: the model has no 'q_prj'; it has k_proj, lm_head, o_proj"
    ):
        config(target_modules=["v_proj", "q_prj"])
    with pytest.raises(
        UserError, match=r"lora.target_parameters: the model has no 'experts.w1'; it has down_proj, gate_up_proj"
    ):
        config(target_parameters=["experts.w1"])
