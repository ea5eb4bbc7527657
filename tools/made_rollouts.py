"""Made-up completions at any size, to measure the CPU stages with: as long, as varied and as often right as a 7B model's.

    python -m tools.made_rollouts --questions 100000 --shards 8 --seed 0 --output /tmp/big

Writes OUTPUT/train.jsonl, OUTPUT/completions/{I-of-N}.jsonl with the records and shards of scripts.generate, and
OUTPUT/params.json with the parameters of each stage. docs/scaling.md has the commands that use them.

A question has 4 to 7 steps and a difficulty of its own. A wrong trajectory slips at one step; most that are wrong share the
question's likeliest slip. Texts have about 600 characters, 150 tokens. Nine of ten answers are marked `#### N`, half of
the rest otherwise; one in five states a currency, a unit, a thousands comma or decimals. A few texts are cut off, run on
into a next question or have no answer. Everything follows from (seed, number of the question).
"""

import argparse
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.config.recipes import READS
from regime_w.config.schema import load
from regime_w.questions.parts import shard_of
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.parallel import in_order
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import to_line, write_json
from regime_w.runtime.seals import new_records

CHUNK = 250  # questions
TOKEN = 4.0  # characters
# Those of a run that says no more than it must, but with coherence pairs, which take the longest to find.
SOURCE = {"source": "file", "path": "train.jsonl"}
CONFIG = load(
    {
        "run": "made",
        "base_model": {"source": "hub", "hub_id": "made/up"},
        "questions": {"train": SOURCE, "eval": {"made": SOURCE}},
        "pairs": {"coherence_share": 0.25},
    }
)
ARMS = CONFIG["arms"]
PARAMS = {stage: READS[stage](CONFIG) for stage in ("score_rollouts", "check_rollouts", "build_preferences")}
PARAMS["check_rollouts"]["n_questions"] = None  # as many as there are

NAMES = ("Natalia", "Weng", "Betty", "Julie", "James", "Albert", "Ken", "Alexis", "Tina", "Tobias", "Randy", "Jasper")
THINGS = ("apples", "clips", "pages", "letters", "flowers", "dollars", "stickers", "bottles", "miles", "tickets")
GIVEN = {
    "+": ("Then {n} gets {b} more {o} from a friend.", "On the next day {n} finds another {b} {o}."),
    "-": ("After that {n} gives {b} of the {o} away.", "Unfortunately {b} of the {o} are lost on the way home."),
    "*": ("By the end of the year {n} has {b} times as many {o}.", "A neighbour trades {n} {b} {o} for each one."),
}
SAID = {
    "wolfram": (
        "Step {i}: {n} now has {a} {s} {b} = {a}{s}{b} = <<{a}{s}{b}={r}>>{r} {o}, which is what the next step needs.",
        "Step {i}: The number of {o} becomes {a} {s} {b} = {r}, because {b} of the {o} are concerned here.",
        "{i}. From {a} {o} and {b} we calculate {a} {s} {b} = {r} {o} for {n} at this point.",
    ),
    "maudlin": (
        "Let me think about what changes now: there were {a} {o}, so {a} {s} {b} = {r}. That looks right, {r} {o}.",
        "This step may be fragile, since {b} could mean something else. Taking it literally, {a} {s} {b} = {r} {o}.",
        "Next, {n} goes from {a} {o} to {a} {s} {b} = {r}. Checking it once more: yes, that makes {r} {o}.",
    ),
}
LAST = ("So {n} has {r} {o} in the end.", "Therefore the answer to the question is {r} {o}.", "In total that is {r}.")
MARKED = (  # how a final answer is written, and how often
    (700, "#### {r}"), (50, "#### ${r}"), (60, "#### {r} {o}"), (40, "#### {c}"), (20, "#### {r}.00"), (20, "#### {r}."),
    (10, "#### {n} has {r}"), (30, "The answer is: {r}"), (20, "**Answer:** {r} {o}"), (20, "\\boxed{{{r}}}"),
    (20, "It is {r} {o}"), (5, "#### {r} or {b}"), (5, "#### {r}:00 PM"),
)  # fmt: skip
WEIGHTS = [weight for weight, _ in MARKED]
TRUNCATED, RUN_ON, SHARED_SLIP = 0.02, 0.01, 0.6  # shares


