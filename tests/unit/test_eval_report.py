"""The report: its figures against ones worked out by hand, escaping, the gate, and one-line errors."""

import base64
import hashlib
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import dom, needs_chromium, seen
from helpers import ROOT, stage
from report_inputs import (
    PARAMS,
    PAYLOAD,
    QUESTIONS,
    SET,
    base_rows,
    counted,
    inputs,
    out,
    rollout,
    rows,
    save,
    sft_rows,
)

from regime_w.models.manifests import write_manifest
from regime_w.report import page_study
from regime_w.report.blocks import cell, table
from regime_w.report.format import points, rounded
from regime_w.report.inputs import given
from regime_w.report.page_models import key_table
from regime_w.report.page_top import top
from regime_w.report.readings import note_readings
from regime_w.report.render import fill, markdown, render, terminal
from regime_w.report.stages import part_of, training, usage
from regime_w.report.summary import plain, summarise
from regime_w.runtime.errors import UserError
from scripts.eval_report import read_config


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return summarise(PARAMS, **inputs(tmp_path_factory.mktemp("plain")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return summarise(PARAMS | {"run": PAYLOAD, "title": PAYLOAD}, **inputs(tmp_path_factory.mktemp("hostile"), PAYLOAD))


def test_model_rows_by_hand(summary: dict[str, Any]) -> None:
    base, sft, round1 = summary["models"]
    assert [m["greedy"]["value"] for m in (base, sft, round1)] == [0.4, 0.8, 0.9]
    # Wilson 1927 for 4 of 10, as in Brown, Cai & DasGupta 2001.
    assert [base["greedy"]["low"], base["greedy"]["high"]] == pytest.approx([0.1682, 0.6873], abs=1e-4)
    assert base["mean"]["value"] == pytest.approx(5 / 40)
    assert {k: e["value"] for k, e in base["pass"].items()} == pytest.approx({"1": 0.125, "2": 0.15, "4": 0.2})
    assert base["majority"]["value"] == 0.1
    assert base["flexible"]["value"] == 0.6
    assert base["format"]["greedy"] == pytest.approx(
        {"n": 10, "well_formed": 0.7, "fallback": 0.1, "no_answer": 0.1, "truncated": 0.1, "tokens_mean": 30.0}
        | {"tokens_median": 20.0, "tokens_p95": 73.0, "tokens_max": 100, "tokens_total": 300}
        | {"tokens_correct": 20.0, "tokens_wrong": 220 / 6, "wrong_sum": 0.1, "faults": 0}
        | {"thinking_mean": 0.0}
    )
    assert {style: own["n"] for style, own in sft["styles"].items()} == {"plain": 1, "wolfram": 4, "maudlin": 5}
    assert sft["styles"]["maudlin"]["greedy"]["value"] == 0.8


def test_paired_tests_by_hand(summary: dict[str, Any]) -> None:
    first, *others = summary["comparisons"]
    assert (first["model"], first["against"], first["relation"]) == ("sft", "base", ["base", "before"])
    assert [(c["model"], c["against"], c["relation"]) for c in others] == [
        ("round1", "base", ["base"]),
        ("round1", "sft", ["sft", "before"]),
    ]
    greedy = first["greedy"]
    assert (greedy["gained"], greedy["lost"], greedy["difference"]) == (5, 1, pytest.approx(0.4))
    assert greedy["p"] == pytest.approx(2 * (1 + 6) / 2**6)
    assert greedy["outcome"] == "unchanged"
    assert first["flexible"]["gained"] == 4  # 4 to 7; 8 is right in both
    assert first["minimum_detectable_effect"] is None  # ten questions are too few for a power of 0.8
    assert first["mean"]["difference"] == pytest.approx(0.8 - 0.125)
    assert first["mean"]["outcome"] == "better"


def test_flips(summary: dict[str, Any]) -> None:
    flip = summary["flips"][0]
    assert (flip["against"], flip["model"]) == ("base", "sft")
    assert [case["id"] for case in flip["gained"]["shown"]] == ["q4", "q5", "q6", "q7", "q8"]
    assert flip["lost"]["count"] == 1
    assert flip["lost"]["shown"][0]["after"]["answer"] == "99"


def test_rollouts_by_hand(summary: dict[str, Any]) -> None:
    found = summary["rollouts"]["round1"]
    assert found["accuracy"]["value"] == pytest.approx(0.5)
    assert found["correct_per_question"] == {"0": 1, "1": 0, "2": 1, "3": 0, "4": 1}
    # 6 right at 1.0, 6 wrong at 0.25: coherence tells them apart, inside the one mixed question too.
    assert found["coherence"]["s_end"]["auc"] == found["coherence"]["s_wm"]["auc_within"] == 1.0
    assert found["coherence"]["s_end"]["mean"] == pytest.approx(0.625)
    assert found["coherence"]["s_end"]["mixed_questions"] == 1
    assert found["label_suspects"]["count"] == 1
    assert found["label_suspects"]["shown"][0]["id"] == "t2"
    assert found["math_verify"]["disagreements"] == 1
    assert found["unanimous"] == pytest.approx(2 / 3)
    assert found["arms"]["maudlin_1"]["accuracy"]["value"] == pytest.approx(1 / 3)


def test_the_page_of_a_large_run_shows_samples(tmp_path: Path) -> None:
    """Every rollout a suspect label and a disagreement: numbers count them all, the page shows the first few."""
    evaluations = {"base": save(tmp_path / "base.jsonl", base_rows())}
    pages = []
    for number in (20, 2000):
        made = [rollout(1000 + index, [False] * 4, "text " * 50) for index in range(number)]
        for row in made:
            row["trajectories"][0]["disagreement"] = True
        found = summarise(
            PARAMS, evaluations={SET: evaluations}, rollouts_={"round1": save(tmp_path / "rollouts.jsonl", made)}
        )
        assert found["rollouts"]["round1"]["label_suspects"]["count"] == number
        assert found["rollouts"]["round1"]["math_verify"]["disagreements"] == number
        pages.append(len(render(found)[0]) + len(json.dumps(found)))
    assert abs(pages[1] - pages[0]) < 2000


def test_cost_counts_jobs_side_by_side_once(summary: dict[str, Any]) -> None:
    (stage_row,) = summary["usage"]["stages"]
    assert (stage_row["stage"], stage_row["part"], stage_row["jobs"]) == ("generate", "round1", 2)
    assert stage_row["elapsed_seconds"] == 45 * 60
    assert stage_row["gpu_seconds"] == 3600
    assert stage_row["usd"] == pytest.approx(2.0)
    assert stage_row["tokens"] == 3 * (10 + 20 + 30 + 40)
    assert summary["usage"]["total"]["elapsed_seconds"] == 45 * 60
    assert summary["usage"]["total"]["energy_wh"] == 6.0


def test_one_job_for_all_evaluations_is_a_row_with_the_tokens_of_all(tmp_path: Path) -> None:
    record = {"stage": "evaluate", "seconds": 30.0, "gpu_seconds": 30.0, "gpus": []}
    usage = [save(tmp_path / f"benchmarks/run/evaluate/{SET}.usage.json", record)]
    found = summarise(PARAMS | {"run": "run"}, **inputs(tmp_path) | {"usage": usage})
    (row,) = found["usage"]["stages"]
    assert (row["stage"], row["part"], row["seconds"]) == ("evaluate", SET, 30.0)
    totals = [own["tokens_total"] for model in found["models"] for own in model["format"].values()]
    assert row["tokens"] == sum(totals) > 0
    assert found["usage"]["total"]["gpu_seconds"] == 30.0


@pytest.mark.parametrize(
    ("path", "stage_name", "part"),
    [
        ("benchmarks/round2/train_sft.usage.json", "train_sft", ""),
        ("benchmarks/round2/round1/generate/0-of-2.usage.json", "generate", "round1"),
        ("benchmarks/round2/merge_lora/round12/merged.usage.json", "merge_lora", "round12"),
        ("benchmarks/round2/merge_lora/sft_merged.usage.json", "merge_lora", "sft_merged"),
        ("benchmarks/round2/evaluate/platinum/base.usage.json", "evaluate", "platinum/base"),
        ("benchmarks/demo/study/1f0c2a9b77/evaluate/heldout/round1.usage.json", "evaluate", "heldout/round1"),
        ("benchmarks/demo/evaluate/platinum.usage.json", "evaluate", "platinum"),
        ("elsewhere/evaluate/round3.usage.json", "evaluate", "round3"),
        ("benchmarks/round2/evaluate.usage.json", "evaluate", ""),
    ],
)
def test_part_of_a_usage_record(path: str, stage_name: str, part: str) -> None:
    assert part_of(Path(path), stage_name, "round2") == part


def test_usage_without_times_or_gpus() -> None:
    found = usage([(Path("a/train_sft.usage.json"), {"stage": "train_sft", "seconds": 5})], {}, 1.0, "demo")
    assert found["total"]["seconds"] == found["total"]["elapsed_seconds"] == 5
    assert found["stages"][0]["gpu_utilisation"] is None


def test_training_curves_and_alarm() -> None:
    history = [{"step": 1, "logps/chosen": -40.0}, {"step": 2, "logps/chosen": -52.5}]
    history.append({"step": 2, "train_runtime": 3.0, "logps/chosen": -99.0})  # of the pairs after the last logged step
    assert training({"log_history": history})["last"]["logps/chosen"] == -52.5
    assert training({"log_history": history})["alarm"] is None
    assert training({"log_history": history, "alarm": "it fell"})["alarm"] == "it fell"


def verdict_of(folder: Path, models: dict[str, list[dict[str, Any]]], **record: Any) -> dict[str, Any]:
    trainings = {"sft": save(folder / "training.json", record)} if record else {}
    files = {name: save(folder / f"{name}.jsonl", own) for name, own in models.items()}
    return summarise(PARAMS, evaluations={SET: files}, trainings=trainings)["verdict"]


def test_gate(tmp_path: Path) -> None:
    right, wrong = ([out(str(i) if good else "99", str(i)) for i in range(QUESTIONS)] for good in (True, False))
    good, bad = rows(right, {}), rows(wrong, {})
    unmarked = rows([out(str(i), str(i), "fallback") for i in range(QUESTIONS)], {})
    found = verdict_of(tmp_path, {"base": good, "sft": bad, "round1": bad})
    assert found["status"] == "regression"
    assert "SFT is significantly below base: greedy −100.0 pp (exact McNemar p = 0.002)" in found["reasons"][0]
    assert "Round 1 is significantly below base" in found["reasons"][1]
    rounds = verdict_of(tmp_path, {"base": bad, "sft": bad, "round1": good, "round2": good})
    assert (rounds["status"], rounds["headline"]) == ("gain", "Round 2 is significantly better than SFT")
    assert "no significant change from round 1" in rounds["sentence"]
    assert "significantly better than SFT" in rounds["sentence"]
    slow = verdict_of(tmp_path, {"base": bad, "sft": good, "round1": bad, "round2": bad})
    assert [reason[:34] for reason in slow["reasons"]] == [f"Round {n} is significantly below SFT" for n in (1, 2)]
    assert verdict_of(tmp_path, {"base": bad, "sft": good})["status"] == "gain"
    same = verdict_of(tmp_path, {"base": good, "sft": good})
    assert (same["status"], same["headline"]) == ("unchanged", "No significant change from base to SFT")
    assert verdict_of(tmp_path, {"base": bad, "sft": good}, alarm="it fell")["status"] == "alarm"
    assert "nothing to compare" in verdict_of(tmp_path, {"base": good})["headline"]
    formatted = verdict_of(tmp_path, {"base": unmarked, "sft": good})
    assert "one of format" in formatted["notes"][0]
    assert not found["notes"]


def test_a_policy_that_recites_is_noticed(tmp_path: Path) -> None:
    made = inputs(tmp_path)  # half of round 1's trajectories are right
    greedy = [out(str(i), str(i)) for i in range(QUESTIONS)]
    made["evaluations"][SET]["sft"] = save(tmp_path / "sft.jsonl", rows(greedy, {0: 4, 1: 4}, "plain"))
    said = summarise(PARAMS, **made)["verdict"]["notes"][-1]
    assert said.startswith("SFT answers 50.0% right in the rollouts of round 1")
    assert "20.0% in the evaluation" in said
    save(made["questions"], counted(seen_by_sft=1))
    assert not any("recites" in note for note in summarise(PARAMS, **made)["verdict"]["notes"])


def test_a_policy_that_recites_what_a_round_taught_is_noticed(tmp_path: Path) -> None:
    made = inputs(tmp_path)
    save(made["questions"], counted(seen_by_sft=0, round2=2))
    made["rollouts_"]["round2"] = save(
        tmp_path / "next.jsonl",
        [rollout(i, [True] * 4) | {"id": f"t{i}-v2"} for i in range(2)] + [rollout(9, [False] * 4)],
    )
    greedy = [out(str(i), str(i)) for i in range(QUESTIONS)]
    made["evaluations"][SET] |= {
        name: save(tmp_path / f"{name}.jsonl", rows(greedy, {0: 4, 1: 4}, "plain")) for name in ("round1", "round2")
    }
    found = summarise(PARAMS, **made)
    assert [found["rollouts"][name]["seen_by_rounds"] for name in ("round1", "round2")] == [0, 2]
    said = found["verdict"]["notes"][-1]
    assert said.startswith("Round 1 answers 66.7% right in the rollouts of round 2")
    assert "a round before asked too" in said
    assert "of 3 questions, 0 of which SFT was trained on, 2 of which a round before asked too" in render(found)[1]


def sort_script(html: str) -> str:
    """The page's only script."""
    (found,) = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    return found


def test_nothing_from_outside_reaches_the_page_unescaped(hostile: dict[str, Any]) -> None:
    html, md = render(hostile)
    assert "&lt;script&gt;" in html
    script = sort_script(html)
    assert script == (ROOT / "regime_w/report/sort.js").read_text()
    html = html.replace(f"<script>{script}</script>", "")
    tags, attributes = set[str](), set[str]()

    class Collector(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.add(tag)
            attributes.update(name for name, _ in attrs)

    Collector().feed(html)
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "foreignobject"}
    assert not [name for name in attributes if name.startswith("on")]
    outside_code = re.sub(r"^(`{3,})text\n.*?^\1$", "", md, flags=re.DOTALL | re.MULTILINE)
    assert "<" not in outside_code


def test_page_needs_no_network(hostile: dict[str, Any], summary: dict[str, Any]) -> None:
    for content in (hostile, summary):
        html, _ = render(content)
        assert set(re.findall(r"\s(?:href|src|xlink:href|action|srcset)=\"(.)", html)) == {"#"}
        assert not re.search(r"@import|url\((?!#)|http-equiv=\"refresh", html)
        own = base64.b64encode(hashlib.sha256(sort_script(html).encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
        assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in html
        assert "http://" not in html
        assert len(html) < 5_000_000


def test_ids_are_unique_and_links_have_targets(summary: dict[str, Any]) -> None:
    html, _ = render(summary)
    ids = re.findall(r"\sid=\"([^\"]+)\"", html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", html)) <= set(ids)


@needs_chromium
def test_nothing_runs_in_a_browser(hostile: dict[str, Any], tmp_path: Path) -> None:
    html, _ = render(hostile)
    page = tmp_path / "page.html"
    # Without its security policy the page has only its escaping.
    page.write_text(re.sub(r"<meta http-equiv=[^>]*>", "", html), encoding="utf-8")

    def title(path: Path) -> str:
        return re.findall("<title>(.*?)</title>", dom(path), re.DOTALL)[0]

    control = tmp_path / "control.html"
    control.write_text(f"<title>quiet</title><pre>{PAYLOAD}")
    assert title(control) == "owned"  # the payload does run where nothing is escaped
    assert title(page).startswith("&lt;/pre&gt;")


WIDTHS = [1280, 768, 390]
FORMATS = {
    "share": ["9.5%", "100.0%", "–", "68.2%"],
    "points": ["+5.2", "−10.5", "0.0", "−0.6"],
    "p": ["0.002", "< 0.001", "0.10", "0.43"],
    "time": ["95.0 s", "2.0 min", "1.5 h", "101 s"],
    "gained / lost": ["9 / 30", "100 / 1", "30 / 2", "0 / 0"],
    "change": ["0.90 → −0.10", "0.10 → 0.40", "5.00 → 0.30", "–"],
    "cost": ["$9.00", "$1,200.00", "< $0.01", "$10.50"],
    "size": ["9.0 GB", "10 bytes", "800.0 MB", "1.2 kB"],
    "round": ["round 10", "round 2", "SFT", "base"],
}
ASCENDING = {"share": "0312", "points": "1320", "p": "1023", "time": "0312", "gained / lost": "3021", "change": "0213"}
ASCENDING |= {"cost": "2031", "size": "1320", "round": "3102"}


@needs_chromium
def test_the_page_fits_every_width_and_wide_tables_fit_the_widest(summary: dict[str, Any], tmp_path: Path) -> None:
    """At a phone's width a table may scroll in its own box, the page never; at 1280 pixels no box scrolls."""
    asked = """const root = d.scrollingElement, boxes = [...d.querySelectorAll(".scroll")];
        return {inner: d.defaultView.innerWidth, page: root.scrollWidth, boxes: boxes.length,
                wide: boxes.filter(b => b.scrollWidth > b.clientWidth).map(b => b.textContent.slice(0, 60)),
                titles: [...d.querySelectorAll(".card h2")].map(h => h.getBoundingClientRect().bottom)};"""
    found = seen(render(summary, "trajectories.html")[0], WIDTHS, asked, tmp_path)
    assert [one["inner"] for one in found] == WIDTHS
    assert all(one["page"] <= one["inner"] for one in found), found
    assert found[0]["boxes"] > 10
    assert not found[0]["wide"]
    assert found[-1]["wide"]
    assert len(found[0]["titles"]) == 4
    assert max(found[0]["titles"]) < 800


@needs_chromium
def test_a_click_on_a_header_sorts_by_value(summary: dict[str, Any], tmp_path: Path) -> None:
    rows = [[cell(str(place)), *(cell(own[place], "0 to 9") for own in FORMATS.values())] for place in range(4)]
    section = {"id": "all", "title": "All", "blocks": [table(["row", *FORMATS], [*rows, rows[0]], total=True)]}
    page, _ = fill(summary, [section])
    assert "<button" not in page  # with scripts off, headers are plain
    asked = """const table = d.querySelector("table"), heads = [...table.querySelectorAll("thead th")];
        const order = () => [...table.tBodies[0].rows].map(r => r.cells[0].textContent).join("");
        const press = head => { head.querySelector("button[type=button]").click(); return [order(), head.ariaSort]; };
        return {first: heads.slice(1).map(press), rest: [2, 3].map(() => press(heads.at(-1))),
                said: heads.filter(h => h.ariaSort).length, total: table.tFoot.rows.length};"""
    (found,) = seen(page, [1280], asked, tmp_path)
    assert dict(zip(FORMATS, found["first"], strict=True)) == {
        name: [order, "ascending"] for name, order in ASCENDING.items()
    }
    assert found["rest"] == [["2013", "descending"], ["0123", None]]
    assert (found["said"], found["total"]) == (0, 1)


@needs_chromium
def test_the_policy_lets_no_other_script_run(summary: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    html, _ = render(summary)
    page.write_text(html.replace("</body>", "<script>document.title = 'owned'</script></body>"), encoding="utf-8")
    shown = dom(page)
    assert "<title>demo: Preference optimisation report</title>" in shown
    assert '<button type="button">greedy</button>' in shown


def blocks_of(cards: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A page's cards as {card: {kind: block}}."""
    return {card["id"]: {block["kind"]: block for block in card["blocks"]} for card in cards}


def test_first_sight_says_what_the_records_say(summary: dict[str, Any]) -> None:
    found = blocks_of(top(summary, "trajectories.html"))
    assert list(found) == ["trained", "helped", "spent", "next"]
    assert dict(found["trained"]["facts"]["rows"]) == {
        "questions": "3 from file plain",
        "SFT": "0 worked solutions",
        "round 1": "DPO on 2 pairs of 1 questions; picked from 12 trajectories of 3 questions",
        "asked": "10 questions of demo: greedy, and 4 samples at temperature 0.8",
    }
    rows = found["helped"]["table"]["rows"]
    assert [row[1]["main"] for row in rows] == ["40.0%", "80.0%", "90.0%"]
    fewer = summary | {"models": [model | {"k": 2, "n": 8} for model in summary["models"]]}
    several = blocks_of(top(summary | {"other_sets": {"letters": fewer}}, "trajectories.html"))
    told = dict(several["trained"]["facts"]["rows"])["asked"]
    assert told.startswith("10 questions of demo and 8 questions of letters: greedy, and 4 and 2 samples")
    assert [(row[4]["main"], row[4]["tone"]) for row in rows] == [("–", ""), ("+67.5", "better"), ("0.0", "unchanged")]
    assert found["spent"]["stats"]["rows"] == [
        ("45.0 min", "wall time, without pauses"),
        ("1.0", "GPU hours, $2.00"),
        (rounded(summary["usage"]["total"]["tokens"]), "tokens, generated and trained on"),
        ("0.01", "kWh drawn by the GPUs"),
    ]
    items = found["next"]["looks"]["items"] + found["next"]["looks"]["more"]
    told = {item["section"]: item["text"] for item in items}
    assert told["rollouts"].startswith("On 1 of 3 questions of round 1 all arms agree on another answer than gold")
    assert told["data"].startswith("Training questions with the text of one of evaluation: 1;")
    assert told["flips"] == "From SFT to round 1, 1 went from wrong to right and 0 from right to wrong."
    assert found["next"]["looks"]["viewer"] == "trajectories.html"


def test_first_sight_invents_nothing(tmp_path: Path) -> None:
    """Without a usage record no cost is named, and no card says what was not given."""
    files = {"base": save(tmp_path / "base.jsonl", base_rows())}
    found = summarise(PARAMS, evaluations={SET: files})
    cards = blocks_of(top(found, None))
    assert cards["spent"] == {"text": {"kind": "text", "text": "Not recorded: the report was given no usage records."}}
    assert [name for name, _ in cards["trained"]["facts"]["rows"]] == ["asked"]
    assert "trajectories" not in render(found)[0]


def test_first_sight_begins_with_the_alarms(tmp_path: Path) -> None:
    made = inputs(tmp_path)
    history = [{"step": 1, "logps/chosen": -40.0}]
    made["trainings"]["round1"] = save(tmp_path / "fell.json", {"log_history": history, "alarm": "it fell"})
    cut = [out("1", "1", stop=False) for _ in range(QUESTIONS)]
    made["evaluations"][SET]["round1"] = save(tmp_path / "cut.jsonl", rows(cut, {}, "plain"))
    found = summarise(PARAMS, **made)
    items = blocks_of(top(found, None))["next"]["looks"]["items"]
    assert (items[0]["tone"], items[0]["section"]) == ("alarm", "training")
    assert any(item["text"] == "100.0% of round 1's greedy answers were cut off." for item in items)
    html, md = render(found)
    assert '<li class="alarm">The training alarm of round 1 fired: see its curves. <a href="#training">' in html
    assert "- The training alarm of round 1 fired: see its curves. (Training)" in md


def test_a_note_stands_short_at_first_sight_and_whole_in_its_section(tmp_path: Path) -> None:
    unmarked = rows([out(str(i), str(i), "fallback") for i in range(QUESTIONS)], {})
    good = rows([out(str(i), str(i)) for i in range(QUESTIONS)], {})
    files = {name: save(tmp_path / f"{name}.jsonl", own) for name, own in (("base", unmarked), ("sft", good))}
    found = summarise(PARAMS, evaluations={SET: files})
    (note,) = found["verdict"]["notes"]
    _, md = render(found)
    first, rest = md.split("## Overview")
    claim = note.partition(":")[0]
    assert f"- {claim}. (Format and length)" in first
    assert markdown(note) not in first
    assert markdown(note) in rest.split("## Format and length")[1].split("## ")[0]


def test_first_sight_of_a_study_is_of_the_chosen_recipe_and_the_baselines() -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6}
    answers = {name: {"n": 10, "greedy": share, "mean": share} for name in ("sft", "dpo")}
    below = {"sft": {"dpo": {"mean": {"difference": -0.1, "p_holm": 0.01, "outcome": "worse"}}}}
    spent = {"jobs": 3, "seconds": 90.0, "cpu_seconds": 80.0, "gpu_seconds": 0.0, "usd": 0.0}
    ranked = [{"recipe": "dpo", "training": {"round1": {"alarm": "it fell"}}}, {"recipe": "sft", "training": {}}]
    found = blocks_of(
        page_study.top(
            {
                "settings": {
                    "baselines": ["sft"],
                    "heldout_questions": 7,
                    "heldout_k": 2,
                    "seeds": 3,
                    "k": 4,
                    "level": 0.95,
                    "alpha": 0.05,
                },
                "heldout": {"ranking": ranked, "tests": below},
                "choice": {"chosen": "dpo"},
                "set": "test",
                "evaluation": {"rows": answers, "tests": below},
                "other_sets": {"other": {"rows": answers, "tests": below}},
                "costs": {"recipes": {"dpo": {"own": spent}}, "all": spent},
                "rollouts": {"round1": {"label_suspects": {"count": 2}, "questions": 9}},
                "readings": {"test": [{"run": "demo", "report": "eval_report", "models": ["sft"]}] * 3},
                "questions": {},
                "provenance": {
                    "models": {},
                    "config": {"base_model": {"source": "hub", "hub_id": "a/b", "revision": None}},
                },
            }
        )
    )
    told = dict(found["trained"]["facts"]["rows"])
    assert (told["model"], told["recipes"]) == ("a/b", "2: dpo, sft")
    assert told["trained"] == "3 times each, from the same rollouts"
    assert [row[3]["main"] for row in found["helped"]["table"]["rows"]] == ["−10.0", "–"]
    assert found["spent"]["stats"]["rows"] == [("90.0 s", "summed over 3 jobs"), ("80.0 s", "CPU time, no GPU")]
    items = found["next"]["looks"]["items"] + found["next"]["looks"]["more"]
    assert [item["section"] for item in items] == [
        "tests",
        "training",
        "overview",
        "labels",
        "overview",
        "ranking",
        "tests",
    ]
    assert items[2]["text"] == "On other, dpo is significantly worse than sft in mean of k."


def test_markdown_begins_with_the_four_answers(summary: dict[str, Any]) -> None:
    _, md = render(summary, "trajectories.html")
    heads = re.findall("^## (.*)", md, re.MULTILINE)
    asked = ["What was trained on what", "Did it help?", "What did it cost?", "What to look at next", "Overview"]
    assert heads[:5] == asked
    assert "- 45.0 min wall time, without pauses" in md
    assert "`trajectories.html`" in md


@pytest.mark.parametrize("name", ["trajectories.html", "javascript:alert(1)", 'a" onclick="b'])
def test_the_viewers_link_is_a_file_beside_the_page(summary: dict[str, Any], name: str) -> None:
    html, _ = render(summary, name)
    (address,) = {link for link in re.findall(r'\shref="([^"]*)"', html) if not link.startswith("#")}
    assert re.fullmatch(r"[\w.%()]+", address)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (431, "431"), (5_200, "5.2 k"), (999_960, "1.0 M"), (123_456_789, "123 M"), (1_500_000_000, "1.5 B")],
)
def test_large_counts_are_rounded(value: float, text: str) -> None:
    assert rounded(value) == text


def test_markdown_and_terminal_show_the_numbers_of_the_json(summary: dict[str, Any]) -> None:
    html, md = render(summary)
    shown = terminal(summary)
    for model in summary["models"]:
        for estimate in (model["greedy"], model["mean"], model["majority"], model["pass"]["4"], model["flexible"]):
            value, ends = f"{100 * estimate['value']:.1f}%", [f"{100 * estimate[end]:.1f}" for end in ("low", "high")]
            assert f"{value} ({ends[0]} to {ends[1]})" in md
            assert f"{value}<small>{ends[0]} to {ends[1]}</small>" in html
            assert f"{value} [{ends[0]}, {ends[1]}]" in shown
    for comparison in summary["comparisons"]:
        assert f"{points(comparison['greedy']['difference'])} (" in md
    assert summary["verdict"]["sentence"] in html
    assert len({len(line) for line in shown.splitlines()[-3:]}) == 1


def test_markdown_tables_have_as_many_cells_in_every_row(hostile: dict[str, Any]) -> None:
    _, md = render(hostile)
    widths: list[int] = []
    for line in md.splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(len(re.findall(r"(?<!\\)\|", line)))
        assert widths[0] == widths[-1], line


def test_markdown_text_is_inert() -> None:
    assert markdown("a|b\n`c` <b> # *d* [e](f)") == r"a\|b \`c\` &lt;b&gt; \# \*d\* \[e\](f)"
    assert markdown("see http://a.b or WWW.a.b for $x$") == r"see http&#58;//a.b or WWW&#46;a.b for \$x\$"


def test_key_table_has_tokens_beside_every_accuracy(summary: dict[str, Any]) -> None:
    table = key_table(summary)
    assert {"greedy", "mean of 4", "flexible", "well formed", "truncated", "tokens"} <= set(table["columns"])
    assert [row[-1]["main"] for row in table["rows"]] == ["30", "20", "20"]


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    arguments = inputs(tmp_path)
    first, second = (render(summarise(PARAMS, **arguments)) for _ in range(2))
    assert first == second


def test_plain_holds_only_what_json_and_utf8_can() -> None:
    made = plain({"a": [float("nan"), float("inf"), 1.5], "b": "x\ud800", "c": (True, None)})
    assert made == {"a": [None, None, 1.5], "b": "x?", "c": [True, None]}


def test_config_is_read_from_text_and_file(tmp_path: Path) -> None:
    assert read_config('{"learning_rate": 5e-06}') == {"learning_rate": 5e-06}
    assert read_config(str(save(tmp_path / "config.yaml", {"rounds": 2})))["rounds"] == 2


def test_readings_of_a_set_are_counted_once_a_report(tmp_path: Path) -> None:
    made = inputs(tmp_path / "run")["evaluations"]
    own = {"run": "demo", "report": "eval_report", "models": list(made[SET])}
    for _ in range(2):
        assert note_readings(made, tmp_path / "readings", "demo", "eval_report") == {SET: [own]}
    few = [{SET: dict(list(made[SET].items())[first:last])} for first, last in ((0, 1), (1, 2))]
    for each, model in zip(few, ("base", "sft"), strict=True):
        found = note_readings(each, tmp_path / "readings", "other", "study_report")
        assert found[SET][-1] == {"run": "other", "report": "study_report", "models": [model]}
    assert [reading["run"] for reading in found[SET]] == ["demo", "other", "other"]
    (noted,) = (tmp_path / "readings").iterdir()
    assert len(list(noted.iterdir())) == 3
    summary = summarise(PARAMS, evaluations=made, note=lambda: found)
    said = rf"{SET} 3 (eval\_report of demo, study\_report of other 2 times)."
    assert f"this report counted (a set read often chooses, too): {said}" in render(summary)[1]


def test_a_reading_that_names_no_report_still_counts(tmp_path: Path) -> None:
    made = inputs(tmp_path / "run")["evaluations"]
    note_readings(made, tmp_path / "readings", "demo", "eval_report")
    (noted,) = (tmp_path / "readings").iterdir()
    save(noted / "earlier.json", {"run": "old", "models": ["sft"]})
    found = note_readings(made, tmp_path / "readings", "demo", "eval_report")
    assert [(reading["run"], reading["report"]) for reading in found[SET]] == [
        ("demo", "eval_report"),
        ("old", "report"),
    ]


def run_report(
    folder: Path, files: dict[str, Path], *more: Any, others: dict[str, Any] | None = None
) -> subprocess.CompletedProcess:
    outputs = [item for kind in ("html", "md", "json") for item in (f"--{kind}", folder / f"report.{kind}")]
    found = json.dumps({"evaluations": {SET: files}} | (others or {}), default=str)
    return stage("eval_report", "--params", json.dumps(PARAMS), "--inputs", found, *more, *outputs)


def test_command_writes_three_files_and_shows_its_figures(tmp_path: Path) -> None:
    made = inputs(tmp_path)
    others = {"rollouts": made["rollouts_"]} | {name: made[name] for name in ("preferences", "questions", "usage")}
    for name, key in (("adapters", "trainings"), ("models", "manifests")):
        others[name] = {model: path.parent for model, path in made[key].items()}
    for path in made["trainings"].values():
        write_manifest(path.parent, {})
    more = ["--config", json.dumps(made["config"]), "--config-output", tmp_path / "config.yaml"]
    more += ["--viewer", tmp_path / "trajectories.html"]
    done = run_report(tmp_path, made["evaluations"][SET], *more, others=others)
    assert done.returncode == 0, done.stderr
    assert "round 1" in done.stdout
    assert str(tmp_path / "report.html") in done.stdout

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    written = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert written["models"][0]["greedy"]["value"] == 0.4
    assert written["training"]["round1"]["curves"]["logps/rejected"][1] == [2, None]
    assert written["provenance"]["config"]["learning_rate"] == 5e-6
    assert "learning_rate: 5.0e-06" in (tmp_path / "config.yaml").read_text()
    assert "trust_remote_code" in (tmp_path / "report.md").read_text()
    assert '<a href="trajectories.html">' in (tmp_path / "report.html").read_text()


def test_command_with_evaluations_alone(tmp_path: Path) -> None:
    done = run_report(tmp_path, {"base": save(tmp_path / "base.jsonl", base_rows())})
    assert done.returncode == 0, done.stderr
    assert "Only base was evaluated" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.pop(), "different questions"),
        (lambda own: own[3].update(gold_answer="x"), "differ in question or gold answer of 'q3'"),
        (lambda own: own.append(own[0]), "q0 stands twice"),
        (lambda own: own[2]["samples"].pop(), "q2 has 3 samples"),
        (lambda own: [row["samples"].pop() for row in own], "sft has 3 samples a question, base 4"),
        (lambda own: own[1]["greedy"].pop("answer"), "no 'answer'"),
        (lambda own: own.clear(), "no evaluated question"),
    ],
)
def test_evaluations_that_do_not_fit(tmp_path: Path, change: Any, message: str) -> None:
    broken = sft_rows()
    change(broken)
    files = {"base": save(tmp_path / "base.jsonl", base_rows()), "sft": save(tmp_path / "sft.jsonl", broken)}
    with pytest.raises(UserError, match=message):
        summarise(PARAMS, evaluations={SET: files})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"evaluations": {"sft": "missing.jsonl"}}, r"missing.jsonl \(evaluations sft\) does not exist"),
        ({"usage": ["missing.json"], "evaluations": {"base": "."}}, r"missing.json \(usage\) does not exist"),
        ({"usage": []}, "'evaluations' is missing"),
        ({"evaluations": {}}, "'evaluations' is missing"),
        ({"evaluation": {}}, "'evaluation' is unknown; known are evaluations, usage"),
        ({"evaluations": {"sft": 3}}, "evaluations sft: a path was expected, found int"),
        (["a.jsonl"], "a JSON object was expected, found list"),
    ],
)
def test_inputs_that_cannot_be(wrong: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        given(wrong, ("evaluations", "usage"), ["evaluations"])


def test_inputs_stay_in_order(tmp_path: Path) -> None:
    files = {name: str(save(tmp_path / f"{name}.jsonl", base_rows())) for name in ("sft", "base", "round1")}
    found = given({"evaluations": files, "usage": list(files.values())}, ("evaluations", "usage"))
    assert list(found["evaluations"].items()) == [(name, Path(path)) for name, path in files.items()]
    assert found["usage"] == list(map(Path, files.values()))


def test_errors_are_one_line_and_leave_no_report(tmp_path: Path) -> None:
    files = {"base": save(tmp_path / "base.jsonl", base_rows()), "sft": save(tmp_path / "sft.jsonl", sft_rows()[:-1])}
    done = run_report(tmp_path, files)
    assert done.returncode == 2
    assert "different questions: 9 and 10, 'q9' is only in one" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("report.*"))


