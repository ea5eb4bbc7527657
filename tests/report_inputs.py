"""Small made-up records of a whole run, as the report reads them."""

from pathlib import Path
from typing import Any

from regime_w.runtime.seals import write_jsonl, write_record

PAYLOAD = "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
QUESTIONS = 10
SET = "demo"
PARAMS = {"run": "demo", "n_boot": 500, "gallery": 5, "gpu_hour_usd": 2.0, "rounds": 1, "temperature": 0.8}


def out(
    answer: str | None, gold: str, extraction: str = "hash", tokens: int = 20, stop: bool = True, text: str = ""
) -> dict:
    return {
        "text": text or f"so\n#### {answer}",
        "answer": answer,
        "correct": stop and answer == gold and extraction in ("hash", "answer", "boxed"),
        "extraction": extraction,
        "num_tokens": tokens,
        "finish_reason": "stop" if stop else "length",
        "seed": 1,
    }


def rows(greedy: list[dict[str, Any]], right: dict[int, int], question: str = "How many?") -> list[dict[str, Any]]:
    """Ten questions with gold answers 0 to 9; of its four samples, question i has right.get(i, 0) correct ones."""
    made = []
    for index in range(QUESTIONS):
        gold, count = str(index), right.get(index, 0)
        samples = [out(gold, gold) for _ in range(count)] + [out("99", gold) for _ in range(4 - count)]
        made.append(
            {
                "id": f"q{index}",
                "question": question,
                "gold_answer": gold,
                "style": "wolfram" if index < 5 else "maudlin",
            }
            | {"greedy": greedy[index], "samples": samples}
        )
    return made


def base_rows(**kwargs: Any) -> list[dict[str, Any]]:
    """Right on 0 to 3; 8 right but unmarked, 9 right but truncated; no answer on 7; the rest wrong, 6 for a wrong sum."""
    greedy = [out(str(i), str(i)) if i < 4 else out("99", str(i)) for i in range(6)]
    greedy += [
        out("99", "6", text="2*3 = 99\n#### 99"),
        out(None, "7", "none"),
        out("8", "8", "fallback", tokens=40),
        out("9", "9", tokens=100, stop=False),
    ]
    return rows(greedy, {0: 4, 1: 1}, **kwargs)


def sft_rows(**kwargs: Any) -> list[dict[str, Any]]:
    """Right on 1 to 8: against base, 4 to 8 are gained and 0 is lost."""
    return rows(
        [out(str(i) if 1 <= i <= 8 else "99", str(i)) for i in range(QUESTIONS)], dict.fromkeys(range(8), 4), **kwargs
    )


def rollout(index: int, correct: list[bool], text: str = "x") -> dict[str, Any]:
    gold, trajectories = str(index), []
    for place, right in enumerate(correct):
        style, score = ("wolfram", "maudlin")[place % 2], 1.0 if right else 0.25
        trajectories.append(
            {"full_text": text, "answer": gold if right else "99", "reasoning": text, "num_tokens": 10 * (place + 1)}
            | {"reward": float(right), "correct": right, "arm": f"{style}_{place}", "style": style, "temperature": 0.2}
            | {"seed": 1, "finish_reason": "stop", "extraction": "hash"}
            | dict.fromkeys(("s_end", "s_path", "s_cf", "s_wm"), score)
        )
    return {"id": f"t{index}", "question": f"Why {text}?", "gold_answer": gold, "trajectories": trajectories}


def save(path: Path, content: Any) -> Path:
    """As a stage writes it, sealed."""
    if isinstance(content, list):
        write_jsonl(path, content)
    else:
        write_record(path, content)
    return path


def inputs(folder: Path, text: str = "plain") -> dict[str, Any]:
    """Arguments of `summarise` for a full run; `text` stands wherever text from outside can stand."""
    evaluations = {"base": base_rows(question=text), "sft": sft_rows(question=text)}
    evaluations["round1"] = sft_rows(question=text)
    evaluations["round1"][0]["greedy"] = out("0", "0", text=text)
    for name in ("base", "sft"):
        evaluations[name][0]["greedy"]["text"] = text
        evaluations[name][0]["style"] = text
    rollouts = [rollout(0, [True] * 4), rollout(1, [True, False] * 2), rollout(2, [False] * 4, text)]
    rollouts[1]["trajectories"][0] |= {"disagreement": True, "arm": text, "style": text}
    history = [
        {
            "step": step,
            "loss": 1.0 / step,
            "rewards/margins": 0.1 * step,
            "rewards/accuracies": 0.5,
            "logps/chosen": -40.0 - step,
        }
        | {"logps/rejected": float("nan") if step == 2 else -50.0}
        for step in (1, 2, 3)
    ]
    counts = {"questions": 3, "questions_with_pairs": 1, "candidates": 4, "kept": 2, "kept_by_type": {"correctness": 2}}
    counts |= {"dropped": {"margin": 2, text: 1}, "no_pair_reasons": {"all_correct": 1}, "unanimous_not_gold": ["t2"]}
    gpu = {
        "index": 0,
        "name": text,
        "mean_utilisation": 80.0,
        "max_memory_mb": 1024,
        "energy_wh": 3.0,
        "mean_power_w": 9,
    }
    job = {
        "stage": "generate",
        "seconds": 1800,
        "cpu_seconds": 360,
        "peak_memory_mb": 512,
        "gpus": [gpu],
        "gpu_seconds": 1800,
    }
    started = ("2026-01-31T12:00:00+00:00", "2026-01-31T12:15:00+00:00")
    return {
        "evaluations": {SET: {name: save(folder / f"{name}.jsonl", own) for name, own in evaluations.items()}},
        "rollouts_": {"round1": save(folder / "rollouts.jsonl", rollouts)},
        "preferences": {"round1": save(folder / "preferences.json", counts)},
        "trainings": {
            "sft": save(folder / "sft_lora/training.json", {"log_history": [], "examples": 0, "steps": 0}),
            "round1": save(
                folder / "dpo_lora/training.json", {"log_history": history, "tokens": 70, "versions": {text: text}}
            ),
        },
        "manifests": {
            "base": save(folder / "base/manifest.json", {"files": {}, "made_from": {text: text}, "fingerprint": text})
        },
        "questions": save(folder / "summary.json", counted(text)),
        "usage": [
            save(
                folder / f"benchmarks/demo/round1/generate/{index}-of-2.usage.json",
                job | {"started": start, "host": text},
            )
            for index, start in enumerate(started)
        ],
        "config": {
            "run": text,
            "base_model": {"trust_remote_code": True},
            "learning_rate": 5e-6,
        },
    }


def counted(text: str = "plain", seen_by_sft: int | None = 2, **again: int) -> dict[str, Any]:
    """What check_questions writes of a run whose rounds ask three questions each; `again` of them a round before, by round."""
    source = {"source": "file", "path": text, "licence": text, "questions": 3, "bad_rows": {"by_reason": {text: 1}}}
    near = {"ngram": 8, "drop_threshold": 0.5, "same_text": 1, "sharing_an_ngram": 2, "dropped": [text]}
    parts = {
        name: {"questions": 3, "variants": 0, "seen_by_sft": seen_by_sft, "seen_by_rounds": again.get(name, 0)}
        for name in ("round1", *again)
    }
    return {
        "parts": {"sft": {"questions": 2, "variants": 0}, **parts},
        "train": {
            "counts": {"heldout": 1},
            "sources": [source | {"doubles": {"identical": 1}}],
            "overlap": {"evaluation": near | {"highest": [{text: text}]}},
        },
        "eval": {SET: source | {"left_out": [], "in_other_sets": {text: 1}}},
    }
