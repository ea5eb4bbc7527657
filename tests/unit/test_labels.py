"""Labels where gold is missing: who is taken for right, that gold is not read, and that a run without it is a run."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from helpers import demo_config, stage
from hypothesis import given
from hypothesis import strategies as st
from report_inputs import PARAMS, inputs, save

from regime_w.config.recipes import labels_read, read_by
from regime_w.config.schema import load
from regime_w.method.labels import labels_of, least_agreement, one_label, source_of
from regime_w.method.pairs import build_pairs, no_pair_reason
from regime_w.method.votes import unanimous_not_gold
from regime_w.report.render import render
from regime_w.report.summary import summarise
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import to_line
from regime_w.runtime.seals import write_jsonl
from scripts.check_rollouts import check
from scripts.score_rollouts import score

VOTE = {"source": "vote", "noise": 0.0, "filter": "none", "min_agreement": 0.0}
CROSS = VOTE | {"source": "cross_style"}
RANDOM = VOTE | {"source": "random", "seed": 1}
SHARE = VOTE | {"source": "gold_share", "share": 0.3, "rest": "vote", "seed": 1}
NOISE = {"source": "gold", "noise": 0.4, "seed": 1}


def out(answer: str | None, style: str = "wolfram", extraction: str = "hash", text: str = "") -> dict[str, Any]:
    place = {"extraction": extraction, "finish_reason": "stop"}
    return {"answer": answer, "style": style, "full_text": text or f"#### {answer}", **place}


def outs(answers: str) -> list[dict[str, Any]]:
    """Half of them Wolfram's, half Maudlin's; `-` is none."""
    given = [None if answer == "-" else answer for answer in answers.split()]
    return [out(answer, "maudlin" if 2 * place >= len(given) else "wolfram") for place, answer in enumerate(given)]


def labels(answers: str, **params: Any) -> list[str | None]:
    return [label.answer for label in labels_of("q", outs(answers), None, {**VOTE, **params})]


@pytest.mark.parametrize(
    ("answers", "least", "label"),
    [
        ("7 7 7 8", 0.0, "7"),
        ("7 8 - -", 0.0, None),  # a tie
        ("7 - - -", 0.0, "7"),
        ("7 - - -", 0.26, None),  # of all four, those without an answer too
        ("7 7 8 9", 0.5, "7"),
        ("- - - -", 0.0, None),
    ],
)
def test_the_vote_is_the_majority_that_enough_give(answers: str, least: float, label: str | None) -> None:
    assert labels(answers, min_agreement=least) == [label] * 4


def test_each_style_is_labelled_by_the_other() -> None:
    found = labels_of("q", outs("7 7 8 8 8 9"), None, CROSS)
    assert [label.answer for label in found] == ["8"] * 3 + ["7"] * 3
    assert [label.agreement for label in found] == pytest.approx([2 / 3] * 6)
    assert [label.support for label in found] == pytest.approx([0, 0, 2 / 3, 1 / 3, 1 / 3, 0])
    assert one_label(found) is None
    assert labels("7 7 8 9", source="cross_style") == [None, None, "7", "7"]  # Maudlin's tie says nothing of Wolfram's


def test_who_votes() -> None:
    found = (
        [out("7", extraction="fallback")] * 3
        + [out("8", text="2+2 = 5\n#### 8")] * 2
        + [out("9", text="2+2 = 4\n#### 9")]
    )
    by = {
        which: labels_of("q", found, None, VOTE | {"filter": which})[0] for which in ("none", "verifier_marked", "sums")
    }
    assert {which: label.answer for which, label in by.items()} == {"none": "7", "verifier_marked": "8", "sums": "9"}
    assert by["sums"].agreement == pytest.approx(1 / 6)  # of all that were asked


def test_shares_and_random_labels_are_drawn_by_the_id() -> None:
    names = [f"q{number}" for number in range(2000)]
    gold = [name for name in names if source_of(name, SHARE) == "gold"]
    assert len(gold) == pytest.approx(600, abs=60)
    assert set(gold) != {name for name in names if source_of(name, SHARE | {"seed": 2}) == "gold"}
    assert {source_of(name, SHARE | {"rest": "drop"}) for name in names} == {"gold", "none"}
    assert labels_of("q", outs("7 8"), "7", SHARE | {"share": 0.0, "rest": "drop"})[0].answer is None
    drawn = [labels_of(name, outs("7 7 7 8"), None, RANDOM)[0].answer for name in names]
    assert drawn.count("7") == pytest.approx(1000, abs=100)  # of the distinct answers, whatever their votes


def test_noise_turns_a_share_of_gold_labels_into_another_answer() -> None:
    names = [f"q{number}" for number in range(1000)]
    found = [labels_of(name, outs("7 7 8 -"), "7", NOISE)[0] for name in names]
    turned = [label for label in found if label.source == "noise"]
    assert len(turned) == pytest.approx(400, abs=60)
    assert {label.answer for label in turned} == {"8"}
    assert {label.answer for label in found if label.source == "gold"} == {"7"}
    assert {labels_of(name, outs("7 7"), "7", NOISE)[0].source for name in names} == {"gold"}  # nothing to turn it into
    with pytest.raises(ValueError, match="needs a gold answer"):
        labels_of("q", outs("7"), None, NOISE)


@given(st.lists(st.sampled_from(["7", "8", None]), min_size=2, max_size=8), st.sampled_from([VOTE, CROSS, RANDOM]))
def test_a_label_is_an_answer_that_was_given_and_support_a_share(
    answers: list[str | None], params: dict[str, Any]
) -> None:
    found = labels_of("q", [out(answer, "am"[i % 2]) for i, answer in enumerate(answers)], None, params)
    for label in found:
        assert label.answer is None or label.answer in answers
        assert 0 <= label.support <= 1
        assert label.agreement is not None
        assert 0 <= label.agreement <= 1
    assert least_agreement(found) == min(label.agreement for label in found if label.agreement is not None)


# Records


def params(**changes: Any) -> dict[str, Any]:
    config = demo_config(labels=demo_config()["labels"] | changes)
    return read_by("score_rollouts", 1, config) | {"pairs": config["pairs"] | {"same_style": False}}


QUESTION = {"id": "q1", "question": "?", "gold_answer": "8", "answer": "#### 8", "rationales": {"wolfram": "#### 8"}}


def scored(gold: str | None, answers: str = "7 7 7 8 7 8 9 7", **changes: Any) -> dict[str, Any]:
    settings = params(**changes)
    question = QUESTION | {"gold_answer": gold, "answer": f"#### {gold}", "rationales": {"wolfram": f"#### {gold}"}}
    completions = [
        {
            **{"id": "q1", "arm": arm["name"], "style": arm["style"], "temperature": 1.0, "seed": 1},
            **{"text": f"{place + 1} eggs.\n#### {answer}", "num_tokens": 9, "finish_reason": "stop"},
        }
        for place, (arm, answer) in enumerate(zip(settings["arms"], answers.split(), strict=True))
    ]
    return score(question, completions, settings)


@pytest.mark.parametrize("source", ["vote", "cross_style", "random"])
def test_a_run_without_gold_never_reads_it(source: str) -> None:
    """Gold that is gone, or another one: the same bytes of rollouts and of pairs."""
    records = [scored(gold, source=source) for gold in ("8", "7", "gold that no verifier reads", None)]
    assert len({to_line(record) for record in records}) == 1
    assert records[0]["gold_answer"] is None
    pairs = [build_pairs(record, params()["pairs"], 1)[0] for record in records]
    assert pairs[0]
    assert len({json.dumps(each) for each in pairs}) == 1


def test_correct_is_by_the_label() -> None:
    voted = scored("8", source="vote")
    assert (voted["label"], voted["label_source"], voted["agreement"]) == ("7", "vote", 0.625)
    assert [each["correct"] for each in voted["trajectories"]] == [
        each["answer"] == "7" for each in voted["trajectories"]
    ]
    crossed = scored("8", "7 7 7 8 8 8 8 7", source="cross_style")
    assert [each["label"] for each in crossed["trajectories"]] == ["8"] * 4 + ["7"] * 4
    assert [each["correct"] for each in crossed["trajectories"]] == [False] * 3 + [True] + [False] * 3 + [True]
    assert "label" not in scored("8")
    assert [each["correct"] for each in scored("8")["trajectories"]].count(True) == 2


def test_gold_stands_only_where_it_made_the_label() -> None:
    assert scored("8", source="gold_share", share=1.0)["gold_answer"] == "8"
    shared = scored("8", source="gold_share", share=1.0)["trajectories"]
    assert [each["support"] for each in shared] == [float(each["correct"]) for each in shared]
    dropped = scored("8", source="gold_share", share=0.0, rest="drop")
    assert (dropped["gold_answer"], dropped["label"], dropped["label_source"]) == (None, None, "none")
    turned = scored("8", "8 8 8 8 8 8 8 9", noise=1.0)
    assert (turned["gold_answer"], turned["label"], turned["label_source"]) == ("8", "9", "noise")
    assert [each["correct"] for each in turned["trajectories"]] == [False] * 7 + [True]


def test_what_has_no_label_makes_no_pair() -> None:
    settings = params()["pairs"]
    for record in (
        scored(None, "7 7 7 7 8 8 8 8", source="vote"),
        scored("8", source="gold_share", share=0.0, rest="drop"),
    ):
        assert build_pairs(record, settings | {"coherence_share": 0.5}, 1)[0] == []
        assert no_pair_reason(record, settings) == "no_label"
    assert not unanimous_not_gold(scored("8", "7 7 7 7 7 7 7 7", source="gold_share", share=0.0, rest="drop"))


def test_sides_of_a_pair_have_the_same_label() -> None:
    """Wolfram is held against Maudlin's answer and the other way round, so that they make no pair with each other."""
    record = scored(None, "7 7 7 8 8 8 8 7", source="cross_style")
    pairs, _ = build_pairs(record, params()["pairs"] | {"policy": "all"}, 1)
    assert pairs
    for pair in pairs:
        assert pair["chosen_arm"].split("_")[0] == pair["rejected_arm"].split("_")[0]


