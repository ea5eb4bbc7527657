"""Simulation of generate's shards on many GPUs: engine starts, stragglers, preemption, Snakemake and SLURM between them.

    python -m tools.simulate_shards --inputs docs/scaling.json --document docs/scaling.md

Writes the document's tables anew, between its marks. What is measured and what is assumed stands in the inputs; everything
random follows from the seed. A GPU runs a job a time: start, then its shard's trajectories at its own speed. A preempted
job loses what is in flight, the journal keeps the rest; its GPU comes back later. Snakemake submits as many jobs as the cap
allows, one after the other, and sees a job's end at once (one machine) or when it next looks (SLURM).
"""

import argparse
import math
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import simpy

from regime_w.config.plan import shards_for
from regime_w.report.format import duration
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import read_json, write_text

ARMS = 8
QUESTIONS = (7_473, 100_000, 1_000_000)
GPUS = (1, 8, 64, 512)
SHARDS_PER_GPU = (1, 2, 4, 8, 16)
SIZES = ((100_000, 8), (1_000_000, 1), (1_000_000, 8), (1_000_000, 64), (1_000_000, 512))
SEEDS = 20
Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class World:
    """What a run meets. Times in seconds, rates in trajectories a second of one GPU."""

    rate: float
    start: float = 0.0  # of a job, before it generates
    first_start: float = 0.0  # more for a GPU's first job: its node reads the model beside all others
    tail: float = 0.0  # of a job, after its last trajectory was begun
    submit: float = 0.0  # of Snakemake a job, one at a time
    queue: float = 0.0  # from submission, or from a GPU's release, to the job's start
    ahead: int = 0  # jobs submitted beyond the GPUs, which wait in SLURM's queue
    polls: tuple[float, float, float] | None = None  # first interval, step, most; None: an end is seen at once
    speed_sigma: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0
    preemptions: float = 0.0  # a GPU and second
    away: float = 0.0  # mean
    in_flight: float = 0.0  # trajectories
    retries: int = 10**9


@dataclass
class Outcome:
    """Of one run; `kept` and `lost` in trajectories, `held` in GPU-seconds."""

    makespan: float = 0.0
    held: float = 0.0
    kept: float = 0.0
    lost: float = 0.0
    starts: int = 0
    preempted: int = 0
    given_up: int = 0  # jobs that failed more often than `retries`: Snakemake would have to be called again


@dataclass
class Shard:
    left: float  # trajectories
    failures: int = 0


class Simulation:
    """One run as processes of SimPy: Snakemake that submits and looks, GPUs that work; `outcome` holds what came of it."""

    def __init__(self, shards: Sequence[float], gpus: int, world: World, seed: int) -> None:
        self.world, self.outcome = world, Outcome()
        self.unfinished = len(shards)
        self.ended: list[Shard] = []  # which Snakemake has not seen
        env = self.env = simpy.Environment()
        self.waiting, self.queue = simpy.Store(env), simpy.Store(env)
        self.waiting.items = [Shard(float(left)) for left in shards]
        self.places = simpy.Container(env, init=gpus + world.ahead)  # for jobs to submit
        self.over = env.event()
        env.process(self.submit())
        if world.polls:
            env.process(self.look(*world.polls))
        for gpu in range(gpus):
            # A stream of its own a GPU and purpose, so that worlds that differ in one thing meet the same chances.
            speed = draw_speed(world, random.Random(f"{seed}-speed-{gpu}"))
            env.process(self.gpu(world.rate * speed, random.Random(f"{seed}-preemption-{gpu}")))
        env.run(self.over)

    def submit(self) -> Process:
        while True:
            shard = yield self.waiting.get()
            yield self.places.get(1)
            yield self.env.timeout(self.world.submit)
            self.queue.put(shard)

    def gpu(self, rate: float, chances: random.Random) -> Process:
        """A GPU runs the jobs that come to the head of SLURM's queue, one at a time."""
        world, outcome, first_start = self.world, self.outcome, self.world.first_start
        while True:
            shard = yield self.queue.get()
            outcome.starts += 1
            start = world.start + first_start
            first_start = 0.0
            seconds = start + shard.left / rate + world.tail
            chance = chances.expovariate(1.0)
            until_preempted = chance / world.preemptions if world.preemptions else math.inf
            yield self.env.timeout(world.queue + min(seconds, until_preempted))
            if until_preempted >= seconds:
                outcome.held += seconds
                outcome.kept += shard.left
                shard.left = 0.0
                self.end(shard)
            else:
                made = min(shard.left, max(0.0, until_preempted - start) * rate)
                lost = min(made, world.in_flight / 2)
                outcome.held += until_preempted
                outcome.kept += made - lost
                outcome.lost += lost
                outcome.preempted += 1
                shard.left -= made - lost
                shard.failures += 1
                outcome.given_up += shard.failures == world.retries + 1
                self.end(shard)
                yield self.env.timeout(chances.expovariate(1.0) * world.away)

    def end(self, shard: Shard) -> None:
        self.ended.append(shard)
        if not self.world.polls:
            self.see()

    def see(self) -> None:
        """Snakemake sees which jobs ended; a job that failed is submitted again."""
        for shard in self.ended:
            self.places.put(1)
            if shard.left > 0:
                self.waiting.put(shard)
            else:
                self.unfinished -= 1
        self.ended.clear()
        self.outcome.makespan = self.env.now
        if not self.unfinished:
            self.over.succeed()

    def look(self, first: float, step: float, most: float) -> Process:
        interval = first
        while True:
            yield self.env.timeout(interval)
            interval = first if self.ended else min(interval + step, most)
            if self.ended:
                self.see()


