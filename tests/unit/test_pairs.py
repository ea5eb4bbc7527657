"""Pairs: every kept one is fit to train on, every dropped one is counted once, and the choice is reproducible."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regime_w.method.pairs import (
    REASONS,
    build_pairs,
    no_pair_reason,
    over_coherence_share,
    rank_coherence,
)
from regime_w.method.votes import unanimous_not_gold

PARAMS = {
    "policy": "capped", "per_question": 4, "coherence_share": 0.25, "min_margin": 0.05, "max_similarity": 0.95,
    "max_length_ratio": 3.0, "train_prompt": "arm", "same_style": True,
    "calculations": 0, "truncated": "drop",
}  # fmt: skip
WORDS = ["add", "take", "half", "twice", "eggs", "days", "total", "left", "per", "cost", "gives", "makes"]


def trajectory(index: int = 0, correct: bool = True, **changes: Any) -> dict[str, Any]:
    text = " ".join(random.Random(f"{index}{correct}").choices(WORDS, k=30))
    return {
        "full_text": f"{text}\n#### {18 if correct else index}",
        "answer": "18" if correct else str(index),
        "correct": correct,
        "reward": correct + index / 10,
        "num_tokens": 40,
        "finish_reason": "stop",
        "extraction": "hash",
        "arm": f"arm{index}",
        "style": "wolfram" if index < 4 else "maudlin",
        **changes,
    }


def record(*trajectories: dict[str, Any], identity: str = "q1") -> dict[str, Any]:
    return {"id": identity, "question": "?", "gold_answer": "18", "trajectories": list(trajectories)}


def eight(correct: str = "11001100") -> dict[str, Any]:
    return record(*(trajectory(index, flag == "1") for index, flag in enumerate(correct)))


def build(row: dict[str, Any], **changes: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    return build_pairs(row, {**PARAMS, **changes}, seed=1)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("truncated", {"finish_reason": "length"}),
        ("tie", {"reward": 1.0}),
        ("identical", {"full_text": trajectory(0)["full_text"]}),
        ("near_identical", {"full_text": trajectory(0)["full_text"] + "."}),
        ("margin", {"reward": 0.96}),
        ("margin", {"reward": 1.5}),
        ("length_ratio", {"num_tokens": 121}),
    ],
)
def test_reasons_to_drop(reason: str, changes: dict[str, Any]) -> None:
    pairs, dropped = build(record(trajectory(0), trajectory(1, False, **changes)))
    assert pairs == []
    assert dropped == {reason: 1}


def test_what_was_cut_off_may_be_rejected_where_the_config_says_so() -> None:
    cut = {"finish_reason": "length"}
    pairs, dropped = build(record(trajectory(0), trajectory(1, False, **cut), trajectory(2, **cut)), truncated="reject")
    assert [(pair["chosen_arm"], pair["rejected_arm"], pair["rejected_ends"]) for pair in pairs] == [
        ("arm0", "arm1", False)
    ]
    assert dropped == {"truncated": 2}  # cut off, and right all the same: never chosen


def test_a_margin_at_the_threshold_is_kept() -> None:
    pairs, _ = build(record(trajectory(0, reward=1.05), trajectory(1, reward=1.0)))
    assert [pair["pair_type"] for pair in pairs] == ["coherence"]
    assert pairs[0]["chosen_reward"] == 1.05


def test_policies() -> None:
    everything, _ = build(eight(), policy="all")
    assert Counter(pair["pair_type"] for pair in everything) == {"correctness": 8, "coherence": 2}
    best, dropped = build(eight(), policy="best_worst")
    assert [(pair["chosen_arm"], pair["rejected_arm"]) for pair in best] == [("arm1", "arm2")]
    assert dropped == {"over_cap": 9}
    capped, _ = build(eight())
    assert len(capped) == 4


def test_capped_spreads_over_trajectories() -> None:
    pairs, _ = build(eight())
    used = Counter(arm for pair in pairs for arm in (pair["chosen_arm"], pair["rejected_arm"]))
    assert used == {f"arm{index}": 1 for index in range(8)}


def test_capped_takes_the_most_alike_first() -> None:
    row = record(*(trajectory(index, index == 0) for index in range(4)))
    row["trajectories"][3]["full_text"] = row["trajectories"][0]["full_text"].replace("add", "subtract")
    pairs, _ = build(row, per_question=1, max_similarity=0.999)
    assert pairs[0]["rejected_arm"] == "arm3"


def test_correctness_pairs_fill_the_cap_before_coherence_pairs() -> None:
    pairs, _ = build(record(*(trajectory(index, index > 0) for index in range(4))))
    assert [pair["pair_type"] for pair in pairs] == ["correctness"] * 3 + ["coherence"]


def test_styles_are_mixed_only_where_allowed() -> None:
    row = record(trajectory(0, False), trajectory(4))
    assert build(row) == ([], Counter())
    assert no_pair_reason(row, PARAMS) == "filtered"
    pairs, _ = build(row, same_style=False)
    assert pairs[0]["style"] == "maudlin"


def test_no_coherence_pairs_where_their_share_is_zero() -> None:
    assert build(eight("11111111"), coherence_share=0.0) == ([], Counter())


def slipping(index: int, *sums: str) -> dict[str, Any]:
    return trajectory(index, False, full_text="\n".join((*sums, f"#### {index}")))


def test_a_calculation_pair_breaks_off_behind_the_first_wrong_result() -> None:
    row = record(
        slipping(0, "She has 3*9 = 27 eggs.", "27-5 = 21 are left, so", "21*2 = 40."), slipping(1, "3*9 = 27.")
    )
    assert build(row) == ([], Counter())
    (pair,), dropped = build(row, calculations=2)
    assert pair["chosen"] == "She has 3*9 = 27 eggs.\n27-5 = 22 are left, so\n"
    assert pair["rejected"] == "She has 3*9 = 27 eggs.\n27-5 = 21 are left, so\n"
    assert (pair["pair_type"], pair["chosen_arm"], pair["rejected_arm"], pair["style"]) == (
        "calculation", "arm0", "arm0", "wolfram",
    )  # fmt: skip
    assert dropped == {}


def test_a_cut_off_result_is_not_a_wrong_one() -> None:
    cut = trajectory(0, False, full_text="3*9 = 2", finish_reason="length")
    assert build(record(cut), calculations=1)[0] == []
    assert len(build(record(cut | {"finish_reason": "stop"}), calculations=1)[0]) == 1


def test_what_follows_a_result_in_a_calculation_pair_holds_no_number() -> None:
    (pair,), _ = build(record(slipping(0, "3*9 = 28, of which 5 go")), calculations=1)
    assert pair["chosen"] == "3*9 = 27, of which "
    (pair,), _ = build(record(trajectory(0, False, full_text="3*9 = 28")), calculations=1)
    assert (pair["chosen"], pair["rejected"]) == ("3*9 = 27", "3*9 = 28")


def test_calculation_pairs_are_capped_and_of_different_sums() -> None:
    row = record(*(slipping(index, f"{index % 3 + 2}*9 = 1") for index in range(8)))
    for most, made in ((1, 1), (2, 2), (8, 3)):
        pairs, _ = build(row, calculations=most)
        assert len({pair["rejected"] for pair in pairs}) == len(pairs) == made
    assert build(row, calculations=2)[0] == build(row, calculations=2)[0]
    firsts = {build(row | {"id": f"q{number}"}, calculations=1)[0][0]["rejected"] for number in range(20)}
    assert len(firsts) == 3  # not always the first arm's


def test_calculation_pairs_stand_beside_the_others() -> None:
    row = eight()
    row["trajectories"][2]["full_text"] = "3*9 = 28\n#### 28"
    without, _ = build(row)
    pairs, _ = build(row, calculations=1)
    assert pairs[:-1] == without
    assert pairs[-1]["pair_type"] == "calculation"


def test_the_choice_depends_on_seed_and_id_alone() -> None:
    rows = [eight() | {"id": f"q{index}"} for index in range(20)]
    first = [build_pairs(row, PARAMS | {"per_question": 2}, 1)[0] for row in rows]
    assert first == [build_pairs(row, PARAMS | {"per_question": 2}, 1)[0] for row in reversed(rows)][::-1]


def test_coherence_share_takes_each_questions_first_pair_first() -> None:
    def pair(kind: str, margin: float) -> dict[str, Any]:
        return {"pair_type": kind, "chosen_reward": 1 + margin, "rejected_reward": 1}

    first = rank_coherence([pair("correctness", 1), pair("coherence", 0.25), pair("coherence", 0.5)])
    second = rank_coherence([pair("coherence", 0.125)])
    assert first == [(0, -0.25, 1), (1, -0.5, 2)]
    ranked = [*first, *((rank, margin, 3 + index) for rank, margin, index in second)]
    assert over_coherence_share(ranked, 6, 0.25) == {2}
    assert over_coherence_share(ranked, 3, 0.25) == {2, 3}
    assert over_coherence_share(ranked, 6, 0.0) == {1, 2, 3}
    assert over_coherence_share(ranked, 0, 1.0) == set()
    assert over_coherence_share(ranked, 0, 0.5) == {1, 2, 3}


def test_unanimous_wrong_answers_are_told() -> None:
    assert unanimous_not_gold(record(*(trajectory(7, False, answer="20") for _ in range(8))))
    assert not unanimous_not_gold(record(trajectory(7, False, answer="20"), trajectory(6, False, answer=None)))
    assert not unanimous_not_gold(record(trajectory(1), trajectory(1)))
    unmarked = trajectory(7, False, answer="20", extraction="fallback")
    assert not unanimous_not_gold(record(unmarked, unmarked))
    assert [no_pair_reason(eight(flags), PARAMS) for flags in ("1" * 8, "0" * 8)] == ["all_correct", "all_wrong"]


def scored(index: int, score: float) -> dict[str, Any]:
    return trajectory(index, score == 1, score=score, reward=score, arm=f"arm{index}", style="wolfram")


def test_pairs_of_scores() -> None:
    """Unit tests that pass in part: the higher score is chosen, also where neither is right."""
    row = record(scored(0, 0.0), scored(1, 0.25), scored(2, 0.75))
    pairs, dropped = build(row, by="score", policy="all", max_similarity=1.0)
    assert sorted((pair["chosen_arm"], pair["rejected_arm"]) for pair in pairs) == [
        ("arm1", "arm0"), ("arm2", "arm0"), ("arm2", "arm1"),
    ]  # fmt: skip
    assert not dropped
    assert {pair["pair_type"] for pair in pairs} == {"correctness"}
    assert build(row, by="correct", policy="all") == ([], Counter())
    assert no_pair_reason(row, PARAMS | {"by": "score"}) == "filtered"
    assert no_pair_reason(row, PARAMS) == "all_wrong"


def test_a_reward_that_outranks_the_score_makes_no_pair() -> None:
    row = record(scored(0, 0.5) | {"reward": 0.9}, scored(1, 0.6) | {"reward": 0.6})
    pairs, dropped = build(row, by="score", policy="all", max_similarity=1.0)
    assert (pairs, dropped) == ([], Counter({"margin": 1}))


TRAJECTORIES = st.lists(
    st.builds(
        trajectory,
        st.integers(0, 7),
        st.booleans(),
        num_tokens=st.integers(0, 200),
        finish_reason=st.sampled_from(["stop", "stop", "stop", "length"]),
        reward=st.floats(-1, 2),
    ),
    max_size=8,
)


@given(TRAJECTORIES, st.sampled_from(["all", "best_worst", "capped"]), st.booleans(), st.integers(1, 6))
def test_invariants(trajectories: list[dict[str, Any]], policy: str, same_style: bool, per_question: int) -> None:
    row = record(*trajectories)
    candidates = sum(
        (a["correct"] or b["correct"]) and not (same_style and a["style"] != b["style"])
        for index, a in enumerate(trajectories)
        for b in trajectories[:index]
    )
    pairs, dropped = build(row, policy=policy, same_style=same_style, per_question=per_question)
    assert len(pairs) + dropped.total() == candidates
    assert set(dropped) <= set(REASONS)
    assert len(pairs) <= {"all": candidates, "best_worst": 1, "capped": per_question}[policy]
    by_text: dict[str, list[dict[str, Any]]] = {}
    for item in trajectories:
        by_text.setdefault(item["full_text"], []).append(item)
    for pair in pairs:
        assert pair["chosen_reward"] - pair["rejected_reward"] >= PARAMS["min_margin"] - 1e-9
        assert pair["chosen"] != pair["rejected"]
        assert pair["similarity"] <= PARAMS["max_similarity"]
        assert all(item["correct"] for item in by_text[pair["chosen"]])
        assert all(item["correct"] == (pair["pair_type"] == "coherence") for item in by_text[pair["rejected"]])
        assert any(item["finish_reason"] == "stop" for item in by_text[pair["chosen"]])
