"""Every architecture of the table goes from a base model to its evaluation, in one process: importing torch costs more."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, Architecture, save_architecture
from helpers import save_random_model
from training_inputs import DPO, PAIRS, PROMPTS, QUESTIONS, SFT
from transformers import AutoModelForCausalLM, AutoTokenizer

from regime_w.models.folders import load_model
from regime_w.models.manifests import load_manifest
from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.training.packing import why_padded
from scripts import base_model, evaluate, generate, merge_lora, train_dpo, train_sft

ENGINE = {
    "name": "transformers",
    "stall_timeout": 900,
    "random_lengths": None,
    "transformers": {"batch_size": 8, "mode": "batched"},
    "vllm": {},
}
ARMS = [{"name": style, "style": style, "temperature": 1.0} for style in ("plain", "wolfram")]
SAMPLING = {"max_new_tokens": 6, "top_p": 1.0}


def run(monkeypatch: pytest.MonkeyPatch, module: Any, params: dict[str, Any], **options: Any) -> None:
    """A stage's main with these parameters and options."""
    command = ["", "--params", json.dumps(params)]
    for name, value in options.items():
        command += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    monkeypatch.setattr("sys.argv", command)
    module.main()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(save_random_model(tmp_path_factory.mktemp("words")))


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_from_base_model_to_evaluation(
    row: Architecture,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = save_architecture(row, tmp_path / "source", tokenizer)
    write_jsonl(tmp_path / "train.jsonl", QUESTIONS)
    write_jsonl(tmp_path / "preferences.jsonl", PAIRS)
    base, sft, merged, dpo, policy = (
        tmp_path / name for name in ("base", "sft_lora", "sft_merged", "dpo_lora", "merged")
    )
    own = {"source": "local", "path": str(source), "hub_id": None, "revision": None, "licence": None, "seed": 0}
    own |= {"trust_remote_code": False, "tiny": {}}
    run(monkeypatch, base_model, own, prompts=json.dumps({"prompt": PROMPTS}), output=base)
    assert type(load_model(base, {})) is type(AutoModelForCausalLM.from_pretrained(source))
    run(
        monkeypatch,
        train_sft,
        SFT,
        base=base,
        questions=tmp_path / "train.jsonl",
        work=tmp_path / "sft.work",
        output=sft,
    )
    said = capsys.readouterr().out
    assert "The adapter changes" in said
    run(monkeypatch, merge_lora, {"device": "cpu"}, base=base, adapter=sft, output=merged)
    params = PROMPTS | {"engine": ENGINE, "arms": ARMS, "seed": 0}
    run(
        monkeypatch, generate, params | {"generate": SAMPLING}, model=merged, questions=tmp_path / "train.jsonl", round=1,
        shard="0-of-1", journal=tmp_path / "journal", output=tmp_path / "completions.jsonl",
    )  # fmt: skip
    run(
        monkeypatch, train_dpo, DPO, policy=merged, preferences=tmp_path / "preferences.jsonl", work=tmp_path / "dpo.work",
        output=dpo,
    )  # fmt: skip
    run(monkeypatch, merge_lora, {"device": "cpu"}, base=merged, adapter=dpo, output=policy)
    settings = SAMPLING | {"styles": ["plain"], "k": 1, "temperature": 1.0, "n_questions": 3, "batch_invariant": False}
    outputs = [tmp_path / "eval" / f"{name}.jsonl" for name in ("base", "round1")]
    task = {"verifier": "number", "timeout": 10}
    run(
        monkeypatch, evaluate, params | {"evaluate": settings, "stop": [], "task": task}, models=[base, policy],
        questions=tmp_path / "train.jsonl", outputs=outputs,
    )  # fmt: skip

    assert len(read_jsonl(tmp_path / "completions.jsonl")) == len(QUESTIONS) * len(ARMS)
    assert [len(read_jsonl(output)) for output in outputs] == [3, 3]
    for folder in (sft, dpo):
        losses = [entry["loss"] for entry in read_json(folder / "training.json")["log_history"] if "loss" in entry]
        assert losses
        assert all(map(math.isfinite, losses))
    for folder in (merged, policy):
        assert load_manifest(folder)[1]["made_from"]["largest_logit_difference"] < 0.01
    models = [load_model(folder, {}).eval() for folder in (base, merged, policy)]
    assert (why_padded(models[0], 99, "cpu") is None) == row.packs
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        logits = [model(input_ids=ids).logits for model in models]
    for before, after in pairwise(logits):
        assert not torch.allclose(before, after, atol=1e-6)
    assert {name for name, _ in models[2].named_parameters()} == {name for name, _ in models[0].named_parameters()}