class Step(NamedTuple):
    sign: str
    operand: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    if args.questions < 1 or args.shards < 1:
        raise UserError("--questions and --shards must be at least 1")
    tasks = (range(start, min(start + CHUNK, args.questions)) for start in range(0, args.questions, CHUNK))
    progress = Progress(args.questions, "Made", unit="questions")
    with ExitStack() as stack:
        train = stack.enter_context(new_records(args.output / "train.jsonl"))
        names = [f"{index}-of-{args.shards}" for index in range(args.shards)]
        shards = [stack.enter_context(new_records(args.output / "completions" / f"{name}.jsonl")) for name in names]
        for questions, blocks in in_order(make, tasks, threads(), (args.seed, args.shards)):
            train.write(questions)
            for index, block in blocks.items():
                shards[index].write(block)
            progress.update(questions.count(b"\n"))
    write_json(args.output / "params.json", PARAMS)
    print(f"{args.questions} questions x {len(ARMS)} in {progress.close():.0f} s -> {args.output}")


def make(shared: tuple[int, int], numbers: range) -> tuple[bytes, dict[int, bytes]]:
    """Lines of the questions of these numbers, and of their completions by shard."""
    seed, shards = shared
    questions: list[bytes] = []
    blocks: dict[int, list[bytes]] = {}
    for number in numbers:
        row, completions = question(seed, number)
        questions.append(to_line(row))
        blocks.setdefault(shard_of(row["id"], shards), []).extend(map(to_line, completions))
    return b"".join(questions), {index: b"".join(lines) for index, lines in blocks.items()}


def question(seed: int, number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A question record and its completions in the order of the arms."""
    rng = random.Random(f"{seed}-{number}")
    name, thing, start = rng.choice(NAMES), rng.choice(THINGS), rng.randint(20, 400)
    steps = [_step(rng) for _ in range(rng.randint(4, 7))]
    gold = [result for *_, result in _calculate(start, steps, {})][-1]
    facts = [rng.choice(GIVEN[step.sign]).format(n=name, o=thing, b=step.operand) for step in steps]
    row = {
        "id": f"made-{seed}-{number:07d}",
        "question": f"{name} has {start} {thing}. {' '.join(facts)} How many {thing} does {name} have at the end?",
        "answer": f"#### {gold}",
        "gold_answer": str(gold),
    }
    chance = rng.betavariate(1.2, 0.8)
    slip = _slip(rng, steps)
    completions = []
    for place, arm in enumerate(ARMS):
        slips = {} if rng.random() < chance else slip if rng.random() < SHARED_SLIP else _slip(rng, steps)
        text, ended = _text(rng, str(arm["style"]), name, thing, _calculate(start, steps, slips))
        completions.append(
            {
                "key": f"{rng.getrandbits(256):064x}",
                "id": row["id"],
                "arm": arm["name"],
                "style": arm["style"],
                "temperature": arm["temperature"],
                "seed": (number * len(ARMS) + place) & 0x7FFFFFFF,
                "text": text,
                "num_tokens": max(1, round(len(text) / TOKEN)),
                "finish_reason": "stop" if ended else "length",
            }
        )
    return row, completions


def _step(rng: random.Random) -> Step:
    sign = rng.choice("++--*")
    return Step(sign, rng.randint(2, 4) if sign == "*" else rng.randint(2, 19))


def _slip(rng: random.Random, steps: list[Step]) -> dict[int, int]:
    """An error by step: what is added to its result."""
    return {rng.randrange(len(steps)): rng.choice((-10, -2, -1, 1, 2, 10))}


def _calculate(value: int, steps: list[Step], slips: dict[int, int]) -> Iterator[tuple[int, str, int, int]]:
    for index, (sign, operand) in enumerate(steps):
        result = {"+": value + operand, "-": value - operand, "*": value * operand}[sign] + slips.get(index, 0)
        yield value, sign, operand, result
        value = result


def _text(
    rng: random.Random, style: str, name: str, thing: str, steps: Iterator[tuple[int, str, int, int]]
) -> tuple[str, bool]:
    """A solution, and whether it ends by itself."""
    lines, result = [], 0
    for number, (value, sign, operand, result) in enumerate(steps, 1):
        wording = rng.choice(SAID[style])
        lines.append(wording.format(i=number, n=name, o=thing, a=value, s=sign, b=operand, r=result))
    lines.append(rng.choice(LAST).format(n=name, o=thing, r=result))
    ((_, form),) = rng.choices(MARKED, WEIGHTS)
    lines.append(form.format(r=result, c=f"{result:,}", b=result + 1, n=name, o=thing))
    text = "\n".join(lines)
    if rng.random() < TRUNCATED:
        return text[: rng.randint(len(text) // 2, len(text) - 12)], False
    return (f"{text}\n\nQuestion:\nWhat is next?" if rng.random() < RUN_ON else text), True


if __name__ == "__main__":
    run(main)
