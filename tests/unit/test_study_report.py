"""The study's page with one and with several trainings of a recipe."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from report_inputs import QUESTIONS, out, rows, save

from regime_w.report import evaluation
from regime_w.report.format import label, of_seed
from regime_w.report.page_study import page, top
from regime_w.report.render import fill
from regime_w.report.summary import plain
from scripts.choose_recipe import choose
from scripts.study_report import summarise

SETTINGS = evaluation.Settings(0.95, 500, 0)
PARAMS = {"run": "demo", "baselines": ["sft"], "reference": "dpo", "level": 0.95, "n_boot": 500, "seed": 0}
PARAMS |= {"gpu_hour_usd": 1.0, "temperature": 0.7}
# Right greedy answers of ten of each recipe's trainings; each of the four samples is right where the greedy answer is.
RIGHT = {"sft": [4], "dpo": [6, 8, 7], "rft": [5, 5, 2]}


def answered(right: int) -> list[dict[str, Any]]:
    greedy = [out(str(index) if index < right else "99", str(index)) for index in range(QUESTIONS)]
    made = rows(greedy, dict.fromkeys(range(right), 4))
    for row in made:
        for each in (row["greedy"], *row["samples"]):
            each["wrong_sum"] = False
    return made


def model(name: str, right: int) -> dict[str, Any]:
    made = answered(right)
    row = evaluation.model_row(name, made, SETTINGS)
    return {"name": name, "file": f"{name}.jsonl", "row": row, "scores": evaluation.scores(made)}


def record(recipe: str, seed: int, right: int) -> dict[str, Any]:
    trained = recipe != "sft"
    training = {
        "examples": 9,
        "steps": 3,
        "seconds": 1.0,
        "alarm": None if seed < 3 else "it fell",
        "first": {},
        "last": {},
    }
    usage = {"file": f"{recipe}{seed}", "stage": "train_dpo", "seconds": 5.0, "gpu_seconds": 0.0, "cpu_seconds": 5.0}
    return {
        "recipe": recipe,
        "seed": seed,
        "overlay": {},
        "method": "dpo" if trained else "none",
        "ids": [f"q{index}" for index in range(QUESTIONS)],
        "models": [model("sft", 4), *([model("round1", right)] if trained else [])],
        "training": {"round1": training} if trained else {},
        "examples": {"round1": {"kept": 8 if recipe == "dpo" else 5, "questions": 9}} if trained else {},
        "usage": [usage],
    }


def named(recipe: str, seed: int) -> str:
    return recipe if seed == 1 else f"{recipe}.seed{seed}"


def made(folder: Path, seeds: int) -> dict[str, Any]:
    records = [record(name, seed, n) for name, own in RIGHT.items() for seed, n in enumerate(own[:seeds], 1)]
    files = [save(folder / "study" / f"{named(own['recipe'], own['seed'])}.json", own) for own in records]
    choice = choose(records, None)
    asked = {
        named(name, seed): save(folder / f"{named(name, seed)}.jsonl", answered(right))
        for name in dict.fromkeys(["sft", choice["chosen"]])
        for seed, right in enumerate(RIGHT[name][:seeds], 1)
    }
    return summarise(
        PARAMS,
        recipes=files,
        choice=save(folder / "choice.json", choice),
        questions=save(folder / "questions.json", {}),
        evaluations={"test": asked},
        rollouts_={},
        config={},
        note=lambda: {"test": [{"run": "demo", "report": "study_report", "models": list(asked)}]},
    )


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made(tmp_path_factory.mktemp("several"), 3)


def test_a_recipes_row_is_the_mean_over_its_seeds(several: dict[str, Any]) -> None:
    ranked = {row["recipe"]: row for row in several["heldout"]["ranking"]}
    assert list(ranked) == ["dpo", "sft", "rft"]
    for name, rights in RIGHT.items():
        found = ranked[name]["row"]["greedy"]
        shares = [right / QUESTIONS for right in rights]
        assert found["value"] == pytest.approx(fmean(shares))
        assert found["low"] <= found["value"] <= found["high"]
        assert ranked[name]["seeds"] == len(rights)
        if len(rights) > 1:
            assert found["sd"] == pytest.approx(stdev(shares))
            assert found["by_seed"] == pytest.approx(shares)
    assert several["settings"]["seeds"] == 3
    assert list(ranked["dpo"]["training"]) == ["round1", "round1.seed2", "round1.seed3"]
    assert several["costs"]["recipes"]["dpo"]["own"]["jobs"] == 3


def test_every_seed_of_the_chosen_recipe_is_read(several: dict[str, Any]) -> None:
    assert several["choice"]["chosen"] == "dpo"
    rows = several["evaluation"]["rows"]
    assert set(rows) == {"sft", "dpo"}
    assert rows["dpo"]["seeds"] == 3
    assert rows["dpo"]["mean"]["value"] == pytest.approx(0.7)
    assert several["evaluation"]["tests"]["sft"]["dpo"]["greedy"]["difference"] == pytest.approx(0.3)
    sentence = several["verdict"]["sentence"]
    assert "which rank no recipe and were read once in this folder, mean of 3 training seeds: greedy 70.0%" in sentence
    assert plain(several) == several


def test_the_page_says_what_its_p_values_cover(several: dict[str, Any], tmp_path: Path) -> None:
    _, md = fill(several, page(several), top(several))
    said = " ".join(md.split())
    assert "500 resamples of seeds and, paired, of questions" in said
    assert "p values cover questions, not" not in said
    # sd of three trainings: dpo 10, rft 17.32 points
    assert "The same recipe trained again moves by 14.14 points of mean of 4 and 14.14 of greedy" in said
    assert "sd 10.00" in said
    assert "round 1, seed 3" in said
    assert "Recipes train on 5 to 8 examples in round 1" in said
    once = made(tmp_path, 1)
    _, md = fill(once, page(once), top(once))
    said = " ".join(md.split())
    assert "Each recipe was trained once: p values cover questions, not what another training seed would move" in said
    assert "resamples of seeds" not in said
    assert "| seeds |" not in said
    assert once["heldout"]["tests"]["sft"]["dpo"]["greedy"]["gained"] == 2  # the exact test


def test_names_of_seeds() -> None:
    assert of_seed("vote") == ("vote", 1)
    assert of_seed("vote.seed12") == ("vote", 12)
    assert [label(name) for name in ("round2.seed3", "sft.seed2", "vote.seed2", "round2")] == [
        "round 2, seed 3",
        "SFT, seed 2",
        "vote, seed 2",
        "round 2",
    ]
