"""A study of recipes: what they share and what each costs, and a whole one end to end on a model that flips coins."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, clone_to, demo_config, save_random_model, snakemake
from plans import edit_config, make_outputs, planned

from regime_w.config.files import configured, layers_of
from regime_w.config.recipes import Recipe, overlaid, recipes_of
from regime_w.config.schema import load
from regime_w.report import study
from regime_w.report.evaluation import Settings
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, read_jsonl
from scripts.choose_recipe import choose

TEMPLATE = "Question: {question}\nAnswer:\n"
STUDY = {
    "recipes": {"sft": {"method": "none"}, "rft": {"method": "rejection_sampling"}, "dpo": {}},
    "baselines": ["sft"],
    "reference": "dpo",
    "evaluate": {"k": 2},
}


def coin_flips(folder, name, n, seed):
    """Questions whose answer nobody can know: 1 or 2."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        side = rng.choice("12")
        rows.append({"question": f"{name} {number}?", "answer": f"It is {side}.\n#### {side}"})
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def model_of_flips(folder, texts):
    """A tiny Llama trained to answer in the right form, so that about half of its answers are correct."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_random_model(folder, bos=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = random.Random(0)
    for step in range(100):
        batch = tokenizer(rng.sample(texts, 16), return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / 100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A clone with the toy study's overlay, done by `snakemake study_report`."""
    data = tmp_path_factory.mktemp("data")
    train, evaluation = coin_flips(data, "train", 60, 0), coin_flips(data, "eval", 12, 1)
    styles = {"wolfram": "Style: exact.", "maudlin": "Style: careful."}
    texts = []
    for row in map(json.loads, train.read_text().splitlines()):
        prompt = TEMPLATE.format(question=row["question"])
        texts += [f"{style}\n\n{prompt}{row['answer']}</s>" for style in styles.values()]
    source = {"source": "file", "licence": "MIT"}
    overlay = {
        "extends": "configs/demo.yaml",
        "run": "toy",
        "questions": {
            "train": source | {"path": str(train), "n": None},
            "eval": {"flips": source | {"path": str(evaluation), "n": None}},
            "heldout_fraction": 0.2,
        },
        "base_model": {"source": "local", "path": str(model_of_flips(data / "model", texts))},
        "prompt": {"template": TEMPLATE},
        "sft": {"n_examples": 16, "learning_rate": 1e-5},
        "generate": {"n_samples": 30, "skip": 0, "max_new_tokens": 24, "shards": 1},
        "evaluate": {"k": 2, "max_new_tokens": 24},
        "study": STUDY,
        "rounds": 1,
    }
    folder = clone_to(tmp_path_factory.mktemp("toy") / "clone")
    (folder / "toy.yaml").write_text(yaml.safe_dump(overlay))
    done = snakemake(folder, "study_report", "--configfile", "toy.yaml", timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_the_toy_study_ends_with_a_report(toy):
    found = read_json(toy / "results/toy/study_report.json")
    assert {row["recipe"] for row in found["heldout"]["ranking"]} == {"sft", "rft", "dpo"}
    assert found["settings"]["heldout_questions"] == len(read_jsonl(toy / "data/toy/questions/heldout.jsonl"))
    assert all(0 < row["row"]["mean"]["value"] < 1 for row in found["heldout"]["ranking"])
    assert set(found["heldout"]["tests"]["sft"]) == {"rft", "dpo"}
    assert set(found["evaluation"]["rows"]) == {"sft", found["choice"]["chosen"]}
    page = (toy / "results/toy/study_report.html").read_text()
    for title in (
        "Did it help?",
        "What did it cost?",
        "Ranking on held-out questions",
        "Tests on held-out questions",
        "Cost",
    ):
        assert title in page


def test_the_toy_studys_recipes_share_all_but_their_own_stages(toy):
    assert len(list((toy / "checkpoints/toy").rglob("sft_lora/manifest.json"))) == 1
    assert len(list((toy / "data/toy").rglob("completions/*.jsonl"))) == 1
    costs = read_json(toy / "results/toy/study_report.json")["costs"]["recipes"]
    own = {name: spent["own"]["jobs"] for name, spent in costs.items()}
    # build_preferences or build_samples, train, merge, evaluate
    assert own == {"sft": 0, "rft": 4, "dpo": 4}


def test_rejection_sampling_trains_on_correct_trajectories_of_its_own_policy(toy):
    (samples,) = (toy / "data/toy").rglob("samples.jsonl")
    rollouts = {row["id"]: row for row in read_jsonl(toy / "data/toy/round1/rollouts.jsonl")}
    rows = read_jsonl(samples)
    for row in rows:
        own = [t for t in rollouts[row["id"]]["trajectories"] if t["full_text"] == row["completion"]]
        assert any(trajectory["correct"] for trajectory in own)
        assert row["prompt"].endswith(TEMPLATE.format(question=rollouts[row["id"]]["question"]))
    (manifest,) = (toy / "checkpoints/toy").rglob("rft_lora/manifest.json")
    assert read_json(manifest.with_name("training.json"))["examples"] == len(rows)
    assert (
        read_json(manifest)["made_from"]["policy"]
        == read_json(toy / "checkpoints/toy/sft_merged/manifest.json")["fingerprint"]
    )


def test_a_second_call_of_the_toy_study_has_nothing_to_do(toy):
    assert planned(toy, "--configfile", "toy.yaml", target="study_report") == {}


def test_a_run_without_rounds_has_a_report(toy):
    """method: none is SFT alone; the study evaluated its model already."""
    arguments = ("--configfile", "toy.yaml", "--config", "method=none")
    done = snakemake(toy, "eval_report", *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [model["name"] for model in read_json(toy / "results/toy/eval_report.json")["models"]] == ["base", "sft"]


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
    assert {rule: len(each) for rule, each in found.items()} == {"evaluate": 1, "study_report": 1}


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

    found = study.families(SCORES_OF, ["even", "bad", "even"], Settings(0.95, 2000, 0))
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
    alone = study.families({"even": SCORES_OF["even"], "some": some}, ["even"], Settings(0.95, 500, 0))
    assert alone["even"]["some"]["greedy"]["outcome"] == "better"
    twins = {"even": SCORES_OF["even"], "some": some, "same": some, "third": some}
    found = study.families(twins, ["even"], Settings(0.95, 500, 0))["even"]
    assert found["some"]["greedy"]["p_holm"] == pytest.approx(3 * 2 / 2**6)
    assert {own["greedy"]["outcome"] for own in found.values()} == {"unchanged"}


def recipe_record(name, mean, rounds, files):
    models = [{"row": {"mean": {"value": mean}, "greedy": {"value": 0.5}}} for _ in range(rounds + 1)]
    usage = [{"file": file, "seconds": 10.0, "gpu_seconds": 36.0, "cpu_seconds": 5.0} for file in files]
    return {"recipe": name, "models": models, "usage": usage}


def test_costs_count_what_is_shared_once():
    records = [
        recipe_record("a", 0.1, 1, ["sft", "rollouts", "dpo_a"]),
        recipe_record("b", 0.1, 1, ["sft", "rollouts", "pairs_b", "dpo_b"]),
        recipe_record("c", 0.1, 0, ["sft"]),
    ]
    found = study.costs(records, gpu_hour_usd=10.0)
    assert found["recipes"]["b"]["own"] == {
        "seconds": 20.0, "gpu_seconds": 72.0, "cpu_seconds": 10.0, "jobs": 2, "usd": pytest.approx(0.2),
    }  # fmt: skip
    assert found["recipes"]["b"]["total"]["jobs"] == 4
    assert found["recipes"]["c"]["own"]["jobs"] == 0
    assert found["all"]["jobs"] == 5


def test_the_best_on_the_held_out_questions_is_chosen():
    records = [recipe_record("b", 0.2, 3, []), recipe_record("c", 0.2, 1, []), recipe_record("a", 0.1, 1, [])]
    found = choose(records, None)
    assert found["chosen"] == "c"  # as good as b with fewer rounds
    assert [entry["recipe"] for entry in found["ranking"]] == ["c", "b", "a"]
    assert choose(records, "a")["chosen"] == "a"
    assert "study.chosen" in choose(records, "a")["by"]


def summary(chosen, scores, baselines=("even",)):
    """What the verdict reads."""
    settings = Settings(0.95, 2000, 0)
    estimate = {"value": 0.5}
    rows = {name: {"n": 40, "greedy": estimate, "mean": estimate} for name in scores}
    training = {"round1": {"alarm": "it fell"}}
    return {
        "choice": {"chosen": chosen},
        "settings": {"baselines": list(baselines), "k": 2},
        "evaluation": {"rows": rows, "tests": study.families(scores, list(baselines), settings)},
        "heldout": {
            "ranking": [{"recipe": chosen, "training": training}],
            "tests": study.families(SCORES_OF, list(baselines), settings),
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
    found = study.curves([{"recipe": "x", "models": [{"row": row}] * 3}, {"recipe": "y", "models": [{"row": row}] * 2}])
    assert list(found) == ["x"]
    assert [point["round"] for point in found["x"]] == [0, 1, 2]
    assert found["x"][2]["pass"] == {"value": 0.3}
