"""The base model trained from scratch: tokenizer, files, and that a killed training ends at the same weights."""

from pathlib import Path

import pytest
import torch
from helpers import template
from transformers import AutoModelForCausalLM, AutoTokenizer

from regime_w.models import tiny as tiny_model
from regime_w.models.folders import check_model
from regime_w.runtime.errors import UserError
from regime_w.tasks.prompts import Prompts

PARAMS = {
    "vocab_size": 500,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "steps": 8,
    "batch_size": 4,
    "sequence_length": 64,
    "muon_lr": 0.02,
    "adamw_lr": 0.005,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("tiny")
    return folder, tiny_model.build(folder, PARAMS, seed=0, threads=1)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()


def test_the_folder_is_a_model_that_transformers_loads(built):
    folder, training = built
    check_model(folder)
    assert (folder / "model.safetensors").is_file()
    assert (folder / "generation_config.json").is_file()
    assert "Tiny Llama" in (folder / "README.md").read_text()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    out = model.generate(**tokenizer("Question: 3 pens", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert out.shape[0] == 1
    assert training["tokens"] == 8 * 4 * 65
    assert training["losses"][-1][0] == 8
    assert training["losses"][-1][1] < training["losses"][0][1]


def test_the_tokenizer_keeps_digits_single_and_every_text_whole(built):
    tokenizer = AutoTokenizer.from_pretrained(built[0])
    prompts = Prompts({"prompt": template("Question: {question}\nAnswer:\n"), "styles": {}}, tokenizer, built[0])
    assert prompts.encoder.adds_bos
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    for text in ("Step 1: 12*345=6 pens.\n#### 6", "Grüße, 3 €, 数学 \t x", "a  b\n\nc"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    pieces = tokenizer.tokenize("12*345=67")
    assert pieces == ["1", "2", "*", "3", "4", "5", "=", "6", "7"]
    prompt, completion = prompts.example("1+1?", "plain", "1+1=2.\n#### 2")
    whole = tokenizer("Question: 1+1?\nAnswer:\n1+1=2.\n#### 2")["input_ids"]
    assert [*whole, tokenizer.eos_token_id] == prompt + completion


def test_a_killed_training_goes_on_to_the_same_weights(built, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tiny_model, "CHECKPOINT_SECONDS", 0.0)
    real, done = tiny_model.weighted_loss, []

    def dies(*args):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args)

    monkeypatch.setattr(tiny_model, "weighted_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        tiny_model.build(tmp_path / "model", PARAMS, seed=0, threads=1, work=tmp_path / "work")
    monkeypatch.setattr(tiny_model, "weighted_loss", real)
    training = tiny_model.build(tmp_path / "model", PARAMS, seed=0, threads=1, work=tmp_path / "work")
    assert "Resuming at step 5" in capfd.readouterr().out
    expected, found = weights(built[0]), weights(tmp_path / "model")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert training["losses"] == built[1]["losses"]
    assert (tmp_path / "model/README.md").read_text() == (built[0] / "README.md").read_text()


@pytest.mark.parametrize("damage", ["another seed", "cut short"])
def test_a_checkpoint_that_does_not_fit_is_not_used(damage, tmp_path, capfd):
    short = PARAMS | {"steps": 2}
    tiny_model.build(tmp_path / "model", short, seed=int(damage == "another seed"), threads=1, work=tmp_path / "work")
    if damage == "cut short":
        state = tmp_path / "work/state.pt"
        state.write_bytes(state.read_bytes()[:1000])
    capfd.readouterr()
    tiny_model.build(tmp_path / "model", short, seed=0, threads=1, work=tmp_path / "work")
    out = capfd.readouterr().out
    assert "starting anew" in out
    assert "Resuming" not in out


def test_newton_schulz_brings_singular_values_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(tiny_model.orthogonalise(torch.randn(3, 16, 40)))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_diverging_training_is_a_user_error(tmp_path, monkeypatch):
    real = tiny_model.weighted_loss
    monkeypatch.setattr(tiny_model, "weighted_loss", lambda *args: real(*args) * float("nan"))
    with pytest.raises(UserError, match=r"lower base_model\.tiny\.muon_lr"):
        tiny_model.build(tmp_path, PARAMS, seed=0, threads=1)