def test_one_sample_and_no_variation(tmp_path: Path) -> None:
    made = rows([out("99", str(i)) for i in range(QUESTIONS)], {})
    for row in made:
        del row["samples"][1:]
    files = {name: save(tmp_path / f"{name}.jsonl", made) for name in ("base", "sft")}
    found = summarise(PARAMS, evaluations={SET: files})
    assert found["models"][0]["mean"]["value"] == 0
    assert found["models"][0]["mean"]["high"] > 0.2  # Wilson: nothing right of 10 is no proof of nothing
    assert found["comparisons"][0]["minimum_detectable_effect"] is None
    html, _ = render(found)
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)


@pytest.fixture
def two_sets(tmp_path: Path) -> dict[str, Any]:
    """Arguments of `summarise` with a second set, on which nothing changes, of two samples a question."""
    made = inputs(tmp_path)
    same = rows([out(str(i), str(i)) for i in range(QUESTIONS)], dict.fromkeys(range(QUESTIONS), 1))
    for row in same:
        del row["samples"][2:]
    made["evaluations"]["aqua"] = {
        name: save(tmp_path / f"aqua/{name}.jsonl", same) for name in ("base", "sft", "round1")
    }
    return made


def test_each_set_has_its_numbers_tests_and_flips(two_sets: dict[str, Any], summary: dict[str, Any]) -> None:
    found = summarise(PARAMS, **two_sets)
    assert found["set"] == SET
    assert [found[key] for key in ("models", "comparisons", "flips")] == [
        summary[key] for key in ("models", "comparisons", "flips")
    ]
    other = found["other_sets"]["aqua"]
    assert [model["greedy"]["value"] for model in other["models"]] == [1.0] * 3
    assert (found["k"], other["k"]) == (4, 2)
    assert {c["greedy"]["outcome"] for c in other["comparisons"]} == {"unchanged"}
    assert [(f["model"], f["against"], f["gained"]["count"]) for f in other["flips"]] == [
        ("sft", "base", 0), ("round1", "base", 0), ("round1", "sft", 0),
    ]  # fmt: skip
    for page in (*render(found), terminal(found)):
        assert page.index("mean of 4") < page.index("aqua") < page.rindex("mean of 2")