def test_gold_that_is_missing_is_told_where_it_is_needed() -> None:
    for changes in ({}, {"source": "gold_share", "share": 1.0}):
        with pytest.raises(UserError, match=r"question q1: it has no gold answer, .* set labels.source: vote"):
            scored(None, **changes)


def test_checks_of_rollouts_without_gold(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    for good in (scored(None, source="vote"), scored(None, source="cross_style"), scored("8", noise=1.0)):
        write_jsonl(path, [good])
        assert check(path, 8, None, labels=True)[1] == []
        assert bool(check(path, 8, None)[1]) == (good["gold_answer"] is None)
        bad = copy.deepcopy(good)
        bad["trajectories"][3]["support"] = 2
        write_jsonl(path, [bad | {"label_source": "guess", "agreement": -1}])
        assert len(check(path, 8, None, labels=True)[1]) == 3


# Config


def test_stages_read_of_labels_what_they_use() -> None:
    config = demo_config()
    config.pop("study")

    def read(**changes: Any) -> dict[str, Any]:
        return labels_read(load(config | {"labels": config["labels"] | changes}))

    assert read() == {"source": "gold", "noise": 0.0}
    assert read(share=0.5, rest="drop") == read()
    assert read(source="vote", weight="margin") == read(source="vote")
    assert set(read(source="gold_share")) == {"source", "noise", "share", "rest", "filter", "min_agreement", "seed"}
    assert set(read(source="gold_share", rest="drop")) == {"source", "noise", "share", "rest", "seed"}


# Against gold


def test_labels_are_held_against_gold_by_agreement(tmp_path: Path) -> None:
    """Three questions: 5 of 8 right; a wrong majority of 6; a tie."""
    rollouts, questions, output = tmp_path / "rollouts.jsonl", tmp_path / "questions.jsonl", tmp_path / "labels.json"
    answers = {"q1": "7 7 7 8 7 8 9 7", "q2": "8 8 8 8 8 8 7 7", "q3": "7 8 7 8 7 8 7 8"}
    rows = [scored(None, own, source="vote") | {"id": name} for name, own in answers.items()]
    write_jsonl(rollouts, rows)
    write_jsonl(questions, [{"id": name, "gold_answer": "7"} for name in ("q1", "q2", "q3", "q4")])
    settings = {"task": params()["task"], "pairs": params()["pairs"] | {"policy": "all"}, "alpha": 1.0, "seed": 0}
    settings |= {"pairs": settings["pairs"] | {"max_similarity": 1.0, "min_margin": 0.0}}
    made = stage(
        "check_labels",
        "--params",
        json.dumps(settings),
        "--rollouts",
        rollouts,
        "--questions",
        questions,
        "--output",
        output,
    )
    assert made.returncode == 0, made.stderr
    found = json.loads(output.read_text())
    assert (found["questions"], found["with_gold"]) == (3, 3)
    voted = {row["min_agreement"]: row for row in found["ways"]["vote"]}
    assert found["ways"]["this run's"] == found["ways"]["vote"]
    assert [voted[least]["labels"] for least in (0.0, 0.625, 0.75, 0.875)] == [2, 2, 1, 0]
    assert [voted[least]["precision"] for least in (0.0, 0.75, 0.875)] == [0.5, 0.0, None]
    assert voted[0.0]["coverage"] == pytest.approx(2 / 3)
    # 5 x 3 pairs of q1 are right, 6 x 2 of q2 are not.
    assert (voted[0.0]["pairs"], voted[0.0]["pair_precision"]) == (27, pytest.approx(15 / 27))


def test_the_report_shows_labels_against_gold(tmp_path: Path) -> None:
    row = {"min_agreement": 0.0, "labels": 10, "coverage": 0.5, "precision": 0.8, "low": 0.5, "high": 0.9}
    ways = {
        "vote": [row | {"pairs": 4, "pair_precision": 0.75}],
        "random": [row | {"pairs": 0, "pair_precision": None}],
    }
    found = {"questions": 20, "with_gold": 20, "ways": ways}
    made = summarise(PARAMS, **inputs(tmp_path), labels={"round1": save(tmp_path / "labels.json", found)})
    html, md = render(made)
    assert "Labels of round 1" in html
    assert "Precision of labels over their coverage" in html
    assert "| vote | 0.0% | 10 | 50.0% | 80.0%" in md
    assert "Labels of round 1" not in render(summarise(PARAMS, **inputs(tmp_path)))[1]
