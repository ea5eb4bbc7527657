"""The quoted figures are those of the records beside them: counted again from the texts, graded again, or from the
scores of each question where the texts are not kept."""

import json
import lzma
import re
from statistics import mean, median, stdev

import pytest
from helpers import ROOT

from regime_w.method.pairs import similarity_of
from regime_w.method.sums import first_slip, holds
from regime_w.report.evaluation import Settings, model_row, scores
from regime_w.report.inputs import note_sums
from regime_w.runtime.records import read_json
from regime_w.training.trainer import COMPILE_PASSES
from scripts.benchmark.benchmark_report import dpo_flops, joined, mfu, peak_of
from scripts.evaluate import grade

SETTINGS = Settings(level=0.95, n_boot=10_000, seed=0)
STUDY = Settings(level=0.95, n_boot=20_000, seed=0)
RESULTS = (ROOT / "docs/RESULTS.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCALING = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
FLOWING = " ".join(RESULTS.split())  # sentences break over lines


def graded_again(row):
    def again(out):
        kept = {name: out[name] for name in ("text", "num_tokens", "finish_reason")}
        return grade(kept | {"answer_start": 0}, out["seed"], row["gold_answer"])

    return row | {"greedy": again(row["greedy"]), "samples": [again(out) for out in row["samples"]]}


def share(measure):
    return f"{100 * measure['value']:.1f} % ({100 * measure['low']:.1f} to {100 * measure['high']:.1f})"


def table_row(name, found, columns=("greedy", "mean", "majority")):
    cells = [share(found[column]) for column in columns]
    well_formed = 100 * found["format"]["greedy"]["well_formed"]
    return " | ".join([f"| {name}", *cells, share(found["pass"]["8"]), f"{well_formed:.1f} % |"])


def lines(path):
    """Of a compressed JSONL file below docs/results."""
    with lzma.open(ROOT / "docs/results" / path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(("model", "name"), [("base", "base"), ("sft", "SFT"), ("round1", "round 1")])
def test_smollm2_table(model, name):
    of = kept("smollm2")["scores"]["eval"][model]
    assert table_row(name, row_of_scores(of, SETTINGS)) in RESULTS


def row_of(model, rows, settings):
    """What the report says of a model."""
    for row in rows:
        note_sums(row)
    return model_row(model, rows, settings)


def records(name, *keys):
    """Records of docs/results/{name} by the values of `keys`, graded again."""
    found = {}
    for row in lines(f"{name}/records.jsonl.xz"):
        found.setdefault(tuple(row.pop(key) for key in keys), []).append(row)
        assert graded_again(row) == row
    return found


def kept(name):
    """What docs/results/{name} keeps instead of texts: `scores` by part, recipe and measure, a value a question of `ids`."""
    [found] = lines(f"{name}/scores.json.xz")
    return found


def row_of_scores(of, settings):
    """What `table_row` needs of `row_of`, from scores of 8 samples a question."""
    found = {measure: settings.mean(values) for measure, values in of.items()}
    return found | {"pass": {"8": found["pass"]}, "format": {"greedy": {"well_formed": mean(of["well_formed"])}}}


def test_demo_table():
    names = {"base": "base", "sft": "SFT", "round1": "round 1", "round2": "round 2"}
    found = records("demo", "model")
    assert [model for (model,) in found] == list(names)
    for (model,), rows in found.items():
        assert table_row(names[model], row_of(model, rows, SETTINGS)) in RESULTS


def heldout_row(recipe, of):
    """The table's row from scores of each question, `of` every recipe."""
    cells = [f"| {recipe}", *(share(STUDY.mean(of[recipe][measure])) for measure in ("mean", "greedy", "pass"))]
    for other in ("sft", "dpo"):
        found = STUDY.difference(*(of[name]["mean"] for name in (recipe, other)))
        difference, low, high = (f"{100 * found[key]:+.1f}" for key in ("difference", "low", "high"))
        cells.append("" if recipe == other else f"{difference} ({low} to {high})")
    return " | ".join(cells) + " |"


def heldout_scores(found):
    return {recipe: scores(rows) for (part, recipe), rows in found.items() if part == "heldout"}


def check_heldout(of, number):
    """The table of so many recipes, of the held-out questions."""
    assert len(of) == number
    for recipe in of:
        assert heldout_row(recipe, of) in RESULTS


def evaluation_rows(found):
    return {recipe: row_of(recipe, rows, STUDY) for (part, recipe), rows in found.items() if part == "eval"}


def check_evaluations(rows, recipes):
    """The table of the recipes that were read on the evaluation questions."""
    assert list(rows) == recipes
    for recipe, row in rows.items():
        assert table_row(recipe, row, ("mean", "greedy", "majority")) in RESULTS


def test_demo_study():
    found = records("demo_study", "part", "recipe")
    check_heldout(heldout_scores(found), 21)
    check_evaluations(evaluation_rows(found), ["sft", "rejection_sampling", "rounds_2"])


def test_first_study():
    of = kept("smollm2_study")["scores"]
    # "NAME, round 2" is a round on a recipe's way, quoted in the text
    check_heldout({recipe: found for recipe, found in of["heldout"].items() if ", round" not in recipe}, 21)
    rows = {recipe: row_of_scores(found, STUDY) for recipe, found in of["eval"].items()}
    check_evaluations(rows, ["sft", "rejection_sampling", "rejection_sampling_rounds_3"])


def test_second_study():
    found = kept("smollm2_study_2")
    check_heldout(found["scores"]["heldout"], 13)
    check_evaluations(found["report"]["evaluation"]["rows"], ["sft", "rejection_sampling", "sft_lr_1e-3"])


def test_third_study():
    of = kept("smollm2_study_3")["scores"]
    check_heldout(of["heldout"], 5)
    read = row_of_scores(of["eval"]["rejection_sampling"], STUDY)
    assert f"mean of 8 {share(read['mean'])}, greedy {share(read['greedy'])}" in RESULTS


@pytest.fixture(scope="module")
def fourth():
    return records("smollm2_study_4", "part", "recipe")


def test_fourth_study(fourth):
    check_heldout(heldout_scores(fourth), 20)
    after_four = ["sft_4_epochs", "rounds_2_sft_4", "rejection_sampling_sft_4", "sft_all_4_epochs"]
    check_evaluations(evaluation_rows(fourth), ["sft", "rejection_sampling", *after_four])
    for recipe, found in read_json(ROOT / "docs/results/smollm2_study_4/right_in_rollouts.json").items():
        assert f"(`{recipe}`) | {found['right']} % | {found['pairs']:,} of {found['questions']:,} |" in RESULTS


def check_interval(ours, theirs, said):
    """The sentence has the difference and its interval."""
    found = STUDY.difference(ours, theirs)
    assert said.format(*(f"{100 * found[key]:.1f}" for key in ("difference", "low", "high"))) in FLOWING
    return found


def check_difference(ours, theirs, said, significant):
    """The sentence has the difference, its interval and, where it gives one, p."""
    found = check_interval(ours, theirs, said)
    assert (found["p"] < 0.05) == significant
    after = said.rpartition("}")[2]
    if stated := re.search(r"p = ([\d.]+)", after):
        assert f"{found['p']:.3f}" == stated[1]
    assert (found["p"] < 0.001) == ("p < 0.001" in after)


@pytest.mark.parametrize(
    ("part", "recipe", "other", "said", "significant"),
    [
        ("heldout", "dpo", "sft", "One round on them gains {} points ({} to {}, p < 0.001)", True),
        ("heldout", "dpo_seen", "sft", "as many questions that SFT learnt {} ({} to {}), on the", False),
        ("heldout", "dpo_new_numbers", "sft", "same with new numbers {} ({} to {}). The differences", False),
        ("heldout", "dpo", "dpo_seen", "The differences are {} ({} to {}, p = 0.003)", True),
        ("heldout", "dpo", "dpo_new_numbers", "p = 0.003) and {} ({} to {}, p < 0.001)", True),
        ("eval", "rounds_2_sft_4", "sft_4_epochs", "mean of 8 +{} points ({} to {}, p < 0.001)", True),
        ("eval", "rounds_2_sft_4", "rejection_sampling_sft_4", "p < 0.001) and +{} ({} to {}, p = 0.008)", True),
        ("heldout", "rounds_2_sft_4", "sft_4_epochs", "it is +{} over SFT ({} to {}, p = 0.012)", True),
        ("heldout", "rounds_2_sft_4", "rejection_sampling_sft_4", "+{} over rejection sampling ({} to {})", False),
        ("heldout", "dpo", "rejection_sampling", "rejection sampling differ by +{} ({} to {}), -0.0", False),
        ("heldout", "rounds_3", "rejection_sampling_rounds_3", "-0.0 and +{} ({} to {}) points after", False),
        ("eval", "sft_all_4_epochs", "rounds_2_sft_4", "+{} over `rounds_2_sft_4` ({} to {})", False),
        ("heldout", "sft_all_4_epochs", "sft_8_epochs", "them: {} points ({} to {}, p = 0.049)", True),
        ("heldout", "dpo_sft_all", "sft_all", "`dpo_sft_all` {} against `sft_all`, {} to {}", False),
        ("heldout", "loss_sft_1", "dpo", "worse than 5 ({}, {} to {}, p = 0.036)", True),
    ],
)
def test_differences_of_the_fourth_study(fourth, part, recipe, other, said, significant):
    ours, theirs = (scores(fourth[part, name])["mean"] for name in (recipe, other))
    check_difference(ours, theirs, said, significant)


def test_wrong_sums_of_the_fourth_study(fourth):
    """Of each recipe: mean of 16, answers with a wrong sum, and how many of the others are right."""
    shares = []
    for recipe in (
        "sft_originals",
        "sft",
        "sft_4_epochs",
        "sft_8_epochs",
        "sft_all_4_epochs",
        "dpo",
        "rejection_sampling",
    ):
        right = []
        outs = [out for row in fourth["heldout", recipe] for out in row["samples"]]
        sums_hold = [out for out in outs if holds(out["text"])]
        for part in (outs, sums_hold):
            right.append(sum(out["correct"] for out in part) / len(part))
        shares.append(right[1])
        wrong = 1 - len(sums_hold) / len(outs)
        assert f"| {recipe} | {100 * right[0]:.1f} % | {100 * wrong:.1f} % | {100 * right[1]:.1f} % |" in RESULTS
    assert f"between {100 * min(shares):.1f} and {100 * max(shares):.1f} %" in RESULTS
    wrong = [out for row in fourth["eval", "sft_all_4_epochs"] for out in row["samples"] if not out["correct"]]
    slips = [first_slip(out["text"]) is not None for out in wrong]
    assert f"of its wrong answers on Platinum {sum(slips) / len(slips):.0%}".replace("%", " %") in FLOWING


@pytest.fixture(scope="module")
def fifth():
    found = records("smollm2_study_5", "part", "recipe")
    return {key: (scores(rows), rows) for key, rows in found.items()}


def test_fifth_study(fifth):
    of = {recipe: found for (part, recipe), (found, _) in fifth.items() if part == "heldout"}
    check_heldout(of, 17)
    rows = evaluation_rows({key: rows for key, (_, rows) in fifth.items()})
    read = "sft sft_no_sums sft_all_4_epochs dpo rejection_sampling rejection_sampling_lr_3e-4 lr_2e-4 lr_4e-4_rounds_1"
    check_evaluations(rows, [*read.split(), "lr_4e-4_rollouts_15200"])
    for policy, rate in read_json(ROOT / "docs/results/smollm2_study_5/right_in_rollouts.json").items():
        assert f"| {policy} | {rate} % | {100 * STUDY.mean(of[policy]['mean'])['value']:.1f} % |" in RESULTS
    shares = [
        wrong_sums([out for row in rows for out in row["samples"]])
        for rows in (fifth[part, recipe][1] for part in ("heldout", "eval") for recipe in ("sft", "sft_no_sums"))
    ]
    numbers = [share.removesuffix(" %") for share in shares]
    said = "{} instead of {} % of held-out answers have one ({} and {} % on Platinum)"
    assert said.format(*numbers) in FLOWING


@pytest.mark.parametrize(
    ("measure", "part", "recipe", "other", "said", "significant"),
    [
        ("mean", "eval", "dpo", "sft", "on Platinum +{} points ({} to {}, p = 0.002)", True),
        ("mean", "heldout", "dpo", "sft", "held out +{} ({} to {}, p = 0.013)", True),
        ("pass", "eval", "dpo", "sft", "pass@8 {} ({} to {}), greedy", False),
        ("greedy", "eval", "dpo", "sft", "greedy +{} ({} to {}): not significant", False),
        ("mean", "eval", "rejection_sampling", "sft", "+{} over SFT on Platinum ({} to {}, p < 0.001)", True),
        ("mean", "both", "dpo", "rejection_sampling", "DPO differs from it by {} ({} to {}), from", False),
        ("mean", "both", "dpo", "rejection_sampling_lr_3e-4", "rejection sampling at 3e-4 by +{} ({} to {}).", False),
        ("mean", "both", "dpo", "sft_all_4_epochs", "`sft_all_4_epochs` on both sets +{} ({} to {})", False),
        ("mean", "heldout", "lr_4e-4_rounds_1", "rounds_1", "(+{} over one at 1e-4, {} to {})", False),
        ("mean", "heldout", "lr_4e-4", "lr_4e-4_rounds_1", "second round adds nothing ({}, {} to {})", False),
        ("mean", "both", "lr_4e-4_rollouts_15200", "lr_4e-4_rounds_1", "no better ({} on both sets, {} to {})", False),
        ("mean", "both", "sft", "sft_no_sums", "on both sets +{} ({} to {}). **Pairs", False),
        ("mean", "heldout", "calculations_2_rounds_1", "rounds_1", "against `rounds_1` {} ({} to {})", False),
    ],
)
def test_differences_of_the_fifth_study(fifth, measure, part, recipe, other, said, significant):
    parts = ("heldout", "eval") if part == "both" else (part,)
    ours, theirs = ([value for own in parts for value in fifth[own, name][0][measure]] for name in (recipe, other))
    check_difference(ours, theirs, said, significant)


def test_the_fifth_study_against_the_fourth(fourth, fifth):
    for part, said, significant in (
        ("eval", "+{} points there ({} to {}, p < 0.001)", True),
        ("heldout", "+{} on the held-out questions ({} to {}); more", False),
    ):
        ours, theirs = fifth[part, "sft_all_4_epochs"][0], scores(fourth[part, "sft_all_4_epochs"])
        check_difference(ours["mean"], theirs["mean"], said, significant)


def test_right_trajectories_are_near_copies():
    for policy, rate in read_json(ROOT / "docs/results/smollm2_study_3/right_in_rollouts.json").items():
        assert f"| {policy} | {rate} % |" in RESULTS
    alike = {"rollouts": [], "heldout": []}
    for row in lines("smollm2_study_3/correct_texts.jsonl.xz"):
        alike[row["part"]].append(similarity_of(row["gold"], row["text"]))
    near = {part: sum(value > 0.9 for value in values) / len(values) for part, values in alike.items()}
    there, here = alike["rollouts"], alike["heldout"]
    assert f"{near['rollouts']:.0%} are more".replace("%", " %") in RESULTS
    assert f"ratio; median {median(there):.2f}); of {len(here)} right samples" in RESULTS
    assert f"{near['heldout']:.0%} (median {median(here):.2f})".replace("%", " %") in RESULTS


def test_rollouts_of_questions_that_sft_learnt():
    found = records("demo_split", "part", "recipe")
    right = read_json(ROOT / "docs/results/demo_split/right_in_rollouts.json")
    of = heldout_scores(found)
    assert len(of) == 8
    for recipe in of:
        rate = f"{right[recipe]} %" if recipe in right else ""
        name = f"| {recipe} | "
        assert name + f"{rate} | " + heldout_row(recipe, of).removeprefix(name) in RESULTS
    for recipe, other, said in (
        ("dpo_8_epochs", "sft_8_epochs", "gains {} points** ({} to {}, p < 0.001)"),
        ("dpo_8_epochs_seen", "sft_8_epochs", "own {}** ({} to {})"),
        ("dpo_8_epochs", "dpo_8_epochs_seen", "between the two {} ({} to {}, p < 0.001)"),
    ):
        gain = check_interval(of[recipe]["mean"], of[other]["mean"], said)
        assert (gain["p"] < 0.001) == ("p < 0.001" in said)
    for recipe, row in evaluation_rows(found).items():
        assert f"{recipe} {100 * row['mean']['value']:.1f} %" in RESULTS


@pytest.fixture(scope="module")
def calculations():
    return records("demo_calculations", "part", "recipe")


def wrong_sums(outs):
    return f"{100 * sum(not holds(out['text']) for out in outs) / len(outs):.1f} %"


def test_calculation_pairs_of_the_demo(calculations):
    of = heldout_scores(calculations)
    assert len(of) == 18
    for recipe in of:
        rows = calculations["heldout", recipe]
        greedy, sampled = [row["greedy"] for row in rows], [out for row in rows for out in row["samples"]]
        assert f"{heldout_row(recipe, of)} {wrong_sums(greedy)} | {wrong_sums(sampled)} |" in RESULTS


@pytest.mark.parametrize(
    ("measure", "recipe", "other", "said"),
    [
        ("greedy", "calculations_4", "dpo", "`calculations_4` greedy +{} over `dpo` ({} to {})"),
        ("mean", "calculations_4", "dpo", "in mean of 8 {} ({} to {}). After"),
        ("mean", "calculations_1_rounds_2", "rounds_2", "`calculations_1_rounds_2` {} against `rounds_2` ({} to {})"),
        ("mean", "calculations_4_rounds_2", "rounds_2", "`calculations_4_rounds_2` {} ({} to {}); greedy"),
        ("greedy", "calculations_1_rounds_2", "rounds_2", "greedy +{} ({} to {}) and"),
        ("greedy", "calculations_4_rounds_2", "rounds_2", "and +{} ({} to {})."),
        ("mean", "calculations_2", "calculations_2_nll", "as with DPO (+{}, {} to {};"),
        ("greedy", "calculations_2", "calculations_2_nll", "; +{}, {} to {}, for DPO)"),
    ],
)
def test_differences_of_calculation_pairs(calculations, measure, recipe, other, said):
    ours, theirs = (scores(calculations["heldout", name])[measure] for name in (recipe, other))
    check_interval(ours, theirs, said)


@pytest.fixture(scope="module")
def one_run():
    return read_json(ROOT / "docs/results/benchmark/one_run.json")


@pytest.fixture(scope="module")
def side_by_side():
    return read_json(ROOT / "docs/results/benchmark/side_by_side.json")


def until_tail(mode):
    """GPU utilisation."""
    return f"{mode['steady']['utilisation']:.0f} %"


def test_benchmark_reached(one_run):
    modes, dpo = one_run["modes"], one_run["dpo"]
    jobs = {row["phase"]: row for row in one_run["phases"]}
    one, full = modes["pipeline"], modes["full"]
    merges = [jobs[name] for name in ("merge", "merge_dpo")]
    assert one["compile_cache"] == "cold"
    assert one_run["rollouts"]["compile_cache"] == full["compile_cache"] == "warm"
    (evaluation,) = one_run["evaluations"].values()
    training = one_run["training"] | {"preflight": {"mean_length": dpo["mean_length"]}}
    assert dpo["step_mfu"] == pytest.approx(dpo_share(training, dpo["step_seconds"], 64 / dpo["pairs"]))
    reached = {
        "generation, 500 x 8, engine ready | 34 s, 17,500 tokens/s": (
            f"{one['seconds']:.1f} s, {one['tokens_per_second']:,.0f} tokens/s"
        ),
        "GPU utilisation until the tail | 90 %": until_tail(one),
        "ratio to one question a call | 85": (
            f"{one['tokens_per_second'] / modes['one_question']['tokens_per_second']:.1f}"
        ),
        "whole rollout job, cold compile cache | 100 s": f"{one['job_seconds']:.1f} s",
        "whole rollout job, warm | 65 s": f"{jobs['generate']['seconds']:.1f} s",
        "7,473 x 8: tokens/s, against the steady rate of 500 x 8 | 95 %": (
            f"{full['tokens_per_second']:,.0f}, "
            f"{100 * full['tokens_per_second'] / one['steady']['tokens_per_second']:.0f} %"
        ),
        "7,473 x 8: host memory of the job | 6 GiB": f"{full['peak_memory_mb'] / 1024:.1f} GiB",
        "small model, 2,200 x 8 | 60,000 tokens/s": f"{modes['small']['tokens_per_second']:,.0f} tokens/s",
        "merge of a 7B LoRA, disk to disk, verified | 45 s, under 20 GiB": (
            " and ".join(f"{job['seconds']:.1f}" for job in merges)
            + f" s, {max(job['peak_memory_mb'] for job in merges) / 1024:.1f} GiB"
        ),
        "DPO, share of the card's peak | 40 %": (
            f"{100 * dpo['step_mfu']:.0f} % in the median step; {100 * dpo['mfu']:.0f} % with the step that compiles"
        ),
        "DPO, 1,500 pairs | 4 minutes": f"{dpo['seconds']:.0f} s; whole job {dpo['job_seconds']:.0f} s",
        "evaluation, 1,209 greedy and k = 8, engine ready | 100 s": f"{evaluation['seconds']:.1f} s",
        "phases 2 to 5, every start-up counted | 12 minutes": (
            f"{sum(job['seconds'] for job in jobs.values()) / 60:.1f} minutes"
        ),
    }
    for row, figure in reached.items():
        assert f"| {row} | {figure} |" in RESULTS


def test_benchmark_compared(one_run):
    rows = alone, question, own = one_run["comparison"][:3]
    rates = f"{alone['tokens_per_second']:.1f}", *(f"{row['tokens_per_second']:,.0f}" for row in (question, own))
    minutes = [f"{row['seconds'] / 60:.0f}" for row in (alone, question)]
    busy = [f"{row['utilisation']:.0f} %" for row in rows]
    ratios = own["speed_up_one_at_a_time"], own["speed_up_one_question"]
    for way, rate, took, ratio, use in (
        ("transformers (sample: 8 trajectories)", rates[0], f"{minutes[0]} min, extrapolated", "1", busy[0]),
        (
            "its own scheduler (sample: 8 questions)", rates[1], f"{minutes[1]} min, extrapolated",
            f"{question['speed_up_one_at_a_time']:.1f}", busy[1],
        ),
        (
            "this pipeline, engine ready", rates[2], f"{own['seconds']:.1f} s",
            "{:.0f}; {:.1f} times one question a call".format(*ratios), busy[2],
        ),
    ):  # fmt: skip
        assert f"{way} | {rate} | {took} | {ratio} | {use} |\n" in RESULTS
    assert f"| GPU utilisation | 5-20 % | 90 %+ | {' | '.join(busy)} |" in README
    own_seconds = f"{own['seconds']:.0f} s"
    assert f"| 15-40 minutes | {minutes[0]} minutes | {minutes[1]} minutes | {own_seconds} |" in README
    assert f"| tokens/s | - | - | {' | '.join(rates)} |" in README
    tail, steady = (one_run["modes"]["pipeline"][name] for name in ("tail", "steady"))
    assert (
        f"lasts {tail['seconds']:.1f} s and costs {tail['cost_seconds']:.1f} s against the steady rate of "
        f"{steady['tokens_per_second']:,.0f} tokens/s. The engine took {own['start_seconds']:.1f} s to start cold and "
        f"{one_run['rollouts']['start_seconds']} s warm." in FLOWING
    )
    assert f"train x 8 take {one_run['modes']['full']['seconds'] / 60:.1f} minutes in that run" in README
    small, single = (one_run["modes"][name] for name in ("small", "small_one_engine"))
    assert f"made {small['tokens_per_second'] / single['tokens_per_second']:.1f} times the tokens/s of one" in RESULTS
    assert f"leaves the GPU idle for {100 - single['utilisation']:.0f} % of the time" in RESULTS


def test_benchmark_phases(one_run):
    rows = one_run["phases"]
    for row in rows:
        busy = "CPU" if row["utilisation"] is None else f"{row['utilisation']:.0f} %"
        memory = row["peak_memory_mb"] / 1024
        assert f"| {row['label']} | {row['seconds']:.1f} | {memory:.1f} | {busy} |" in RESULTS
    total = sum(row["seconds"] for row in rows)
    assert f"{total:.0f} s in all, {total / 60:.1f} minutes" in RESULTS
    assert f"| {total / 60:.1f} minutes (one GPU) |" in README


def test_rates_of_the_scaling_page_are_those_of_the_run(one_run):
    measured = read_json(ROOT / "docs/scaling.json")["measured"]
    mode, rollouts = one_run["modes"]["pipeline"], one_run["rollouts"]
    job = next(row["seconds"] for row in one_run["phases"] if row["phase"] == "generate")
    assert measured["tokens_per_second"]["value"] == round(mode["steady"]["tokens_per_second"])
    assert measured["tail_seconds"]["value"] == round(mode["tail"]["cost_seconds"], 1)
    assert measured["start_seconds"]["value"] == round(job - rollouts["seconds"], 1)
    full = one_run["modes"]["full"]["job_seconds"] / 60
    assert f"on one H100 took {full:.1f} minutes with a warm" in SCALING


def test_places_given_away_together(side_by_side):
    found = side_by_side["places given away together"]
    for name, said in (
        ("one by one", "one by one"),
        ("a 32nd", "a 32nd together"),
        ("a 32nd, cold", "a 32nd together, the cold job before them"),
        ("a 16th", "a 16th together"),
    ):
        mode = found[name]
        assert mode["compile_cache"] == ("cold" if "cold" in name else "warm")
        steady = mode["steady"]["tokens_per_second"]
        assert f"| {said} | {mode['tokens_per_second']:,.0f} | {steady:,.0f} | {until_tail(mode)} |" in RESULTS
    log = found["a 32nd, cold"]["log_seconds"]
    said = f"spent {log['compilation']:.0f} s on compilation and {log['kernels']} s on Triton kernels"
    assert said in FLOWING


def test_one_engine_for_two_models(side_by_side):
    base, sft, both = side_by_side["one engine for two models"].values()
    assert f"the next one's weights in {both['start_seconds'][1]} s, two evaluations" in FLOWING
    assert (
        f"took {both['job_seconds']:.1f} s, by an engine each {base['job_seconds']:.1f} and {sft['job_seconds']:.1f} s"
        in FLOWING
    )


def dpo_share(training, seconds, part):
    """Of an H100's peak: this part of a training in so many seconds."""
    # Of Mistral-7B's shape, and of an adapter of rank 64 on all its 7 x 32 layers.
    weights, embedding, lora = 7_241_732_096, 32_000 * 4096, 32 * 64 * 81_920
    flops = dpo_flops(weights - embedding, lora, 32, 4096, training["tokens"], training["preflight"]["mean_length"])
    return mfu(part * flops, seconds, 1, peak_of("NVIDIA H100 80GB HBM3"))


def test_what_bounds_dpo():
    found = read_json(ROOT / "docs/results/benchmark/dpo.json")
    training, said = found["training"], {}
    for name, points in found["progress"].items():
        # Compiling is over after the third step.
        (first, start), (last, end) = points[name == "compiled"], points[-1]
        step = (end - start) / (last - first)
        said[name] = step, 100 * dpo_share(training, step, 64 / training["examples"])
    compiled, eager = said["compiled"], said["eager"]
    assert f"{compiled[0]:.2f} s a step of 64 pairs, {compiled[1]:.0f} % of the peak" in RESULTS
    assert f"{eager[0]:.1f} s and {eager[1]:.0f} % without" in RESULTS
    first = found["progress"]["compiled"][0][1]
    assert f"a first step, which compiles, of {first} s: {training['seconds']:.0f} s in all" in RESULTS
    seconds = {name: row["seconds_of_32_pairs"] for name, row in found["pairs_a_micro_batch"].items()}
    gib = {name: f"{row['reserved_gib']:.0f}" for name, row in found["pairs_a_micro_batch"].items()}
    assert f"{gib['4']} GiB are reserved instead of {gib['with mask, cuDNN and fixed segments, 4']}" in RESULTS
    assert f"memory saved ({gib['compiled, 4']} instead of {gib['4']} GiB)" in RESULTS
    # The fourth step of the first was profiled.
    four, eight, plain = mean(seconds["compiled, 4"][2::2]), mean(seconds["compiled, 8"][2:]), mean(seconds["4"][2:])
    share = 100 * dpo_share(training, eight, found["tokens_of_32_pairs"] / training["tokens"])
    assert (
        f"{eight:.2f} s instead of {four:.2f} for 32 pairs ({plain:.2f} without compiling), {share:.0f} % of" in RESULTS
    )
    for name, cpu, gpu in (("cudnn", "4.6", "2.1"), ("flash", "2.4", "2.2")):
        profile = (ROOT / f"docs/results/benchmark/dpo_profile_{name}.txt").read_text()
        totals = [float(found) for found in re.findall(r"time total: ([\d.]+)s", profile)]
        assert [f"{total:.1f}" for total in totals] == [cpu, gpu]


@pytest.fixture(scope="module")
def two_gpus():
    return read_json(ROOT / "docs/results/benchmark/h100x2.json")


def test_one_and_two_gpus(two_gpus, side_by_side):
    modes = joined(side_by_side["two GPUs"])
    one, sharded, parallel = (modes[name] for name in ("full", "full_shards", "tensor_parallel"))
    for label, found, cache, each in (
        ("one GPU, 1,500 x 8", one, "cold", ""),
        ("two GPUs, a shard each, 1,500 x 8", sharded, "warm", " each"),
        ("two GPUs, tensor parallel, 500 x 8", parallel, "cold", ""),
    ):
        assert found["compile_cache"] == cache
        assert (
            f"| {label} | {found['made']:,} | {found['tokens_per_second']:,.0f} | {found['seconds']:.1f} s "
            f"| {found['utilisation']:.0f} % | {found['job_seconds']:.0f} s, {cache} "
            f"| {found['peak_memory_mb'] / 1024:.1f} GiB{each} |" in RESULTS
        )
    times = sharded["tokens_per_second"] / one["tokens_per_second"]
    older = joined(two_gpus["modes"])
    alone, two = (older[name]["tokens_per_second"] for name in ("full", "full_shards"))
    assert f"**Two GPUs, a shard each, are {times:.2f} times one** (reach 1.9)" in RESULTS
    assert f"bound by the CPU, {two / alone:.2f} times: {alone:,.0f} tokens/s on one" in RESULTS
    assert f"\n{two:,.0f} on two" in RESULTS
    assert f"| {times:.2f} times (12,000 trajectories), {two / alone:.2f} (59,784);" in RESULTS
    assert f"make {times:.2f} times the tokens/s of one" in README


def test_dpo_on_two_gpus(two_gpus):
    one, two = (two_gpus["training"][name] for name in ("1 GPU", "2 GPUs"))
    assert one["tokens"] == two["tokens"]
    ratio = one["seconds"] / two["seconds"]
    assert f"{two['seconds']:.1f} s of training against {one['seconds']:.1f} on one, {ratio:.2f} times" in RESULTS
    apart, spread = [], []
    for name in ("loss", "grad_norm"):
        curves = [[entry[name] for entry in training["log_history"]][:-1] for training in (one, two)]
        apart.append(f"{max(abs(a - b) for a, b in zip(*curves, strict=True)):.3f}")
        spread.append(f"{stdev(curves[0]):.3f}")
    assert f"differ by at most {' and '.join(apart)} from" in RESULTS
    assert f"(standard deviation) by {' and '.join(spread)}." in RESULTS
    last = [training["log_history"][-1]["grad_norm"] for training in (two, one)]
    assert "is {:.1f} instead of {:.1f}".format(*last) in RESULTS


def seconds_and_shares(ways, training):
    """Of each way to train: seconds of 32 pairs, without the first step, and percent of an H100's peak."""
    seconds = {name: mean(row["seconds_of_32_pairs"][1:]) for name, row in ways.items()}
    shares = {
        name: 100 * dpo_share(training, 1, row["tokens_per_second"] / training["tokens"]) for name, row in ways.items()
    }
    return seconds, shares


def test_what_did_not_speed_dpo_up(two_gpus):
    found, training = two_gpus["pairs_a_micro_batch"], two_gpus["training"]["1 GPU"]
    seconds, shares = seconds_and_shares(found, training)
    assert f"{seconds['4']:.2f} s and {shares['4']:.0f} % of the peak" in RESULTS
    assert f"inside the matrix products, {seconds['fused LoRA, 4']:.2f} s" in RESULTS
    assert f"SwiGLU, {seconds['fused LoRA, Liger, 4']:.2f} s" in RESULTS
    eight, plain = found["fused LoRA, 8"], found["4"]
    assert f"({eight['reserved_gib']:.0f} instead of {plain['reserved_gib']:.0f} GiB)" in RESULTS
    assert (
        f"second took {seconds['fused LoRA, 8']:.2f} s\nand the third {seconds['fused LoRA, Liger, 8']:.2f}" in RESULTS
    )
    assert f"most seen is {shares['fused LoRA, 8']:.0f} % of the peak" in RESULTS
    padded = 2 * training["preflight"]["mean_length"] * training["examples"] / training["tokens"]
    assert round(1 / (padded - 1)) == 9


def test_sequences_without_padding(two_gpus):
    training = two_gpus["training"]["1 GPU"]  # pairs of the same lengths
    found = read_json(ROOT / "docs/results/benchmark/packing.json")["pairs_a_micro_batch"]
    seconds, shares = seconds_and_shares(found, training)
    gib = {name: row["reserved_gib"] for name, row in found.items()}
    ratios = [found[f"packed, {n}"]["tokens_per_second"] / found[str(n)]["tokens_per_second"] for n in (4, 8)]
    assert (
        f"{seconds['packed, 4']:.2f} s instead of {seconds['4']:.2f} for 32 pairs ({shares['packed, 4']:.0f} instead of "
        f"{shares['4']:.0f} % of the peak, {gib['packed, 4']:.0f} instead of {gib['4']:.0f} GiB)" in FLOWING
    )
    assert (
        f"{seconds['packed, 8']:.2f} instead of {seconds['8']:.2f} ({shares['packed, 8']:.0f} instead of "
        f"{shares['8']:.0f} %, {gib['packed, 8']:.0f} instead of {gib['8']:.0f} GiB)" in FLOWING
    )
    assert "{:.2f} and {:.2f} times the tokens a second".format(*ratios) in FLOWING
    pairs = [zip(found[f"packed, {n}"]["losses"], found[str(n)]["losses"], strict=True) for n in (4, 8)]
    assert f"the losses agree to {max(abs(a - b) for pair in pairs for a, b in pair):.3f} of 57" in FLOWING


def test_dpo_job_without_padding_and_compiled():
    job = read_json(ROOT / "docs/results/benchmark/packing.json")["compiled job"]
    _, (first, start), *_, (last, end) = job["progress"]
    step = (end - start) / (last - first)
    share = dpo_share(job["training"], step, 64 / job["training"]["examples"])
    assert f"products there {job['matmul_tflops'][0]:.0f} TFLOP/s): {step:.2f} s a step of 64 pairs" in FLOWING
    assert f"**{100 * share:.0f} % of the peak** (reach 40), in {job['gpu_memory_mb'] / 1024:.0f} GiB" in FLOWING
    assert f"But the first step took {job['progress'][0][1]} s there" in FLOWING


def test_what_compiling_costs_and_saves(side_by_side):
    found = side_by_side["compiled layers"]
    for name, training in found.items():
        lengths = {"preflight": {"mean_length": training["mean_length"]}}
        share = dpo_share(training | lengths, training["step_seconds"], 64 / training["examples"])
        assert (
            f"| {name} | {training['step_seconds']:.2f} s, {100 * share:.0f} % of the peak | {training['seconds']:.1f} s "
            f"| {training['job_seconds']:.1f} s | {training['gpu_memory_mb'] / 1024:.1f} GiB |" in RESULTS
        )
    eager, compiled = (found[name] for name in ("not compiled", "compiled"))
    beyond = [training["seconds"] - training["steps"] * training["step_seconds"] for training in (eager, compiled)]
    costs, saves = beyond[1] - beyond[0], (eager["step_seconds"] - compiled["step_seconds"]) / 8
    assert f"costs {costs:.1f} s at the beginning and saves {saves:.2f} s a micro-batch" in RESULTS
    assert f"earned back after {costs / saves:.0f}, and `compile: auto` compiles from {COMPILE_PASSES} on" in RESULTS


def test_dpo_job_without_padding():
    job = read_json(ROOT / "docs/results/benchmark/packing.json")["job"]
    training, (first, start), (last, end) = job["training"], job["progress"][0], job["progress"][-1]
    rate, reached = training["tokens"] / training["seconds"], dpo_share(training, training["seconds"], 1)
    assert f"{job['job_seconds']:.1f} s, of which {training['seconds']:.1f} training, {rate:,.0f} tokens/s" in FLOWING
    assert f"{100 * reached:.0f} % of the peak; {(end - start) / (last - first):.2f} s a step of 64 pairs" in FLOWING
    assert f"first two, {job['gpu_memory_mb'] / 1024:.0f} GiB of GPU memory" in FLOWING
    products = max(job["matmul_tflops"])
    share_of_peak = products / peak_of("NVIDIA H100 80GB HBM3")
    assert (
        f"{products:.0f} TFLOP/s on that machine, {100 * share_of_peak:.0f} % of the peak, and the training" in FLOWING
    )
    assert f"and the training {100 * reached / share_of_peak:.0f} % of that" in FLOWING