def draw_speed(world: World, rng: random.Random) -> float:
    speed = math.exp(rng.gauss(0.0, world.speed_sigma))
    return speed / world.slow_factor if rng.random() < world.slow_share else speed


def simulate(shards: Sequence[float], gpus: int, world: World, seed: int) -> Outcome:
    """Run jobs of these numbers of trajectories on `gpus` GPUs."""
    return Simulation(shards, gpus, world, seed).outcome


def mean_of(shards: int, trajectories: int, gpus: int, world: World, seeds: int) -> Outcome:
    """The mean outcome of equal shards."""
    runs = [simulate([trajectories / shards] * shards, gpus, world, seed) for seed in range(seeds)]
    return Outcome(**{name: mean(getattr(found, name) for found in runs) for name in Outcome.__dataclass_fields__})


class Inputs:
    """The values of docs/scaling.json as attributes, and the worlds that follow from them."""

    def __init__(self, path: Path) -> None:
        self.groups: dict[str, dict[str, dict[str, Any]]] = read_json(path)
        self.values = {name: entry["value"] for group in self.groups.values() for name, entry in group.items()}

    def __getattr__(self, name: str) -> float:
        try:
            return self.values[name]
        except KeyError:
            raise UserError(f"the inputs have no {name!r}; see docs/scaling.json") from None

    def one_machine(self) -> World:
        return World(
            rate=self.tokens_per_second / self.tokens_per_trajectory,
            start=self.start_seconds,
            tail=self.tail_seconds,
            submit=1 / self.controller_jobs_per_second,
            in_flight=self.in_flight,
        )

    def slurm(self, gpus: int) -> World:
        """On a cluster, with this many GPUs at work."""
        return replace(
            self.one_machine(),
            first_start=shared_reads(self, gpus) - shared_reads(self, 1),
            start=self.start_seconds + self.job_snakemake_seconds,
            queue=self.scheduling_seconds,
            polls=(self.poll_first_seconds, self.poll_step_seconds, self.poll_most_seconds),
            retries=int(self.retries),
        )

    def world(self, gpus: int, used: int) -> World:
        return self.slurm(used) if gpus > self.gpus_per_node else self.one_machine()

    def with_stragglers(self, world: World) -> World:
        spread = {name: getattr(self, name) for name in ("speed_sigma", "slow_share", "slow_factor")}
        return replace(world, **spread)

    def with_preemption(self, world: World) -> World:
        return replace(
            self.with_stragglers(world), preemptions=self.preemptions_per_gpu_hour / 3600, away=self.away_seconds
        )


def inputs_table(inputs: Inputs) -> str:
    rows = [
        [f"{entry['value']:,}" if entry["value"] >= 1 else f"{entry['value']:g}", entry["what"], group, entry["from"]]
        for group, entries in inputs.groups.items()
        for entry in entries.values()
    ]
    return table(["value", "what", "known how", "from"], rows)


