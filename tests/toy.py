"""A run of all real stages that takes seconds a stage: its config and its questions."""

import json
import random
from pathlib import Path
from typing import Any

import yaml
from helpers import clone_to

RUN = "tiny"
SET = "quiz"
TARGET = ("eval_report", "--configfile", "tiny.yaml")
CONFIG: dict[str, Any] = {
    "run": RUN,
    "rounds": 1,
    "questions": {
        "train": {"source": "file", "path": "train.source.jsonl", "n": 120},
        "eval": {SET: {"source": "file", "path": "eval.source.jsonl", "n": 16}},
    },
    "base_model": {
        "source": "tiny",
        "tiny": {
            "vocab_size": 600, "hidden_size": 64, "num_layers": 1, "num_heads": 2, "intermediate_size": 128, "steps": 200,
            "batch_size": 8, "sequence_length": 64,
        }
    },
    "prompt": {"template": "Question: {question}\nAnswer:\n"},
    "styles": {"wolfram": "Style: exact.", "maudlin": "Style: careful."},
    "arms": [
        {"name": f"{style}_{name}", "style": style, "temperature": temperature}
        for style in ("wolfram", "maudlin")
        for name, temperature in (("greedy", 0.0), ("t06", 0.6), ("t08", 0.8), ("t10", 1.0))
    ],
    "sft": {"n_examples": 64, "batch_size": 4, "per_device_batch_size": 4, "learning_rate": 0.02, "save_steps": 2,
            "epochs": 2.0},
    "generate": {"n_samples": 20, "skip": 64, "max_new_tokens": 12, "shards": 2},
    "engine": {"name": "transformers", "transformers": {"batch_size": 16}},
    "pairs": {"max_similarity": 1.0, "min_margin": 0.0, "same_style": False},
    "dpo": {"batch_size": 4, "per_device_batch_size": 4, "learning_rate": 0.001, "save_steps": 2},
    "evaluate": {"k": 2, "max_new_tokens": 12, "temperature": 0.8},
    "report": {"n_boot": 1000},
}  # fmt: skip


def questions(split: str, n: int) -> list[dict[str, str]]:
    """Questions whose answer nobody can know: half of a policy's answers are right, so that there are pairs."""
    draw = random.Random(split)
    names = [f"{draw.choice('BDFGKLMNPRST')}{draw.choice('aeiou')}{draw.choice('lmnrt')}" for _ in range(n)]
    rows = []
    for number, name in enumerate(names):
        gold = draw.choice("12")
        rows.append({"question": f"{name} of {split} {number}?", "answer": f"#### {gold}"})
    return rows


def write_questions(folder: Path) -> None:
    """The files that the config names."""
    for split, section in {"train": CONFIG["questions"]["train"], "eval": CONFIG["questions"]["eval"][SET]}.items():
        rows = questions(split, section["n"])
        (folder / section["path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))


def new_run(folder: Path) -> Path:
    """A clone with the run's config as its config.yaml's overlay and its questions."""
    clone_to(folder)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    write_questions(folder)
    return folder
