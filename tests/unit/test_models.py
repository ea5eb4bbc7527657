"""base_model and the checks of model folders: .bin weights, truncated files, foreign adapters, safe loading."""

import json
import pickle
import shutil

import pytest
import torch
from helpers import save_random_model
from safetensors.torch import load_file, save_file
from training_inputs import PROMPTS

from regime_w.models.folders import check_model, check_tokenizer, positions, skeleton
from regime_w.models.manifests import load_manifest
from regime_w.models.weights import check_finite
from regime_w.runtime.errors import UserError
from scripts import base_model as stage

SOURCE = {
    "source": "local",
    "hub_id": None,
    "revision": None,
    "path": None,
    "licence": "Apache-2.0",
    "trust_remote_code": False,
    "tiny": {},
    "seed": 0,
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"vocab_size": 9}, None),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
    ],
)
def test_what_a_model_has_positions_for(tmp_path, config, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert positions(tmp_path) == expected


def as_bin(folder, shards):
    """Rewrite a model folder as Abel-7B-002 has it: .bin shards with an index, no safetensors."""
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    files = [f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin" for i in range(shards)]
    weight_map = {name: files[number * shards // len(names)] for number, name in enumerate(names)}
    for file in files:
        torch.save({name: state[name] for name in names if weight_map[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return state


def base_model(tmp_path, path, **changes):
    """Run the stage in this process; the folder that it made."""
    output = tmp_path / "out" / "base"
    params = json.dumps(SOURCE | {"path": path and str(path)} | changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sys.argv", ["", "--params", params, "--prompts", json.dumps({"prompt": PROMPTS}), "--output", str(output)]
        )
        stage.main()
    return output


def refused(tmp_path, path, match, **changes):
    """The stage ends in one line that matches, and makes nothing."""
    with pytest.raises(UserError, match=match):
        base_model(tmp_path, path, **changes)
    assert not (tmp_path / "out/base").exists()


def edit(path, change):
    """Change a JSON file."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


@pytest.fixture
def source(tmp_path):
    return save_random_model(tmp_path / "model")


def as_one_bin(folder, **how):
    """The folder's weights as pytorch_model.bin."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin", **how)
    return state


def test_bin_shards_of_a_mistral_become_safetensors(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = save_random_model(tmp_path / "abel", mistral=True)
    state = as_bin(source, shards=3)
    folder, manifest = load_manifest(base_model(tmp_path, source))
    assert not list(folder.glob("*.bin*"))
    assert manifest["made_from"]["licence"] == "Apache-2.0"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "MistralForCausalLM"
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert AutoTokenizer.from_pretrained(folder).bos_token == "<s>"


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_bin_weights_become_safetensors_in_either_form_and_beside_an_adapter(tmp_path, source, capsys, how):
    state = as_one_bin(source, **how)
    save_file({"lora_A": torch.zeros(2)}, source / "adapter_model.safetensors")
    (source / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    folder = base_model(tmp_path, source)
    made = load_file(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    assert made.keys() == state.keys()
    assert all(torch.equal(made[name], state[name]) for name in state)
    assert not list(folder.glob("adapter*"))
    said = capsys.readouterr().out
    assert "Left behind, no part of the model's own weights: adapter_config.json, adapter_model.safetensors" in said
    assert "sft.adapter" in said


def test_an_adapter_in_the_models_folder_stays_behind(tmp_path, source, capsys):
    for name in ("adapter_model.safetensors", "consolidated.safetensors"):
        save_file({"w": torch.zeros(2)}, source / name)
    (source / "adapter_config.json").write_text("{}")
    folder = base_model(tmp_path, source)
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert "adapter_model.safetensors, consolidated.safetensors" in capsys.readouterr().out


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_with_code_is_refused(tmp_path, source):
    (source / "model.safetensors").unlink()
    mark = tmp_path / "pwned"
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Payload(str(mark))}))
    refused(tmp_path, source, "not a readable .bin shard")
    assert not mark.exists()


def test_a_bin_file_that_is_no_state_dict(tmp_path, source):
    state = as_one_bin(source)
    torch.save({"state_dict": state, "epoch": 3}, source / "pytorch_model.bin")
    refused(tmp_path, source, "holds more than tensors by name")


def test_code_in_the_model_folder_stays_out_unless_trusted(tmp_path, source):
    (source / "modeling_evil.py").write_text("raise SystemExit")
    assert not (base_model(tmp_path, source) / "modeling_evil.py").exists()


def test_a_truncated_safetensors_file(tmp_path, source):
    weights = source / "model.safetensors"
    whole = weights.read_bytes()
    for cut in (whole[:-100], whole[:50], b"", b"no weights at all"):
        weights.write_bytes(cut)
        refused(tmp_path, source, "model.safetensors: not a whole safetensors file")


def test_missing_shards_and_indices(tmp_path, source):
    as_bin(source, shards=3)
    (source / "pytorch_model-00002-of-00003.bin").unlink()
    refused(tmp_path, source, "pytorch_model-00002-of-00003.bin: named in pytorch_model.bin.index.json but missing")
    (source / "pytorch_model.bin.index.json").unlink()
    refused(tmp_path, source, "has shards without their index")
    for path in source.glob("*.bin"):
        path.rename(source / "consolidated.00.pth")
    refused(tmp_path, source, "weights in a form of their own")
    (source / "consolidated.00.pth").unlink()
    refused(tmp_path, source, "no weights")
    (source / "model-q4.gguf").touch()
    refused(tmp_path, source, "set base_model.source: gguf")
    (source / "adapter_config.json").touch()
    refused(tmp_path, source, "is an adapter without its model; name it in sft.adapter")
    refused(tmp_path, tmp_path / "nowhere", "is no folder")


def test_weights_that_do_not_fill_the_model(tmp_path, source, capsys):
    state = load_file(source / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    for change, match in (
        ({name: None}, f"{name} missing, which LlamaForCausalLM has"),
        ({name: state[name][:-1].clone()}, rf"{name} is \[127, 64\], and config.json makes it \[128, 64\]"),
        ({name: torch.full_like(state[name], float("nan"))}, f"{name} holds values that are no finite numbers"),
        ({name: torch.full_like(state[name], float("-inf"))}, f"{name} holds values that are no finite numbers"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        save_file(changed, source / "model.safetensors", metadata={"format": "pt"})
        refused(tmp_path, source, match)
    save_file(state | {"value_head": torch.ones(2)}, source / "model.safetensors", metadata={"format": "pt"})
    base_model(tmp_path, source)
    assert "Not used: value_head" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float8_e4m3fn, torch.int64])
def test_finite_numbers_of_all_types(tmp_path, kind):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(9, dtype=kind), "none": torch.ones(0, dtype=kind)}, path)
    check_finite([path])
    if kind.is_floating_point:
        save_file({"a": torch.tensor([1.0, float("nan")]).to(kind)}, path)
        with pytest.raises(UserError, match="a holds values"):
            check_finite([path])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"its weights are quantised \(gptq\)"),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "t5 is an encoder with a decoder"),
        ({"model_type": "vit"}, "transformers knows no causal language model of type vit"),
        ({"model_type": "no such type"}, "config or tokenizer cannot be loaded"),
        ({"num_hidden_layers": 3}, "missing, which LlamaForCausalLM has"),
        ({"num_hidden_layers": "many"}, "config or tokenizer cannot be loaded"),
    ],
)
def test_what_no_later_stage_could_load(tmp_path, source, change, match):
    edit(source / "config.json", lambda config: config | change)
    refused(tmp_path, source, match)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
def test_files_that_are_no_json(tmp_path, source, name):
    (source / name).write_text("{")
    refused(tmp_path, source, f"{name}: not JSON|tokenizer cannot be loaded")


def test_a_tokenizer_without_eos(tmp_path, source):
    edit(source / "tokenizer_config.json", lambda config: {k: v for k, v in config.items() if k != "eos_token"})
    refused(tmp_path, source, "its tokenizer has no EOS token")


def test_a_token_beyond_the_embedding_that_the_chat_template_uses(source):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_tokens(["<|turn|>"])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(source)
    check_tokenizer(source, {})
    tokenizer.chat_template = "<|turn|>" + tokenizer.chat_template
    tokenizer.save_pretrained(source)
    with pytest.raises(UserError, match=r"'<\|turn\|>' as id"):
        check_tokenizer(source, {})


@pytest.mark.parametrize(
    "own",
    [
        {"do_sample": False, "temperature": 0.9, "top_p": 0.6},  # as Llama-2-chat has it
        {"do_sample": False, "num_beams": 1, "early_stopping": True, "length_penalty": 2.0},
        {"num_return_sequences": 3, "num_beams": 1, "do_sample": False},
    ],
)
def test_a_generation_config_that_could_not_be_saved_is_mended(tmp_path, source, own):
    from transformers import AutoModelForCausalLM

    path = source / "generation_config.json"
    path.write_text(json.dumps(own | {"bos_token_id": 0, "eos_token_id": [1, 2], "pad_token_id": 2}))
    folder = base_model(tmp_path, source)
    mended = json.loads((folder / path.name).read_text())
    assert (mended["bos_token_id"], mended["eos_token_id"], mended["pad_token_id"]) == (0, [1, 2], 2)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")


def test_a_generation_config_that_is_sound_stays_as_it_is(tmp_path, source):
    path = source / "generation_config.json"
    path.write_text('{"do_sample": true, "temperature": 0.7, "eos_token_id": 1, "note": "ours"}')
    assert (base_model(tmp_path, source) / path.name).read_text() == path.read_text()


def cached(monkeypatch, tmp_path, source):
    """Put a model into a hub cache of its own, as snapshot_download leaves it."""
    from huggingface_hub import constants

    commit = "0" * 40
    repo = tmp_path / "hub/models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    shutil.copytree(source, repo / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return commit


@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_the_hubs_cache_is_used_without_network(tmp_path, source, monkeypatch, capsys, revision):
    from huggingface_hub import constants

    cached(monkeypatch, tmp_path, source)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = {"source": "hub", "hub_id": "owner/name", "revision": revision}
    folder = base_model(tmp_path, None, **hub)
    assert (folder / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert "from the cache" in capsys.readouterr().out
    refused(tmp_path / "other", None, "owner/other: cannot be had from the hub", **hub | {"hub_id": "owner/other"})


def test_of_the_hubs_files_those_that_a_run_needs():
    common = ["config.json", "tokenizer.model", "README.md", "chat_template.jinja"]
    others = ["adapter_config.json", "adapter_model.safetensors", "original/consolidated.00.pth", "onnx/model.onnx"]
    bins = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
    assert stage.wanted_files([*common, *others, *bins]) == [*common, *bins]
    whole = ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]
    assert stage.wanted_files([*common, *others, *bins, *whole]) == [*common, bins[1], *whole]


def test_a_folder_without_tokenizer_or_weights(tmp_path):
    source = save_random_model(tmp_path / "model")
    (source / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no tokenizer"):
        check_model(source)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"no config\.json"):
        check_model(empty)
    other = save_random_model(tmp_path / "other")
    (other / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no safetensors weights"):
        check_model(other)


def test_a_skeleton_has_the_models_modules_and_no_weights(source):
    model = skeleton(source, {})
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.num_parameters() == sum(t.numel() for t in load_file(source / "model.safetensors").values())
