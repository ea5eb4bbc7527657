"""The simulation of shards: exact where nothing is random, work conserved, and trends that must hold in the mean."""

import json
from dataclasses import replace
from statistics import mean

import pytest
from helpers import ROOT, tool
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from regime_w.runtime.errors import UserError
from tools.simulate_shards import Inputs, World, fill, inputs_table, simulate

ROUGH = World(
    rate=100.0, start=60.0, first_start=5.0, tail=1.0, submit=0.2, queue=5.0, polls=(40.0, 10.0, 180.0), speed_sigma=0.1,
    slow_share=0.1, slow_factor=2.0, preemptions=1 / 3600, away=300.0, in_flight=1000.0, retries=2,
)  # fmt: skip


def mean_time(shards: list[float], gpus: int, world: World, seeds: int = 40) -> float:
    return mean(simulate(shards, gpus, world, seed).makespan for seed in range(seeds))


@pytest.mark.parametrize(("shards", "gpus", "waves"), [(1, 1, 1), (8, 8, 1), (9, 8, 2), (12, 4, 3), (3, 8, 1)])
def test_without_chance_the_time_is_that_of_the_waves(shards: int, gpus: int, waves: int) -> None:
    found = simulate([1000.0] * shards, gpus, World(rate=100.0, start=60.0, tail=2.0), 0)
    assert found.makespan == pytest.approx(waves * 72)
    assert found.held == pytest.approx(shards * 72)
    assert (found.starts, found.preempted, found.lost) == (shards, 0, 0)


def test_a_start_beside_others_counts_once_a_gpu() -> None:
    found = simulate([100.0] * 4, 2, World(rate=100.0, start=10.0, first_start=5.0), 0)
    assert found.makespan == pytest.approx(5 + 2 * 11)


def test_snakemake_submits_one_after_the_other() -> None:
    found = simulate([100.0] * 4, 4, World(rate=100.0, submit=3.0), 0)
    assert found.makespan == pytest.approx(4 * 3 + 1)


def test_ends_are_seen_when_snakemake_looks() -> None:
    looks = World(rate=1.0, polls=(40.0, 10.0, 180.0))
    assert simulate([30.0], 1, looks, 0).makespan == 40
    assert simulate([41.0], 1, looks, 0).makespan == 40 + 50
    # The second job is submitted when the first one's end is seen, unless it waits in the queue already.
    assert simulate([30.0, 30.0], 1, looks, 0).makespan == 80
    assert simulate([19.0, 19.0], 1, replace(looks, ahead=1), 0).makespan == 40


@limits(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.floats(1, 200_000), min_size=1, max_size=12),
    gpus=st.integers(1, 6),
    seed=st.integers(0, 99),
    per_hour=st.floats(0, 3),
)
def test_work_is_conserved(sizes: list[float], gpus: int, seed: int, per_hour: float) -> None:
    world = replace(ROUGH, preemptions=per_hour / 3600)
    found = simulate(sizes, gpus, world, seed)
    assert found.kept == pytest.approx(sum(sizes))
    assert found.starts == len(sizes) + found.preempted
    assert found.lost <= found.preempted * world.in_flight / 2
    assert found.held <= gpus * found.makespan + 1e-6
    assert simulate(sizes, gpus, world, seed) == found


@pytest.mark.parametrize("shards", [4, 16])
def test_more_trouble_is_never_faster_in_the_mean(shards: int) -> None:
    sizes, calm = [480_000.0 / shards] * shards, replace(ROUGH, preemptions=0.0)
    hours = [mean_time(sizes, 4, replace(ROUGH, preemptions=rate / 3600)) for rate in (0.0, 0.25, 1.0, 4.0)]
    assert hours == sorted(hours)
    slow = [mean_time(sizes, 4, replace(calm, slow_share=share)) for share in (0.0, 0.1, 0.5)]
    assert slow == sorted(slow)
    away = [mean_time(sizes, 4, replace(ROUGH, away=seconds)) for seconds in (0.0, 600.0, 3600.0)]
    assert away == sorted(away)
    gpus = [mean_time(sizes, number, ROUGH) for number in (1, 2, 4)]
    assert gpus == sorted(gpus, reverse=True)


def test_jobs_that_fail_too_often_are_counted() -> None:
    world = replace(ROUGH, preemptions=20 / 3600, retries=0)
    found = simulate([100_000.0] * 5, 2, world, 1)
    assert 0 < found.given_up <= 5 <= found.preempted


def test_tables_are_put_between_their_marks() -> None:
    text = "a\n<!-- table: one -->\nold\n<!-- end -->\nb\n"
    assert fill(text, {"one": "new"}) == "a\n<!-- table: one -->\nnew\n<!-- end -->\nb\n"
    assert fill(fill(text, {"one": "new"}), {"one": "new"}) == fill(text, {"one": "new"})
    with pytest.raises(UserError, match="table: two"):
        fill(text, {"two": "new"})


def test_the_document_shows_the_inputs() -> None:
    """After an edit of docs/scaling.json: python -m tools.simulate_shards."""
    document = (ROOT / "docs/scaling.md").read_text()
    assert fill(document, {"inputs": inputs_table(Inputs(ROOT / "docs/scaling.json"))}) == document


def test_the_command_writes_all_tables(tmp_path) -> None:
    document = tmp_path / "scaling.md"
    document.write_text((ROOT / "docs/scaling.md").read_text())
    inputs = json.loads((ROOT / "docs/scaling.json").read_text())
    inputs["measured"]["tokens_per_second"]["value"] *= 2
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    done = tool("simulate_shards", "--inputs", tmp_path / "inputs.json", "--document", document, "--seeds", 1)
    assert done.returncode == 0, done.stderr
    assert f"| {inputs['measured']['tokens_per_second']['value']:,} | tokens/s" in document.read_text()
    del inputs["measured"]["start_seconds"]
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    done = tool("simulate_shards", "--inputs", tmp_path / "inputs.json", "--document", document, "--seeds", 1)
    assert done.returncode == 2
    assert "no 'start_seconds'" in done.stderr
