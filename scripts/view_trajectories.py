"""A page to read a run's trajectories in: every question of each round, and every model's answers to evaluation questions.

    python -m scripts.view_trajectories --params '{"run": "demo", "pairs": {...}, "reward": {...}, "seed": 0}' \
        --rollouts round1=data/demo/round1/rollouts.jsonl \
        --answers platinum/base=data/demo/answers/platinum/base.jsonl \
        --output results/demo/trajectories.html

Open the page in a browser; it needs no network. See regime_w/report/viewer.py.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regime_w.method.pairs import judge
from regime_w.report.inputs import named_files
from regime_w.report.viewer import answers_view, rollouts_view, write_viewer
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import iter_jsonl, read_jsonl

ROLLOUTS = ("id", "question", "gold_answer", "trajectories")
ANSWERS = ("id", "question", "gold_answer", "greedy", "samples")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=json.loads, required=True, help="run, pairs (null where none are made), reward, seed"
    )
    parser.add_argument("--rollouts", nargs="*", default=[], metavar="ROUND=FILE")
    parser.add_argument("--answers", nargs="*", default=[], metavar="SET/MODEL=FILE", help="models in their order")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params = args.params

    def judged(row: Mapping[str, Any]) -> list[tuple[int, int, str, str | None]]:
        if not params["pairs"]:
            return []
        return [
            (c.chosen, c.rejected, c.pair_type, reason) for c, reason in judge(row, params["pairs"], params["seed"])
        ]

    views = [
        rollouts_view(name, iter_jsonl(path, ROLLOUTS), judged, params["reward"])
        for name, path in named_files(args.rollouts, "--rollouts").items()
    ]
    sets: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, path in named_files(args.answers, "--answers").items():
        where, sign, model = name.rpartition("/")
        if not sign:
            raise UserError(f"--answers: {name!r} is not SET/MODEL")
        sets.setdefault(where, {})[model] = read_jsonl(path, ANSWERS)
    views += [answers_view(name, models) for name, models in sets.items()]
    size = write_viewer(args.output, params["run"], views)
    print(f"{sum(len(view['items']) for view in views):,} questions in {args.output} ({size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    run(main)
