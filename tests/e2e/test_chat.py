"""A reasoning model with a chat template through all stages: what was sampled, thoughts and control tokens included, is what is
trained, and only what it says is graded."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from training_inputs import CHAT, TRAINING
from transformers import LlamaConfig, LlamaForCausalLM

from regime_w.config.recipes import READS
from regime_w.config.schema import load
from regime_w.models.manifests import write_manifest
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, read_jsonl
from regime_w.runtime.seals import write_jsonl
from regime_w.tasks.prompts import Prompts
from scripts import (
    build_preferences,
    build_samples,
    check_rollouts,
    evaluate,
    generate,
    score_rollouts,
    train_dpo,
    train_rft,
)

NEW = 24  # tokens
ARMS = [
    {"name": f"{style}_{n}", "style": style, "temperature": 1.0} for style in ("wolfram", "maudlin") for n in range(4)
]
QUESTIONS = [
    {"id": f"q{n}", "question": f"How much is {n} <|im_end|> + {n}?", "gold_answer": str(1 + n % 2)} for n in range(12)
]

CONFIG = load(
    {
        "run": "chat",
        "base_model": {"source": "local", "path": "model"},
        "questions": {"train": {"source": "file", "path": "q"}, "eval": {"test": {"source": "file", "path": "q"}}},
        "prompt": {"format": "chat", "style_in": "system"},
        "styles": {"wolfram": "Be exact.", "maudlin": "Check each step."},
        "arms": ARMS,
        "sft": {"method": "none"},
        "generate": {"n_samples": 12, "max_new_tokens": NEW},
        "engine": {"name": "transformers"},
        "reward": {"math_verify": False},
        "pairs": {
            "per_question": 2, "min_margin": 0.0, "max_similarity": 1.0, "max_length_ratio": 9.0, "train_prompt": "canonical",
        },
        "rejection_sampling": TRAINING | {"per_question": 2, "max_similarity": 1.0},
        "dpo": TRAINING,
        "evaluate": {"k": 2, "temperature": 1.0, "max_new_tokens": NEW, "styles": ["wolfram"]},
    }
)  # fmt: skip
PARAMS = {stage: read(CONFIG) for stage, read in READS.items() if not stage.startswith(("import", "train_sft"))}
GENERATE = PARAMS["generate"]
PROMPTS = {key: GENERATE[key] for key in ("prompt", "styles")}


def ran(module: Any, **options: Any) -> None:
    """Run a stage's `main` in this process."""
    command = [module.__name__]
    for name, value in options.items():
        command += [f"--{name}", *(json.dumps(value) if isinstance(value, dict) else str(value),)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        module.main()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model taught to think and then to guess, and its rollouts."""
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = FAMILIES["qwen3"].build()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "model")
    prompts = Prompts(PROMPTS, tokenizer, folder / "model")
    draw, optimizer = random.Random(0), torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        loss = torch.tensor(0.0)
        for style in ("plain", "wolfram", "maudlin"):
            question = draw.choice(QUESTIONS)["question"]
            prompt, answer = prompts.example(
                question, style, f"<think>\n#### 9 hm\n</think>\n\n#### {draw.choice('12')}"
            )
            labels = torch.tensor([[-100] * len(prompt) + answer])
            loss = loss + model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_manifest(folder / "model", {})
    write_jsonl(folder / "train.jsonl", QUESTIONS)
    sampled(folder, "completions.jsonl", GENERATE)
    ran(
        score_rollouts, params=PARAMS["score_rollouts"], completions=folder / "completions.jsonl", questions=folder / "train.jsonl",
        output=folder / "rollouts.jsonl",
    )  # fmt: skip
    return folder


def sampled(folder: Path, name: str, params: dict[str, Any]) -> None:
    ran(
        generate, params=params, model=folder / "model", questions=folder / "train.jsonl", round=1,
        shard="0-of-1", journal=folder / "journal", output=folder / name,
    )  # fmt: skip


def prompts_of(folder: Path) -> Prompts:
    from transformers import AutoTokenizer

    return Prompts(PROMPTS, AutoTokenizer.from_pretrained(folder / "model"), folder / "model")


def test_completions_hold_what_was_sampled(run: Path) -> None:
    prompts, rows = prompts_of(run), read_jsonl(run / "completions.jsonl")
    think, close = prompts.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    ended = [row for row in rows if row["finish_reason"] == "stop"]
    assert len(ended) > len(rows) / 2
    for row in ended:
        assert row["token_ids"][-1] in prompts.stops
        assert row["num_tokens"] == len(row["token_ids"]) <= NEW
        assert prompts.tokenizer.decode(row["token_ids"][:-1]) == row["text"]
    thought = [row for row in ended if row["token_ids"][0] == think and close in row["token_ids"]]
    assert len(thought) > len(rows) / 2
    for row in thought:
        assert row["thinking_tokens"] == row["token_ids"].index(close) + 1
        assert row["text"][: row["answer_start"]].endswith("</think>")
    for row in rows:
        if row["finish_reason"] == "length":
            assert len(row["token_ids"]) == NEW
            assert not set(row["token_ids"]) & set(prompts.stops)


def test_only_what_is_said_behind_the_thought_is_graded(run: Path) -> None:
    rows = read_jsonl(run / "rollouts.jsonl")
    graded = [item for row in rows for item in row["trajectories"] if item["answer_start"] and item["answer"]]
    assert graded
    for item in graded:
        said = item["full_text"][item["answer_start"] :]
        assert item["answer"] in said  # and not the 9 of the thought
        assert item["reasoning"] == item["full_text"][: item["answer_start"]].strip()[7:-8].strip()
    ran(check_rollouts, params={"trajectories": 8, "n_questions": 12}, rollouts=run / "rollouts.jsonl",
        output=run / "check.json")  # fmt: skip


def test_dpo_trains_on_the_ids_that_were_sampled(run: Path) -> None:
    ran(
        build_preferences, params=PARAMS["build_preferences"], rollouts=run / "rollouts.jsonl", policy=run / "model",
        output=run / "preferences.jsonl", summary=run / "preferences.json",
    )  # fmt: skip
    prompts, pairs = prompts_of(run), read_jsonl(run / "preferences.jsonl")
    rollouts = {row["id"]: row for row in read_jsonl(run / "rollouts.jsonl")}
    for pair in pairs:
        sampled = {item["full_text"]: item["token_ids"] for item in rollouts[pair["id"]]["trajectories"]}
        ids = train_dpo.tokens_of(prompts, pair)
        assert ids["chosen_ids"] == sampled[pair["chosen"]]
        assert ids["rejected_ids"] == sampled[pair["rejected"]]
        question = [{"role": "user", "content": rollouts[pair["id"]]["question"]}]
        template = prompts.tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
        assert pair["prompt"] == template
        assert prompts.tokenizer.decode(ids["prompt_ids"]) == template
        assert ids["prompt_ids"].count(prompts.stops[-1]) == 1  # the template's own, not the question's
    ran(
        train_dpo, params=PARAMS["train_dpo"], policy=run / "model",
        preferences=run / "preferences.jsonl", work=run / "dpo.work", output=run / "dpo",
    )  # fmt: skip
    record = read_json(run / "dpo/training.json")
    assert record["examples"] == len(pairs)
    assert record["preflight"]["first_chosen"].endswith("<|im_end|>")
    assert "<think>" in record["preflight"]["first_chosen"]


def test_rejection_sampling_trains_on_them_too(run: Path) -> None:
    ran(
        build_samples, params=PARAMS["build_samples"], rollouts=run / "rollouts.jsonl", policy=run / "model",
        output=run / "samples.jsonl", summary=run / "samples.json",
    )  # fmt: skip
    ran(
        train_rft, params=PARAMS["train_rft"],
        policy=run / "model", samples=run / "samples.jsonl", work=run / "rft.work",
        output=run / "rft",
    )  # fmt: skip
    tokens = sum(len(row["completion_ids"]) for row in read_jsonl(run / "samples.jsonl"))
    assert read_json(run / "rft/training.json")["tokens"] > tokens


def test_evaluation_asks_in_the_same_format_and_grades_what_is_said(run: Path) -> None:
    ran(
        evaluate, params=PARAMS["evaluate"], models=run / "model", questions=run / "train.jsonl",
        outputs=run / "model.jsonl",
    )  # fmt: skip
    rows = read_jsonl(run / "model.jsonl")
    outs = [out for row in rows for out in (row["greedy"], *row["samples"])]
    assert any(out["correct"] for out in outs)
    assert all(out["answer"] in ("1", "2") for out in outs if out["correct"])
    assert any(out["thinking_tokens"] for out in outs)


def test_another_format_takes_no_old_completion(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampled(run, "again.jsonl", GENERATE)
    assert "96 kept from the journal, 0 to make" in capsys.readouterr().out
    assert read_jsonl(run / "again.jsonl") == read_jsonl(run / "completions.jsonl")
    text = prompts_of(run).ask("{question}", "plain").text
    # The same text, as a template: but for the questions' own <|im_end|>, which is text here as there, the same ids too.
    same = {"format": "template", "template": text, "think_marks": "auto"}
    arms = [{"name": "plain", "style": "plain", "temperature": 1.0}]
    for prompt, kept in ((CHAT, 0), (same, 12), (same | {"template": text + "\n"}, 0)):
        sampled(run, "other.jsonl", GENERATE | {"arms": arms, "prompt": prompt})
        assert f"{kept} kept from the journal" in capsys.readouterr().out


def test_a_prompt_longer_than_the_model_is_refused_before_work(run: Path, tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "train.jsonl", [QUESTIONS[0], {"id": "long", "question": "one two " * 300, "gold_answer": "1"}]
    )
    params = GENERATE | {"generate": GENERATE["generate"] | {"n_samples": 2}}
    with pytest.raises(
        UserError, match=r"question long: its prompt of [0-9]+ tokens and 24 new ones .* positions for 256"
    ):
        ran(
            generate, params=params, model=run / "model", questions=tmp_path / "train.jsonl", round=1,
            shard="0-of-1", journal=tmp_path / "journal", output=tmp_path / "completions.jsonl",
        )  # fmt: skip
    assert not list(tmp_path.glob("journal/*"))
