"""The page of trajectories: what it holds, that it is inert, and that it works in a browser."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import dom, needs_chromium
from helpers import stage

from regime_w.report.viewer import CHUNK, answers_view, rollouts_view, write_viewer
from regime_w.runtime.seals import write_jsonl

PAYLOAD = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
REWARD = {"alpha": 1.0, "beta": 0.5, "lambda_length": 0.001, "length_limit": 512}
PAIRS = {
    "policy": "capped", "per_question": 4, "coherence_share": 0.0, "min_margin": 0.05, "max_similarity": 1.0,
    "max_length_ratio": 3.0, "same_style": True,
}  # fmt: skip


def out(correct: bool, answer: str | None = "4", finish: str = "stop", text: str = "2+2=4") -> dict[str, Any]:
    facts = {
        "answer": answer,
        "correct": correct,
        "extraction": "hash",
        "finish_reason": finish,
        "num_tokens": 9,
        "seed": 1,
    }
    return facts | {"text": text}


def rollouts(number: int, texts: str = "2+2=4\n#### 4") -> list[dict[str, Any]]:
    rows = []
    for index in range(number):
        trajectories = [
            out(correct, "4" if correct else "5", text="")
            | {"arm": f"arm{place}", "style": "wolfram", "full_text": f"{texts}{place}", "reward": 1.25 * correct}
            | {"temperature": 0.2, "s_end": 0.5, "s_path": 0.5, "s_cf": 0.5, "s_wm": 0.5}
            for place, correct in enumerate((True, False, index % 2 == 0))
        ]
        rows.append({"id": f"q{index}", "question": texts, "gold_answer": "4", "trajectories": trajectories})
    return rows


def answers(greedy: list[bool]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"e{i}",
            "question": "How many?",
            "gold_answer": "4",
            "greedy": out(right),
            "samples": [out(right), out(False)],
        }
        for i, right in enumerate(greedy)
    ]


def parts(page: Path) -> dict[str, Any]:
    """What the page's scripts unpack."""
    found = re.findall(
        r'<script type="application/gzip" id="([\w-]+)">([^<]*)</script>', page.read_text(encoding="utf-8")
    )
    return {name: json.loads(gzip.decompress(base64.b64decode(content))) for name, content in found}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    judged = [(0, 1, "correctness", None), (2, 1, "correctness", "tie")]
    views = [
        rollouts_view("round1", rollouts(CHUNK + 2, PAYLOAD), lambda row: judged, REWARD),
        answers_view("test", {"base": answers([True, False, False]), "sft": answers([False, True, False])}),
    ]
    assert write_viewer(tmp_path / "page.html", "demo", views) == (tmp_path / "page.html").stat().st_size
    return tmp_path / "page.html"


def test_every_question_stands_in_its_chunk(page: Path) -> None:
    found = parts(page)
    assert [view["name"] for view in found["head"]["views"]] == ["round1", "test"]
    assert len(found["index-0"]) == CHUNK + 2
    assert [row["id"] for row in found["items-0-1"]] == [f"q{CHUNK}", f"q{CHUNK + 1}"]
    assert found["items-0-0"][0]["pairs"] == [[0, 1, "correctness", None], [2, 1, "correctness", "tie"]]


def test_what_the_list_filters_by(page: Path) -> None:
    found = parts(page)
    first, second = found["index-0"][:2]
    assert (first["right"], first["of"], first["mask"], first["pairs"]) == (2, 3, 0b101, 1)
    assert (second["right"], second["mask"], second["agreement"]) == (1, 0b001, 0.667)
    assert [(row["gained"], row["lost"]) for row in found["index-1"]] == [(False, True), (True, False), (False, False)]


def test_nothing_from_outside_stands_in_the_page_as_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "owned" not in text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)


@needs_chromium
def test_the_page_opens_in_a_browser_and_its_texts_are_inert(page: Path) -> None:
    shown = dom(page)
    assert f"{CHUNK + 2} of {CHUNK + 2}" in shown
    assert "<title>demo: trajectories</title>" in shown
    assert "2 of 3 right, 67 % agree" in shown


def test_command(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rollouts.jsonl", rollouts(3))
    write_jsonl(tmp_path / "base.jsonl", answers([True]))
    params = {"run": "demo", "pairs": PAIRS, "reward": REWARD, "seed": 0}
    rounds, answered = {"round1": tmp_path / "rollouts.jsonl"}, {"test": {"base": tmp_path / "base.jsonl"}}
    inputs = json.dumps({"rollouts": rounds, "answers": answered}, default=str)
    done = stage(
        "view_trajectories", "--params", json.dumps(params), "--inputs", inputs, "--output", tmp_path / "page.html"
    )
    assert done.returncode == 0, done.stderr
    assert "4 questions in" in done.stdout
    kept = [pair for row in parts(tmp_path / "page.html")["items-0-0"] for pair in row["pairs"] if pair[3] is None]
    assert {tuple(pair[:2]) for pair in kept} == {(0, 1), (0, 2), (2, 1)}
