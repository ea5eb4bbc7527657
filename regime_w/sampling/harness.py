"""EleutherAI's lm-evaluation-harness on a model of ours: its generation and its grader, our questions and prompts.

    tasks = installed()                       # UserError where lm-eval is not here
    answer_all(folder, rows, settings, gpus)  # {"harness", "figures", "other_ids", "left_out", "answers"}

A row is {"id", "question", "prompt", "ids", "gold"}. The task is the harness's own gsm8k (for numbers) or minerva_math (for
LaTeX): its filters and metrics are read from the installed package. Changed are the data, the prompt, which is ours as text,
no examples before it, and what ends an answer: our stops, our longest answer, greedily.
"""

import logging
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from regime_w.config.harness import HARNESS, MISSING, TASKS
from regime_w.runtime.compute import out_of_memory
from regime_w.runtime.errors import UserError
from regime_w.runtime.seals import write_jsonl

log = logging.getLogger(__name__)

NAME = "outside"
# Its graders of one text for each verifier, the strict one first: the filter, the metric.
GRADERS = {
    "number": {
        "strict-match": ("strict-match", "exact_match"),
        "flexible-extract": ("flexible-extract", "exact_match"),
    },
    "latex": {"exact_match": ("none", "exact_match"), "math_verify": ("none", "math_verify")},
}


def installed() -> Path:
    """The folder of the harness's tasks; UserError where lm-eval cannot be imported."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(MISSING)
    return Path(spec.submodule_search_locations[0]) / "tasks"


def docs_of(rows: Sequence[dict[str, Any]], verifier: str) -> list[dict[str, Any]]:
    """The task's data: our prompt, and the gold answer where the harness's own data has it."""
    shared = [{"id": row["id"], "question": row["question"], "prompt": row["prompt"]} for row in rows]
    golds: list[dict[str, str]] = (
        [{"answer": row["gold"]} for row in rows]
        if verifier == "number"
        else [{"problem": row["question"], "solution": f"$\\boxed{{{row['gold']}}}$"} for row in rows]
    )
    return [own | gold for own, gold in zip(shared, golds, strict=True)]


def write_task(folder: Path, tasks: Path, rows: Sequence[dict[str, Any]], settings: dict[str, Any]) -> None:
    """A task folder for the harness's TaskManager: the data, and a task that includes the harness's own."""
    write_jsonl(folder / f"{NAME}.jsonl", docs_of(rows, settings["verifier"]))
    task = {
        "include": str(tasks / TASKS[settings["verifier"]]),
        "task": NAME,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {"test": str(folder / f"{NAME}.jsonl")},
            "cache_dir": str(folder / "cache"),
        },
        "training_split": None,
        "fewshot_split": None,
        "test_split": "test",
        "doc_to_text": "prompt",
        "num_fewshot": 0,
        "generation_kwargs": {
            "until": [*settings["stop"], *settings["ends"]],
            "eos_token_id": list(settings["end_ids"]),
            "max_gen_toks": settings["max_new_tokens"],
            "do_sample": False,
            "temperature": 0.0,
            "repetition_penalty": 1.0,  # generation_config.json may have another, which our engines pass over
        },
    }
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")


def answer_all(model: Path, rows: Sequence[dict[str, Any]], settings: dict[str, Any], gpus: int) -> dict[str, Any]:
    """Run the harness on the model in a folder.

    settings: verifier, stop (texts), ends and end_ids (tokens that end an answer), max_new_tokens, batch_size, trust
    (`trusted` of the config). `other_ids` are the questions whose prompt the harness's tokenisation makes other ids of,
    `left_out` the tokens that it leaves out of texts, `answers` one record a question: its text, what each grader took
    and said.

    UserError where lm-eval is missing or cannot grade such answers, or where no prompt has our ids.
    """
    tasks = installed()
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory(prefix="outside.") as scratch:
        folder = Path(scratch)
        write_task(folder, tasks, rows, settings)
        try:
            manager = TaskManager(include_path=str(folder), include_defaults=False)
            manager.load([NAME])
        except (ImportError, AssertionError) as error:
            raise UserError(
                f"the harness cannot grade {settings['verifier']} answers here: pip install '{HARNESS}' ({error})"
            ) from None
        engine = HFLM(
            pretrained=str(model.resolve()),
            backend="causal",
            device="cuda:0" if gpus else "cpu",
            dtype="bfloat16" if gpus else "float32",  # as our transformers engine has it
            batch_size=settings["batch_size"],
            **settings["trust"],
        )
        other_ids = [row["id"] for row in rows if fed_ids(engine, row["prompt"]) != list(row["ids"])]
        if len(other_ids) == len(rows):
            raise UserError(
                "the harness's tokenisation of our prompts gives other token ids than ours, for every question: its figures"
                " would be of another prompt; see how the model's tokenizer writes BOS"
            )
        try:
            found = simple_evaluate(engine, tasks=[NAME], task_manager=manager, log_samples=True, bootstrap_iters=0)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, "engine.transformers.batch_size") from None
    answers = answers_of(found["samples"][NAME], settings["verifier"])
    if [answer["id"] for answer in answers] != [row["id"] for row in rows]:
        raise UserError(
            "the harness did not answer the questions that it was given; use the version in envs/outside.txt"
        )
    return {
        "harness": {
            "lm_eval": version("lm-eval"),
            "task": Path(TASKS[settings["verifier"]]).stem,
            "task_version": found["versions"][NAME],
            "transformers": version("transformers"),
            "torch": version("torch"),
        },
        "figures": {
            name: found["results"][NAME][f"{metric},{filtered}"]
            for name, (filtered, metric) in GRADERS[settings["verifier"]].items()
        },
        "other_ids": other_ids,
        "left_out": sorted(each.content for each in engine.tokenizer.added_tokens_decoder.values() if each.special),
        "answers": answers,
    }


def fed_ids(engine: Any, prompt: str) -> list[int]:
    """The token ids that the harness feeds the model for a prompt."""
    ids, _ = engine.tok_batch_encode([prompt])
    return [int(number) for number in ids[0]]


def answers_of(samples: Sequence[dict[str, Any]], verifier: str) -> list[dict[str, Any]]:
    """One record a question, in their order: its text, and what each grader took and said."""
    found: dict[int, dict[str, Any]] = {}
    for sample in samples:
        own = found.setdefault(
            sample["doc_id"], {"id": sample["doc"]["id"], "text": sample["resps"][0][0], "grades": {}}
        )
        for name, (filtered, metric) in GRADERS[verifier].items():
            if filtered == sample["filter"]:
                # minerva_math looks for the answer itself: what its filter leaves is the whole text.
                taken = str(sample["filtered_resps"][0]) if verifier == "number" else None
                own["grades"][name] = {"answer": taken, "correct": bool(sample[metric])}
    return [found[number] for number in sorted(found)]
