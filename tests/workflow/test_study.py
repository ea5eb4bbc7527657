"""A study of recipes: what they share, what each costs, and which stages a change makes again."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers import ROOT, clone_to, demo_config
from plans import edit_config, make_outputs, planned

from regime_w.config.files import configured, layers_of
from regime_w.config.recipes import Recipe, overlaid, read_by, recipes_of
from regime_w.config.schema import load
from regime_w.report import study
from regime_w.report.evaluation import Settings
from regime_w.runtime.errors import UserError
from scripts.choose_recipe import choose

DEMO_STUDY = {
    "recipes": {"sft": {"method": "none"}, "rejection_sampling": {"method": "rejection_sampling"}, "dpo": {}},
    "baselines": ["sft", "rejection_sampling"],
    "reference": "dpo",
}
LAST = Counter(study_recipe=1, choose_recipe=1, study_report=1)
DPO = Counter(train_dpo=1, merge_lora=1, evaluate=1)
RFT = Counter(train_rft=1, merge_lora=1, evaluate=1)
PAIRS = DPO + Counter(build_preferences=1)
SCORES = PAIRS + Counter(score_rollouts=1, check_rollouts=1)
ROLLOUTS = SCORES + Counter(generate=2)
PART = Counter(split_questions=1)
ADDED = [
    ({}, Counter()),
    ({"dpo": {"beta": 0.2}}, DPO),
    ({"dpo": {"loss_type": ["apo_zero"], "loss_weights": [1.0]}}, DPO),
    ({"pairs": {"per_question": 1}}, PAIRS),
    ({"pairs": {"train_prompt": "canonical"}}, PAIRS),
    ({"reward": {"coherence_level": "question"}}, SCORES),
    ({"generate": {"max_new_tokens": 60}}, ROLLOUTS),
    ({"arms": [{"name": f"hot_{n}", "style": "wolfram", "temperature": 1.2} for n in "ab"]}, ROLLOUTS),
    ({"generate": {"n_samples": 1500}}, ROLLOUTS + PART),
    ({"generate": {"new_questions": True}}, Counter()),
    ({"rounds": 2}, ROLLOUTS + PART),
    ({"dpo": {"beta": 0.2}, "rounds": 2}, DPO + ROLLOUTS + PART),
    ({"method": "rejection_sampling", "rejection_sampling": {"epochs": 2.0}}, RFT),
    ({"method": "rejection_sampling", "rejection_sampling": {"per_question": 1}}, RFT + Counter(build_samples=1)),
    ({"method": "rejection_sampling_then_dpo", "rounds": 2}, ROLLOUTS + PART),
    ({"sft": {"epochs": 2.0}}, ROLLOUTS + Counter(train_sft=1, merge_lora=1, evaluate=1)),
    ({"sft": {"method": "none"}}, ROLLOUTS),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone of the demo with a study whose files all exist and are recorded as made, and with the run's own report."""
    folder = clone_to(tmp_path_factory.mktemp("finished") / "clone")
    edit_config(folder, study=DEMO_STUDY, rounds=1)
    choice = folder / "results/demo/study_choice.json"
    choice.parent.mkdir(parents=True)
    choice.write_text('{"chosen": "dpo"}')
    # Which evaluations there are is known once the choice counts as made.
    for target in ("study_report", "study_report", "eval_report"):
        make_outputs(folder, target)
    assert planned(folder, target="study_report") == {}
    return folder


@pytest.fixture
def clone(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "clone", symlinks=True))


@pytest.mark.parametrize(("overlay", "jobs"), ADDED, ids=[json.dumps(overlay)[:60] for overlay, _ in ADDED])
def test_a_new_recipe_has_its_own_stages_only(overlay, jobs):
    _, recipes = recipes_of(config(recipes={"new": overlay} | DEMO_STUDY["recipes"]))
    new = recipes.pop("new")
    known = {(stage, place) for recipe in recipes.values() for stage, place in recipe.places.items()}
    own = Counter(stage for (stage, number), place in new.places.items() if ((stage, number), place) not in known)
    own["generate"] *= 2  # shards
    assert +own == jobs


SEEDED = DEMO_STUDY | {"seeds": 3}
SEED = demo_config()["seed"]
TWO_SEEDS = {rule: 2 * count for rule, count in (DPO + RFT).items()}


