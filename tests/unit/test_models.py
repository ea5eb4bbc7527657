"""base_model and the checks of model folders: .bin weights, truncated files, foreign adapters, safe loading."""

import json
import pickle

import pytest
import torch
from helpers import save_random_model, stage

from regime_w.models.folders import check_adapter, check_model, positions
from regime_w.models.manifests import load_manifest
from regime_w.runtime.errors import UserError

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


def base_model(tmp_path, source):
    output = tmp_path / "out" / "base" / "manifest.json"
    return stage("base_model", "--params", json.dumps(SOURCE | {"path": str(source)}), "--output", output), output


def test_bin_shards_of_a_mistral_become_safetensors(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = save_random_model(tmp_path / "abel", mistral=True)
    state = as_bin(source, shards=3)
    done, output = base_model(tmp_path, source)
    assert done.returncode == 0, done.stderr
    folder, manifest = load_manifest(output)
    assert not list(folder.glob("*.bin*"))
    assert manifest["made_from"]["licence"] == "Apache-2.0"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "MistralForCausalLM"
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert AutoTokenizer.from_pretrained(folder).bos_token == "<s>"


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_with_code_is_refused(tmp_path):
    source = save_random_model(tmp_path / "evil")
    (source / "model.safetensors").unlink()
    mark = tmp_path / "pwned"
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Payload(str(mark))}))
    done, output = base_model(tmp_path, source)
    assert done.returncode == 2
    assert "not a readable .bin shard" in done.stderr
    assert "Traceback" not in done.stderr
    assert not mark.exists()
    assert not output.parent.exists()


def test_code_in_the_model_folder_stays_out_unless_trusted(tmp_path):
    source = save_random_model(tmp_path / "model")
    (source / "modeling_evil.py").write_text("raise SystemExit")
    done, output = base_model(tmp_path, source)
    assert done.returncode == 0, done.stderr
    assert not (output.parent / "modeling_evil.py").exists()


def test_a_truncated_safetensors_file(tmp_path):
    source = save_random_model(tmp_path / "model")
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done, output = base_model(tmp_path, source)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "truncated safetensors file" in done.stderr
    assert not output.parent.exists()


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


def test_an_adapter_of_another_base(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    small = save_random_model(tmp_path / "small")
    large = save_random_model(tmp_path / "large", hidden=128)
    adapter = tmp_path / "adapter"
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(large), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    ).save_pretrained(adapter)
    assert check_adapter(adapter, large)["r"] == 4
    with pytest.raises(UserError, match="made for another base"):
        check_adapter(adapter, small)
