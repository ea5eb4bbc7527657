"""A page to read trajectories in: every question of a round with its trajectories and pairs, and what each model answers
to every evaluation question. One file, no network, no server.

    write_viewer(path, "demo", [rollouts_view("round 1", rows, judge), answers_view("platinum", {"base": rows, ...})])

The texts stand in the page as base64 of gzip, CHUNK questions each, and are unpacked when a question is opened or searched;
an index of what the list shows and filters by is unpacked first. Everything is put into the page as text, never as HTML.
"""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from regime_w.runtime.records import new_file

CHUNK = 64  # questions
SNIPPET = 140  # characters of a question in the list
LEVEL = 6  # of gzip
LOW_AGREEMENT = 0.5  # share of the most frequent answer below which a question is called so

Row = Mapping[str, Any]
# (chosen, rejected, type, reason it was dropped or None) of the candidates of a rollouts row, as places among its trajectories.
Judge = Callable[[Row], Iterable[tuple[int, int, str, str | None]]]
TRAJECTORY = (
    "arm", "answer", "correct", "extraction", "finish_reason", "num_tokens", "reward", "s_end", "s_path", "s_cf", "s_wm",
    "seed", "temperature", "score", "thinking_tokens", "answer_start", "disagreement", "fault",
)  # fmt: skip
ANSWER = (
    "answer", "correct", "extraction", "finish_reason", "num_tokens", "seed", "score", "thinking_tokens", "answer_start",
    "fault",
)  # fmt: skip


def rollouts_view(name: str, rows: Iterable[Row], judge: Judge, reward: Row) -> dict[str, Any]:
    """A round: of each question its trajectories and the pairs made and dropped; `reward` is the config section."""
    index, items = [], []
    for row in rows:
        outs = row["trajectories"]
        items.append(
            {
                **_question(row),
                "outs": [{**_some(out, TRAJECTORY), "text": out["full_text"]} for out in outs],
                "pairs": [list(pair) for pair in judge(row)],
            }
        )
        index.append({**_line(row, outs), "pairs": sum(pair[3] is None for pair in items[-1]["pairs"])})
    arms = [out["arm"] for out in items[0]["outs"]] if items else []
    return {"name": name, "kind": "rollouts", "arms": arms, "reward": dict(reward), "index": index, "items": items}


def answers_view(name: str, models: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """An evaluation set: of each question the greedy answer and the samples of every model, in the order of the models.

    All models answer the same questions in the same order.
    """
    index, items = [], []
    for rows in zip(*models.values(), strict=True):
        greedy = [row["greedy"] for row in rows]
        outs = [
            {**_some(out, ANSWER), "model": model, "text": out["text"]}
            for model, out in zip(models, greedy, strict=True)
        ]
        samples = [[{**_some(out, ANSWER), "text": out["text"]} for out in row["samples"]] for row in rows]
        items.append({**_question(rows[0]), "outs": outs, "samples": samples})
        right = [bool(out["correct"]) for out in greedy]
        line = _line(rows[0], [out for row in rows for out in row["samples"]])
        index.append(line | {"gained": right[-1] > right[0], "lost": right[-1] < right[0], "mask": _mask(right)})
    return {"name": name, "kind": "answers", "arms": list(models), "index": index, "items": items}


def write_viewer(path: Path, run: str, views: Sequence[Mapping[str, Any]]) -> int:
    """Write the page; returns its size in bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    head = {
        "run": run,
        "chunk": CHUNK,
        "low": LOW_AGREEMENT,
        "views": [{key: value for key, value in view.items() if key not in ("index", "items")} for view in views],
    }
    parts = [("head", head)]
    for number, view in enumerate(views):
        parts.append((f"index-{number}", view["index"]))
        items = view["items"]
        parts += [
            (f"items-{number}-{k}", items[start : start + CHUNK]) for k, start in enumerate(range(0, len(items), CHUNK))
        ]
    before, after = environment.get_template("viewer.html.j2").render(run=run).split("<!-- data -->")
    with new_file(path) as file:
        file.write(before.encode("utf-8", "replace"))
        for name, content in parts:
            file.write(b'<script type="application/gzip" id="%s">%s</script>\n' % (name.encode(), _packed(content)))
        file.write(after.encode("utf-8", "replace"))
        return file.tell()


def _packed(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), LEVEL, mtime=0))


def _question(row: Row) -> dict[str, Any]:
    return {"id": str(row["id"]), "question": row["question"], "gold": row["gold_answer"]}


def _some(out: Row, names: Sequence[str]) -> dict[str, Any]:
    return {name: out[name] for name in names if out.get(name) is not None}


def _line(row: Row, outs: Sequence[Row]) -> dict[str, Any]:
    """What the list shows of a question and filters by: `mask` has a bit for each trajectory that is right."""
    right = [bool(out["correct"]) for out in outs]
    answers = Counter(out["answer"] for out in outs if out["answer"] is not None)
    most = answers.most_common(1)[0][1] if answers else 0
    return {
        "id": str(row["id"]),
        "snippet": " ".join(str(row["question"])[: 2 * SNIPPET].split())[:SNIPPET],
        "right": sum(right),
        "of": len(right),
        "mask": _mask(right),
        "agreement": round(most / max(1, len(outs)), 3),
        "truncated": sum(out["finish_reason"] != "stop" for out in outs),
        "tokens": round(sum(out["num_tokens"] for out in outs) / max(1, len(outs))),
    }


def _mask(right: Sequence[bool]) -> int:
    return sum(1 << place for place, value in enumerate(right[:30]) if value)