def test_a_seed_trains_again_and_shares_all_that_comes_before():
    _, recipes = recipes_of(config(**SEEDED))
    assert list(recipes) == ["sft"] + [
        f"{name}{seed}" for name in ("rejection_sampling", "dpo") for seed in ("", ".seed2", ".seed3")
    ]
    assert [(each.of, each.seed) for each in recipes.values()][-2:] == [("dpo", 2), ("dpo", 3)]
    assert recipes["dpo"].places == recipes_of(config())[1]["dpo"].places  # the first is the recipe as it was
    for name, stage in (("dpo", "train_dpo"), ("rejection_sampling", "train_rft")):
        folders = set()
        for seed, recipe in enumerate((recipes[name], recipes[f"{name}.seed2"], recipes[f"{name}.seed3"])):
            assert read_by(stage, 1, recipe.config) == read_by(stage, 1, recipes[name].config) | {"seed": SEED + seed}
            assert recipe.examples(1) == recipes[name].examples(1)
            folders.add(recipe.adapter(1))
        assert len(folders) == 3


def test_a_seed_goes_its_own_way_from_round_1_on():
    first, second = (
        recipes_of(config(**SEEDED | {"recipes": DEMO_STUDY["recipes"] | {"two": {"rounds": 2}}}))[1][n]
        for n in ("two", "two.seed2")
    )
    assert first.rollouts(1) == second.rollouts(1)
    assert first.questions(2) == second.questions(2)
    for what in ("rollouts", "examples", "adapter"):
        assert getattr(first, what)(2) != getattr(second, what)(2)


def test_an_sft_of_its_own_is_trained_again_and_the_runs_is_not():
    more = {"long": {"method": "none", "sft": {"epochs": 9.0}}, "taken": {"method": "none", "sft": {"adapter": "lora"}}}
    recipes = recipes_of(config(**SEEDED | {"recipes": DEMO_STUDY["recipes"] | more}))[1]
    assert {"long.seed2", "long.seed3"} <= set(recipes)
    assert not {"sft.seed2", "taken.seed2"} & set(recipes)
    assert recipes["long"].questions(0) == recipes["long.seed2"].questions(0)
    assert recipes["long"].adapter(0) != recipes["long.seed2"].adapter(0)
    told = read_by("train_sft", 0, recipes["long.seed2"].config)
    assert (told["seed"], told["training_seed"]) == (SEED, SEED + 1)  # sums to practise stay the same


def test_seeds_may_be_named():
    recipes = recipes_of(config(seeds=[7, SEED]))[1]
    assert read_by("train_dpo", 1, recipes["dpo"].config)["seed"] == 7
    assert set(recipes["dpo.seed2"].places.values()) == {"demo"}  # the run's own seed
    fixed = DEMO_STUDY["recipes"] | {"mine": {"dpo": {"seed": 5}}}
    assert read_by("train_dpo", 1, recipes_of(config(recipes=fixed))[1]["mine"].config)["seed"] == 5
    assert read_by("train_dpo", 1, recipes_of(config(recipes=fixed, seeds=2))[1]["mine.seed2"].config)["seed"] == 6
    with pytest.raises(UserError, match=r"study\.seeds and dpo\.seed, of mine, both name a seed"):
        recipes_of(config(recipes=fixed, seeds=[7, 8]))
    with pytest.raises(UserError, match="seeds names a seed twice"):
        config(seeds=[7, 7])


def test_the_build_makes_a_seeds_own_stages_only(clone):
    edit_config(clone, study=SEEDED)
    found = planned(clone, target="study_report")
    # Nothing is sampled or paired again. Which seeds are read on `eval`, too, is known with the choice.
    expected = Counter(TWO_SEEDS) + Counter(study_recipe=4, choose_recipe=1, study_report=1)
    assert {rule: len(each) for rule, each in found.items()} == dict(expected)
    choice = clone / "results/demo/study_choice.json"
    choice.write_text('{"chosen": "sft"}')
    make_outputs(clone, "study_report")
    choice.write_text('{"chosen": "dpo"}')
    found = planned(clone, target="study_report")
    assert {rule: len(each) for rule, each in found.items()} == {
        "evaluate": 8,
        "study_report": 1,
    }  # baseline, chosen; two sets


