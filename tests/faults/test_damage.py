"""Models, adapters and tokenizers that are damaged or do not belong together: refused in one line, nothing made."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import toy
from helpers import save_random_model, stage

from regime_w.models.adapters import check_adapters_tokenizer
from regime_w.models.folders import check_tokenizer
from regime_w.runtime.errors import UserError

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
# A rule, the model it reads, and a byte that is changed: at the end its values, at the start what describes them.
READS = [
    ("train_sft", "base/model.safetensors", -1),
    ("merge_lora", "base/model.safetensors", -1),
    ("merge_lora", "base/model.safetensors", 8),
    ("generate", "sft_merged/model.safetensors", -1),
    ("generate", "sft_merged/model.safetensors", 8),
    ("generate", "sft_merged/tokenizer.json", 0),
    ("train_dpo", "sft_merged/model.safetensors", -1),
    ("evaluate", "base/tokenizer.json", 0),
    ("eval_report", "sft_lora/training.json", -9),
]


@pytest.mark.parametrize(("rule", "name", "position"), READS)
def test_a_model_whose_bytes_changed_is_refused(
    whole: Path, jobs: list[tiny.Job], tmp_path: Path, rule: str, name: str, position: int
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    path = folder / "checkpoints" / tiny.RUN / name
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    job = next(job for job in jobs if job.rule == rule)
    tiny.remove(folder, *tiny.leftovers(job))
    assert tiny.start(job, folder).wait() != 0
    said = (folder / job.log).read_text()
    assert said.count("error: ") == 1
    assert f"{name}: its bytes changed after" in said
    assert "Traceback" not in said
    assert not (folder / job.outputs[0]).exists()
    assert set(tiny.journalled(folder)) <= set(tiny.journalled(whole))


def base_model(folder: Path, source: Path) -> Any:
    params = toy.CONFIG["base_model"] | {
        "source": "local", "path": str(source), "hub_id": None, "revision": None, "licence": None,
        "trust_remote_code": False, "seed": 0,
    }  # fmt: skip
    return stage("base_model", "--params", json.dumps(params), "--output", folder / "base")


def with_tokens(model: Path, *tokens: str, **special: str) -> Path:
    """Give the model's tokenizer tokens that the model does not know."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(list(tokens))
    for name, token in special.items():
        setattr(tokenizer, name, token)
    tokenizer.save_pretrained(model)
    return model


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    text = json.loads((model / "tokenizer.json").read_text())
    text["model"]["vocab"]["other"] = config["vocab_size"]
    (model / "tokenizer.json").write_text(json.dumps(text))
    done = base_model(tmp_path, model)
    assert done.returncode == 2
    assert f"'other' as id {config['vocab_size']} and the model embeds {config['vocab_size']} tokens" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "base").exists()


def test_tokens_beyond_the_model_count_where_they_are_used(tmp_path: Path) -> None:
    check_tokenizer(with_tokens(save_random_model(tmp_path / "unused"), "<spare>"), {})
    padded = with_tokens(save_random_model(tmp_path / "padded"), "<new pad>", pad_token="<new pad>")
    with pytest.raises(UserError, match="'<new pad>' as id"):
        check_tokenizer(padded, {})


def test_an_adapter_that_came_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    base = save_random_model(tmp_path / "base")
    check_adapters_tokenizer(with_tokens(save_random_model(tmp_path / "padded"), "<pad>"), base, {})
    other = save_random_model(tmp_path / "other")
    text = json.loads((other / "tokenizer.json").read_text())
    vocabulary = text["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="was made for another base"):
        check_adapters_tokenizer(other, base, {})
    (tmp_path / "none").mkdir()
    check_adapters_tokenizer(tmp_path / "none", base, {})