def costs_table(inputs: Inputs, seeds: int) -> str:
    """Time and cost of each size, and what takes longest beside generation itself."""
    rows = []
    for questions in QUESTIONS:
        for gpus in GPUS:
            trajectories = questions * ARMS
            shards = shards_for(trajectories, gpus)
            used = min(gpus, shards)
            world = inputs.world(gpus, used)
            calm = mean_of(shards, trajectories, gpus, world, 1)
            rough = mean_of(shards, trajectories, gpus, inputs.with_preemption(world), seeds)
            core_seconds = inputs.score_core_seconds + inputs.check_core_seconds + inputs.pairs_core_seconds
            parts = {
                "engine start": calm.starts * inputs.start_seconds / used,
                "file system": shared_reads(inputs, used),
                "SLURM": calm.makespan - mean_of(shards, trajectories, gpus, without_slurm(world, inputs), 1).makespan,
                "controller": shards / inputs.controller_jobs_per_second,
                "CPU stages": questions * core_seconds / inputs.cpu_cores,
            }
            worst = max(parts, key=lambda name: parts[name])
            rows.append(
                [
                    f"{questions:,}",
                    str(gpus),
                    str(shards),
                    duration(trajectories / world.rate / used),
                    *(f"**{duration(value)}**" if name == worst else duration(value) for name, value in parts.items()),
                    f"{duration(calm.makespan)} / {duration(rough.makespan)}",
                    f"{calm.held / 3600 * inputs.gpu_hour_usd:,.2f} / {rough.held / 3600 * inputs.gpu_hour_usd:,.2f}",
                ]
            )
    columns = ["questions", "GPUs", "shards", "generating", "engine start", "file system", "SLURM", "controller"]
    return table([*columns, "CPU stages", "generate, calm / rough", "USD, calm / rough"], rows)


def without_slurm(world: World, inputs: Inputs) -> World:
    return replace(world, start=inputs.start_seconds, queue=0.0, polls=None)


def shared_reads(inputs: Inputs, gpus: int) -> float:
    """Seconds in which all nodes have read the model's weights, if they begin together."""
    nodes = math.ceil(gpus / inputs.gpus_per_node)
    rate = min(inputs.file_system_gigabytes_per_second / nodes, inputs.client_gigabytes_per_second)
    return inputs.model_gigabytes / rate


def sizes_table(inputs: Inputs, seeds: int) -> str:
    """Time by the number of shards in three worlds, and how far the plan's number is from the best of these."""
    rows = []
    for questions, gpus in SIZES:
        trajectories, calm = questions * ARMS, inputs.world(gpus, gpus)
        chosen = shards_for(trajectories, gpus)
        worlds = {
            "calm": calm,
            "stragglers": inputs.with_stragglers(calm),
            "and preemption": inputs.with_preemption(calm),
        }
        for name, world in worlds.items():
            times = [mean_of(each * gpus, trajectories, gpus, world, seeds).makespan for each in SHARDS_PER_GPU]
            plan = mean_of(chosen, trajectories, gpus, world, seeds)
            best = min(*times, plan.makespan)
            rows.append(
                [
                    f"{questions:,}",
                    str(gpus),
                    name,
                    *(f"**{duration(time)}**" if time == best else duration(time) for time in times),
                    f"{chosen}: {duration(plan.makespan)}, {plan.makespan / best - 1:+.0%}",
                    f"{plan.given_up / chosen:.1%}",
                ]
            )
    columns = ["questions", "GPUs", "world", *(f"{each} a GPU" for each in SHARDS_PER_GPU)]
    return table([*columns, "the plan's shards, against the best", "given up"], rows)


def cap_table(inputs: Inputs, seeds: int) -> str:
    """What jobs that wait in SLURM's queue are worth, where a GPU has several shards."""
    rows = []
    for questions, gpus in ((1_000_000, 64), (1_000_000, 512)):
        world, shards = inputs.with_preemption(inputs.slurm(gpus)), 4 * gpus
        times = [
            mean_of(shards, questions * ARMS, gpus, replace(world, ahead=ahead), seeds).makespan for ahead in (0, gpus)
        ]
        rows.append([f"{questions:,}", str(gpus), str(shards), *map(duration, times)])
    return table(["questions", "GPUs", "shards", "cap = GPUs", "cap = twice the GPUs"], rows)


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(text: str, tables: dict[str, str]) -> str:
    """The document with each table put between its marks, `<!-- table: NAME -->` and `<!-- end -->`."""
    for name, content in tables.items():
        mark = f"<!-- table: {name} -->\n"
        before, found, after = text.partition(mark)
        _, end, rest = after.partition("<!-- end -->")
        if not (found and end):
            raise UserError(f"the document has no {mark.strip()} with an <!-- end --> behind it; put both in")
        text = f"{before}{mark}{content}\n{end}{rest}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, default=Path("docs/scaling.json"))
    parser.add_argument("--document", type=Path, default=Path("docs/scaling.md"))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs a cell")
    args = parser.parse_args()
    inputs = Inputs(args.inputs)
    tables = {
        "inputs": inputs_table(inputs),
        "costs": costs_table(inputs, args.seeds),
        "sizes": sizes_table(inputs, args.seeds),
        "cap": cap_table(inputs, args.seeds),
    }
    write_text(args.document, fill(args.document.read_text(encoding="utf-8"), tables))
    print("\n\n".join(tables.values()))


if __name__ == "__main__":
    run(main)