@pytest.mark.parametrize("index", [1, 10, 12, 15])
def test_the_build_makes_a_new_recipes_own_stages_only(clone, index):
    overlay, jobs = ADDED[index]
    edit_config(clone, study=DEMO_STUDY | {"recipes": {"new": overlay} | DEMO_STUDY["recipes"]})
    found = planned(clone, target="study_report")
    assert {rule: len(each) for rule, each in found.items()} == dict(jobs + LAST)


def test_the_study_changes_nothing_in_the_runs_own_report(clone):
    edit_config(clone, study=DEMO_STUDY | {"recipes": {"new": {"dpo": {"beta": 0.2}}} | DEMO_STUDY["recipes"]})
    assert planned(clone) == {}
    edit_config(clone, study=None)
    assert planned(clone) == {}


def test_a_recipe_that_leaves_costs_the_choice_and_the_report(clone):
    recipes = {name: overlay for name, overlay in DEMO_STUDY["recipes"].items() if name != "rejection_sampling"}
    edit_config(clone, study=DEMO_STUDY | {"recipes": recipes, "baselines": ["sft"]})
    assert set(planned(clone, target="study_report")) == {"choose_recipe", "study_report"}


def test_a_part_of_the_study_is_run_with_the_baselines_and_the_reference(clone):
    more = {"a": {"dpo": {"beta": 0.2}}, "b": {"dpo": {"beta": 0.3}}}
    edit_config(clone, study=DEMO_STUDY | {"recipes": DEMO_STUDY["recipes"] | more})
    found = planned(clone, "--config", "study={only: [b]}", target="study_report")
    assert {rule: len(each) for rule, each in found.items()} == dict(DPO + LAST)


def test_another_choice_reads_the_evaluation_questions_once_more(clone):
    recipes = DEMO_STUDY["recipes"] | {"beta": {"dpo": {"beta": 0.2}}}
    edit_config(clone, study=DEMO_STUDY | {"recipes": recipes})
    make_outputs(clone, "study_report")
    (clone / "results/demo/study_choice.json").write_text('{"chosen": "beta"}')
    found = planned(clone, target="study_report")
    assert {rule: len(each) for rule, each in found.items()} == {"evaluate": 2, "study_report": 1}


def config(**study):
    raw = demo_config()
    return load(raw | {"rounds": 1, "study": DEMO_STUDY | study})


def test_the_runs_own_stages_stand_below_its_name():
    own, recipes = recipes_of(config())
    for number in (0, 1, 5):
        assert own.model(number) == "checkpoints/demo/" + (f"round{number}/merged" if number else "sft_merged")
    assert recipes["dpo"].model(1) == own.model(1)
    assert recipes["dpo"].answers(1, "heldout") == "data/demo/answers/heldout/round1.jsonl"


def test_a_recipe_without_sft_samples_from_the_base():
    """What it makes of it is its own, the questions and the base's answers are the run's."""
    new = recipes_of(config(recipes=DEMO_STUDY["recipes"] | {"new": {"sft": {"method": "none"}}}))[1]["new"]
    assert new.models == ["base", "round1"]
    assert new.model(0) == "checkpoints/demo/base"
    assert new.answers(0, "heldout") == "data/demo/answers/heldout/base.jsonl"
    assert new.questions(1) == "data/demo/questions/round1.jsonl"
    assert new.place("generate", 1).startswith("demo/study/")
    assert not {"train_sft", "merge_lora"} & {stage for stage, number in new.stages() if not number}


def test_folders_depend_on_differences_alone():
    """Neither a recipe's name, nor its neighbours, nor what the run changes elsewhere moves it."""
    beta = {"dpo": {"beta": 0.2}}
    place = recipes_of(config(recipes=DEMO_STUDY["recipes"] | {"x": beta}))[1]["x"].place("train_dpo", 1)
    raw = config(recipes={"y": beta, "z": {"rounds": 3}} | DEMO_STUDY["recipes"])
    raw["dpo"]["learning_rate"] = 1e-4
    again = recipes_of(raw)[1]["y"]
    assert again.place("train_dpo", 1) == place
    assert again.place("generate", 1) == "demo"
    assert place.startswith("demo/study/")
    assert place != recipes_of(config(recipes=DEMO_STUDY["recipes"] | {"x": {"dpo": {"beta": 0.3}}}))[1]["x"].place(
        "train_dpo", 1
    )


