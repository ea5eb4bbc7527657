"""Weights of pairs in DPO's loss: margins of votes over their mean, and what they do to the gradient."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from helpers import demo_config, save_random_model
from training_inputs import DPO, PAIRS, PROMPTS
from transformers import AutoModelForCausalLM
from trl import DPOConfig

from regime_w.method.pairs import build_pairs
from regime_w.runtime.errors import UserError
from regime_w.runtime.seals import write_jsonl
from regime_w.tasks.prompts import Prompts, prompts_of, text_forms
from regime_w.training import trainer as training
from regime_w.training.preferences import build, weighted
from scripts.train_dpo import PretokenizedDPOTrainer, WeightedPairs, tokens_of, weights_of


def trajectory(place: int, answer: str, support: float) -> dict[str, Any]:
    text = " ".join("abcdefgh"[place] * 5) + f"\n#### {answer}"
    own = {
        "full_text": text,
        "answer": answer,
        "correct": answer == "7",
        "reward": float(answer == "7"),
        "num_tokens": 9,
    }
    return own | {"finish_reason": "stop", "style": "wolfram", "arm": f"arm{place}", "support": support}


def voted(trajectories: list[dict[str, Any]]) -> dict[str, Any]:
    """A question whose label is the trajectories' vote."""
    label = {"gold_answer": None, "label": "7", "label_source": "vote"}
    return {"id": "q", "question": "?", **label, "trajectories": trajectories}


def test_a_pair_weighs_what_the_votes_differ_by() -> None:
    outs = [
        trajectory(place, answer, support)
        for place, (answer, support) in enumerate([("7", 0.75), ("7", 0.75), ("8", 0.25)])
    ]
    record = voted(outs)
    settings = demo_config()["pairs"] | {"policy": "all", "coherence_share": 1.0}
    pairs, _ = build_pairs(record, settings | {"weight": "margin"}, 0)
    assert [(pair["pair_type"], pair["weight"]) for pair in pairs] == [("correctness", 0.5)] * 2
    assert "weight" not in build_pairs(record, settings | {"weight": "none"}, 0)[0][0]
    outs[1]["reward"] = 0.5
    assert [pair["weight"] for pair in build_pairs(record, settings | {"weight": "margin"}, 0)[0]] == [0.5, 0.5, None]


def test_weights_have_the_mean_1() -> None:
    lines = [json.dumps({"weight": weight}).encode() for weight in (0.125, 0.5, None, 0.875)]
    found = [json.loads(line)["weight"] for line in weighted(lines, [0.125, 0.5, 0.875])]
    assert found == pytest.approx([0.25, 1.0, 1.0, 1.75])


def test_pairs_that_no_vote_tells_apart_are_refused_in_one_line(tmp_path: Path) -> None:
    """An answer without a mark has the votes of the same one with a mark."""
    outs = [trajectory(0, "7", 1.0), trajectory(1, "7", 1.0) | {"correct": False, "reward": 0.0}]
    record = voted(outs)
    write_jsonl(tmp_path / "rollouts.jsonl", [record])
    settings = {**PROMPTS, "seed": 0, "pairs": demo_config()["pairs"] | {"by": "correct", "weight": "margin"}}
    with pytest.raises(UserError, match=r"labels\.weight margin: no pair's sides differ in votes"):
        build(tmp_path / "rollouts.jsonl", settings, text_forms(settings, None, {}), tmp_path / "preferences.jsonl")
    assert not (tmp_path / "preferences.jsonl").exists()


@pytest.mark.parametrize("weight", [None, -1, "1", True, float("nan"), float("inf")])
def test_a_pair_without_a_good_weight_among_weighted_ones_is_refused(weight: Any) -> None:
    with pytest.raises(UserError, match="pair of question q2: weight is"):
        weights_of([{"id": "q1", "weight": 1.0}, {"id": "q2", "weight": weight}])
    assert weights_of([{"id": "q1"}]) == [{}]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("policy"))


def gradient(policy: Path, work: Path, weights: list[float] | None) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of the first pairs in one batch, and its gradient."""
    prompts: Prompts = prompts_of(policy, PROMPTS, {})
    rows = [row if weights is None else row | {"weight": weights[place]} for place, row in enumerate(PAIRS[:3])]
    data = [tokens_of(prompts, row) | weight for row, weight in zip(rows, weights_of(rows), strict=True)]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(policy)
    dpo = DPO["dpo"]
    trainer = PretokenizedDPOTrainer(
        model=model,
        args=DPOConfig(
            **training.arguments(dpo, work, 0, 0, len(data), 64),
            loss_type=dpo["loss_type"],
            loss_weights=dpo["loss_weights"],
        ),
        train_dataset=Dataset.from_list(data),
        processing_class=prompts.tokenizer,
        peft_config=training.lora_config(dpo["lora"], model),
    )
    collator = trainer.data_collator if weights is None else WeightedPairs(prompts.tokenizer.pad_token_id)
    loss = trainer.compute_loss(trainer.model, collator(data))
    loss.backward()
    found = {name: own.grad for name, own in trainer.model.named_parameters() if own.grad is not None}
    return float(loss.detach()), found


def test_weights_scale_each_pairs_gradient(policy: Path, tmp_path: Path) -> None:
    plain, without = gradient(policy, tmp_path, None)
    same, ones = gradient(policy, tmp_path, [1.0, 1.0, 1.0])
    assert same == plain
    assert without
    assert all(torch.equal(without[name], ones[name]) for name in without)
    _, none = gradient(policy, tmp_path, [0.0, 0.0, 0.0])
    assert not any(own.any() for own in none.values())
    alone = [gradient(policy, tmp_path, [float(place == own) for place in range(3)])[1] for own in range(3)]
    _, mixed = gradient(policy, tmp_path, [0.5, 0.0, 2.0])
    assert any(own.any() for own in mixed.values())
    for name, own in mixed.items():
        torch.testing.assert_close(own, 0.5 * alone[0][name] + 2.0 * alone[2][name], atol=1e-6, rtol=1e-4)