def test_the_headline_is_about_the_first_set(two_sets: dict[str, Any], summary: dict[str, Any]) -> None:
    said = summarise(PARAMS, **two_sets)["verdict"]
    assert {key: said[key] for key in ("status", "headline", "sentence")} == {
        key: summary["verdict"][key] for key in ("status", "headline", "sentence")
    }
    assert said["notes"][-1].startswith("aqua: Round 1 answers 100.0% of 10 questions correctly (greedy)")
    two_sets["evaluations"] = dict(reversed(two_sets["evaluations"].items()))
    assert summarise(PARAMS, **two_sets)["verdict"]["sentence"].startswith("Round 1 answers 100.0% of 10")


def test_questions_that_training_has_are_left_out(two_sets: dict[str, Any]) -> None:
    told = counted()
    told["eval"]["aqua"] = {"left_out": ["q1", "q4"]}
    save(two_sets["questions"], told)
    found = summarise(PARAMS, **two_sets)
    assert (found["models"][0]["n"], found["other_sets"]["aqua"]["models"][0]["n"]) == (10, 8)
    html, _ = render(found)
    assert "8 questions; 2 more stand in the training data, too, and are left out." in html
    assert "aqua: stands in the training data, too, and is left out: q1, q4." in html
    told["eval"]["aqua"]["left_out"] = [f"q{i}" for i in range(QUESTIONS)]
    save(two_sets["questions"], told)
    with pytest.raises(UserError, match="all of its questions stand in the training data"):
        summarise(PARAMS, **two_sets)


def test_rounds_of_rejection_sampling_are_shown(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    counts = {"questions": 3, "questions_with_samples": 2, "correct": 9, "kept": 5, "tokens_mean": 40.0}
    given["samples"] = {"round1": save(tmp_path / "samples.json", counts | {"dropped": {"identical": 4}})}
    del given["preferences"]
    found = summarise(PARAMS, **given)
    html, _ = render(found)
    assert "samples for fine-tuning" in html
    assert "dropped: identical" in html
    assert found["samples"]["round1"]["kept"] == 5