def test_a_recipe_that_says_what_the_run_says_is_the_run():
    raw = config(recipes=DEMO_STUDY["recipes"] | {"same": {"dpo": {"beta": 0.03}, "pairs": {"per_question": 2}}})
    assert set(recipes_of(raw)[1]["same"].places.values()) == {"demo"}


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"recipes": {"x": {"evaluate": {"k": 2}}}, "baselines": ["x"], "reference": "x"}, "cannot change 'evaluate'"),
        ({"recipes": {"x": {"dpo": {"bata": 1}}}, "baselines": ["x"], "reference": "x"}, "study.recipes.x: .*'beta'"),
        (
            {"recipes": {"x": {"reward": {"beta": 3.0}}}, "baselines": ["x"], "reference": "x"},
            "study.recipes.x: .*wrong",
        ),
        ({"recipes": {"x": {"dpo": {"loss_type": ["simpo"]}}}, "baselines": ["x"], "reference": "x"}, "loss_type"),
        ({"baselines": ["nobody"]}, "baselines: 'nobody' is not under recipes"),
        ({"only": ["nobody"]}, "only: 'nobody' is not under recipes"),
        ({"only": ["sft"], "chosen": "dpo", "reference": "sft"}, "chosen: 'dpo' is not among"),
        (
            {"recipes": {"x": {"method": "rejection_sampling_then_dpo"}}, "baselines": ["x"], "reference": "x"},
            "needs rounds: 2",
        ),
    ],
)
def test_recipes_that_cannot_be_end_in_one_line(study, message):
    with pytest.raises(UserError, match=message):
        recipes_of(config(**study))


def test_a_study_needs_held_out_questions():
    raw = demo_config()
    with pytest.raises(UserError, match="heldout_fraction above 0"):
        load(raw | {"study": DEMO_STUDY, "questions": raw["questions"] | {"heldout_fraction": 0.0}})


def test_the_shipped_grid_is_sound_and_shares_its_rollouts():
    _, whole = configured(layers_of([ROOT / "configs/smollm2.yaml"]), gpus=1)
    own, recipes = recipes_of(whole)
    assert {"sft", "rejection_sampling", "rejection_sampling_then_dpo", "rounds_3", "hot"} <= set(recipes)
    # Each recipe makes a model of its own: none is the same as another.
    assert len({recipe.model(recipe.rounds) for recipe in recipes.values()}) == len(recipes)
    for name, recipe in recipes.items():
        if recipe.rounds:
            own_rollouts = {"arms", "sft", "generate"} & whole["study"]["recipes"][name].keys()
            assert (recipe.place("generate", 1) != own.run) == bool(own_rollouts)


def test_overlays_change_nested_keys_and_replace_lists():
    changed = overlaid(
        config(recipes={"x": {"dpo": {"loss_type": ["ipo"], "loss_weights": [1.0]}}} | DEMO_STUDY["recipes"]), "x"
    )
    assert changed["dpo"]["loss_type"] == ["ipo"]
    assert changed["dpo"]["lora"] == config()["dpo"]["lora"]


def test_methods_of_rounds():
    raw = config(recipes=DEMO_STUDY["recipes"] | {"x": {"method": "rejection_sampling_then_dpo", "rounds": 3}})
    recipe = recipes_of(raw)[1]["x"]
    assert [recipe.method(number) for number in (1, 2, 3)] == ["rejection_sampling", "dpo", "dpo"]
    assert recipe.adapter(1).endswith("round1/rft_lora")
    assert recipe.adapter(2).endswith("round2/dpo_lora")
    assert recipe.examples(1).endswith("samples.jsonl")
    assert Recipe("sft", overlaid(raw, "sft"), raw).rounds == 0


# 40 questions, two samples each: `good` has both right on all, `even` one, `bad` none; `alike` differs from `even` on one.
def answers(right, greedy):
    n = len(right)
    return {
        "mean": [count / 2 for count in right],
        "greedy": greedy,
        "majority": greedy,
        "pass": [float(count > 0) for count in right],
    } | {"n": n}


SCORES_OF = {
    "good": answers([2] * 40, [1.0] * 40),
    "alike": answers([2] + [1] * 39, [1.0] * 21 + [0.0] * 19),
    "even": answers([1] * 40, [1.0] * 20 + [0.0] * 20),
    "bad": answers([0] * 40, [0.0] * 40),
}


def test_tests_are_paired_and_adjusted_for_their_number():
    from statsmodels.stats.multitest import multipletests

    found = study.families(seeds_of(SCORES_OF), ["even", "bad", "even"], Settings(0.95, 2000, 0))
    assert list(found) == ["even", "bad"]
    assert set(found["even"]) == {"good", "alike", "bad"}
    good = found["even"]["good"]
    assert good["mean"]["difference"] == pytest.approx(0.5)
    assert (good["greedy"]["gained"], good["greedy"]["lost"]) == (20, 0)
    assert good["greedy"]["p"] == pytest.approx(2 / 2**20)
    assert good["mean"]["outcome"] == "better"
    assert found["even"]["alike"]["mean"]["outcome"] == "unchanged"
    assert found["even"]["bad"]["pass"]["outcome"] == "worse"
    for family in found.values():
        for metric in study.METRICS:
            p = [own[metric]["p"] for own in family.values()]
            adjusted = [own[metric]["p_holm"] for own in family.values()]
            assert adjusted == pytest.approx(multipletests(p, method="holm")[1])


def test_significance_is_that_of_the_adjusted_p():
    """Alone, 6 gained against none has p = 0.031; among three recipes it is 0.094."""
    some = answers([1] * 40, [1.0] * 26 + [0.0] * 14)
    alone = study.families(seeds_of({"even": SCORES_OF["even"], "some": some}), ["even"], Settings(0.95, 500, 0))
    assert alone["even"]["some"]["greedy"]["outcome"] == "better"
    twins = {"even": SCORES_OF["even"], "some": some, "same": some, "third": some}
    found = study.families(seeds_of(twins), ["even"], Settings(0.95, 500, 0))["even"]
    assert found["some"]["greedy"]["p_holm"] == pytest.approx(3 * 2 / 2**6)
    assert {own["greedy"]["outcome"] for own in found.values()} == {"unchanged"}


def seeds_of(scores):
    """Recipes that were trained once."""
    return {name: [own] for name, own in scores.items()}


def recipe_record(name, mean, rounds, files, seed=1):
    models = [{"row": {"mean": {"value": mean}, "greedy": {"value": 0.5}}} for _ in range(rounds + 1)]
    usage = [{"file": file, "seconds": 10.0, "gpu_seconds": 36.0, "cpu_seconds": 5.0} for file in files]
    return {"recipe": name, "seed": seed, "models": models, "usage": usage}


def test_costs_count_what_is_shared_once():
    records = [
        recipe_record("a", 0.1, 1, ["sft", "rollouts", "dpo_a"]),
        recipe_record("b", 0.1, 1, ["sft", "rollouts", "pairs_b", "dpo_b"]),
        recipe_record("c", 0.1, 0, ["sft"]),
        recipe_record("a", 0.1, 1, ["sft", "rollouts", "dpo_a2"], seed=2),
    ]
    found = study.costs(study.by_recipe(records), gpu_hour_usd=10.0)
    assert found["recipes"]["b"]["own"] == {
        "seconds": 20.0, "gpu_seconds": 72.0, "cpu_seconds": 10.0, "jobs": 2, "usd": pytest.approx(0.2),
    }  # fmt: skip
    assert found["recipes"]["b"]["total"]["jobs"] == 4
    assert found["recipes"]["c"]["own"]["jobs"] == 0
    assert found["recipes"]["a"]["own"]["jobs"] == 2  # one a seed
    assert found["recipes"]["a"]["total"]["jobs"] == 4
    assert found["all"]["jobs"] == 6


def test_the_best_on_the_held_out_questions_is_chosen():
    records = [recipe_record("b", 0.2, 3, []), recipe_record("c", 0.2, 1, []), recipe_record("a", 0.1, 1, [])]
    found = choose(records, None)
    assert found["chosen"] == "c"  # as good as b with fewer rounds
    assert [entry["recipe"] for entry in found["ranking"]] == ["c", "b", "a"]
    assert choose(records, "a")["chosen"] == "a"
    assert "study.chosen" in choose(records, "a")["by"]


def test_the_mean_over_seeds_chooses():
    """The best single training is not the best recipe."""
    values = {"lucky": (0.3, 0.1, 0.1), "steady": (0.2, 0.2, 0.19)}
    records = [
        recipe_record(name, mean, 1, [], seed) for name, means in values.items() for seed, mean in enumerate(means, 1)
    ]
    found = choose(records, None)
    assert found["chosen"] == "steady"
    assert [(entry["recipe"], entry["seeds"]) for entry in found["ranking"]] == [("steady", 3), ("lucky", 3)]
    assert found["ranking"][0]["mean"] == pytest.approx(0.59 / 3)


def test_what_one_training_shows_several_may_not():
    """All questions of one seed right, none of the other: over questions alone the recipe is far above `even`."""
    seeds = {"even": [SCORES_OF["even"]], "moody": [SCORES_OF["good"], SCORES_OF["even"], SCORES_OF["bad"]]}
    settings = Settings(0.95, 4000, 0)
    alone = study.families({"even": seeds["even"], "moody": seeds["moody"][:1]}, ["even"], settings)["even"]["moody"]
    assert alone["mean"]["outcome"] == alone["greedy"]["outcome"] == "better"
    found = study.families(seeds, ["even"], settings)["even"]["moody"]
    for metric in ("mean", "greedy"):
        assert found[metric]["difference"] == pytest.approx(0.0)
        assert found[metric]["outcome"] == "unchanged"
        assert found[metric]["low"] < -0.3 < 0.3 < found[metric]["high"]
    steady = study.families({"even": seeds["even"], "steady": [SCORES_OF["good"]] * 3}, ["even"], settings)
    assert steady["even"]["steady"]["mean"]["outcome"] == "better"


def test_the_spread_over_seeds_is_pooled():
    rows = [
        {"seeds": 3, "row": {"mean": {"sd": 0.01}}},
        {"seeds": 2, "row": {"mean": {"sd": 0.04}}},
        {"seeds": 1, "row": {}},
    ]
    assert study.spread(rows, "mean") == pytest.approx(((2 * 0.01**2 + 0.04**2) / 3) ** 0.5)
    assert study.spread(rows[2:], "mean") is None


def summary(chosen, scores, baselines=("even",)):
    """What the verdict reads."""
    settings = Settings(0.95, 2000, 0)
    estimate = {"value": 0.5}
    rows = {name: {"n": 40, "greedy": estimate, "mean": estimate} for name in scores}
    training = {"round1": {"alarm": "it fell"}}
    return {
        "choice": {"chosen": chosen},
        "set": "test",
        "readings": {},
        "settings": {"baselines": list(baselines), "k": 2},
        "evaluation": {"rows": rows, "tests": study.families(seeds_of(scores), list(baselines), settings)},
        "heldout": {
            "ranking": [{"recipe": chosen, "training": training}],
            "tests": study.families(seeds_of(SCORES_OF), list(baselines), settings),
        },
    }


@pytest.mark.parametrize(
    ("chosen", "status", "said"),
    [
        ("good", "gain", "good is significantly better than even"),
        ("alike", "unchanged", "alike is not significantly better than even"),
        ("bad", "regression", "bad is significantly below even"),
        ("even", "unchanged", "No recipe is above the baseline even on the held-out questions"),
    ],
)
def test_verdict(chosen, status, said):
    found = study.verdict(summary(chosen, {name: SCORES_OF[name] for name in {"even", chosen}}))
    assert (found["status"], found["headline"]) == (status, said)
    assert any("Significantly below even on the held-out questions: bad" in note for note in found["notes"])
    assert any("Training alarm in round 1" in note for note in found["notes"])


def test_a_gain_must_be_over_every_baseline():
    scores = {name: SCORES_OF[name] for name in ("even", "bad", "alike")}
    found = study.verdict(summary("alike", scores, baselines=("even", "bad")))
    assert found["headline"] == "alike is not significantly better than even"


def test_fewer_found_questions_are_a_loss_whatever_the_mean():
    """The mean rises, but pass@k falls: every question has both samples right, or none."""
    narrow = answers([2] * 32 + [0] * 8, [1.0] * 20 + [0.0] * 20)
    found = study.verdict(summary("narrow", {"even": SCORES_OF["even"], "narrow": narrow}))
    assert found["status"] == "regression"


def test_curves_have_a_point_a_round():
    row = {metric: {"value": 0.1} for metric in ("mean", "greedy", "majority")} | {
        "k": 2,
        "pass": {"2": {"value": 0.3}},
    }
    models = {"x": [{"models": [{"row": row}] * 3}], "y": [{"models": [{"row": row}] * 2}]}
    found = study.curves(models, Settings(0.95, 500, 0))
    assert list(found) == ["x"]
    assert [point["round"] for point in found["x"]] == [0, 1, 2]
    assert found["x"][2]["pass"] == {"value": 0.3}
