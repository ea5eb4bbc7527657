"""Word problems in grade-school arithmetic, made from templates: questions of the demo and text for its base model.

    rows = generate(600, "eval", seed=1)
    documents = pretraining_text(10_000, seed=0)

Record: {"id": "synthetic-eval-1-00017", "question": "Tom has 3 bags of 9 apples and gives 5 away. How many apples are left?",
         "answer": "Step 1: 3*9=27 apples.\nStep 2: 27-5=22 apples.\n#### 22", "gold_answer": "22",
         "rationales": {"wolfram": (as answer), "maudlin": "First, 3*9=27. Check: 27/9=3.\nThen, ... \n#### 22"}}

Form `choice` makes the questions of form `number` a choice: "options": ["23", "27", "22", "12"], "gold_answer": "C", solutions
that end in `#### C`, and "question": "A=23.\nB=27.\nC=22.\nD=12.\n\nQuestion: Tom has ...". The options stand in front, as single
sums do in the base model's text: what stands behind a question, or inside it, this model takes for numbers to calculate with.

The splits (pretrain, train, eval) are disjoint by construction: a calculation, that is all steps and numbers of a problem,
belongs to one split by its hash, so that no evaluation question's calculation stands in a training question or in the base
model's text, whatever names, objects or wording. Single sums, as drills have them, are common to all.
"""

import operator
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from regime_w.method.draws import drawn
from regime_w.runtime.errors import UserError

SPLITS = {"pretrain": (0, 60), "train": (60, 85), "eval": (85, 100)}  # hash ranges, in percent
STYLES = ("wolfram", "maudlin")
FORMS = ("number", "choice")
LETTERS, SLIPS = "ABCD", (-10, -2, -1, 1, 2, 10)
LARGEST = 100  # of any intermediate result
DRILLS, ONE_STEP = 0.5, 0.05  # shares of the pretraining documents
RARE, HASHED, STYLED = 0.12, 0.02, 0.4  # shares among its problems: rare wordings, ends in `#### N`, styles named
DRILL_SUMS = 8
TRIES = 20_000  # in a row without a new calculation, after which a split counts as used up

NAMES = ("Tom", "Anna", "Ben", "Lily", "Sam", "Mia", "Jack", "Nora", "Omar", "Ruth", "Leo", "Eva")
OBJECTS = ("apples", "pens", "books", "cards", "eggs", "coins", "shells", "stamps", "cups", "kites", "pears", "beads")
BOXES = ("bags", "boxes", "jars", "bowls", "trays", "packs")

SMALL, TABLE, MORE, SUM = (2, 5), (2, 9), (2, 12), (2, 24)
# After the first step the Maudlin style goes on with these.
THEN = ("First, ", "Then, ", "Last, ")
OPERATIONS: dict[str, tuple[Callable[[int, int], int], str]] = {
    "+": (operator.add, "-"),
    "-": (operator.sub, "+"),
    "*": (operator.mul, "/"),
    "/": (operator.floordiv, "*"),
}


class Template(NamedTuple):
    """`steps` are sums of operands (letters) and earlier results (digits); `ranges` bound the operands.

    The unit of the answer is the object, or the word after `|` in the wording.
    """

    steps: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    wordings: tuple[str, ...]
    rare_wordings: tuple[str, ...]  # as frequent in the questions, rare in the base model's text


class Step(NamedTuple):
    left: int
    operation: str
    right: int
    result: int


TEMPLATES = (
    Template(
        ("a*b", "1-c"),
        (MORE, TABLE, SUM),
        (
            "{n} has {a} {box} of {b} {o} and gives {c} away. How many {o} are left?",
            "There are {a} {box} with {b} {o} each. {n} takes {c} {o}. How many {o} are left?",
        ),
        (
            "{n} has {a} {box} of {b} {o} but {c} are bad. How many good {o} has {n}?",
            "{n} needs {a} {box} of {b} {o} and has {c} {o}. How many {o} are missing?",
        ),
    ),
    Template(
        ("a*b", "1+c"),
        (MORE, TABLE, SUM),
        (
            "{n} has {a} {box} of {b} {o} and finds {c} more. How many {o} are there?",
            "{n} fills {a} {box} with {b} {o} each and has {c} left over. How many {o} are there?",
        ),
        (
            "After {c} {o} went bad {n} has {a} {box} of {b} good {o}. How many {o} were there before?",
            "{a} kids have {b} {o} each, {n} has {c}. How many {o} is that?",
        ),
    ),
    Template(
        ("a+b", "1-c"),
        (SUM, SUM, SUM),
        (
            "{n} had {a} {o}, got {b} more and lost {c}. How many {o} are left?",
            "{n} picks {a} {o} and {m} picks {b}. They sell {c}. How many {o} are left?",
        ),
        (
            "{n} needs {c} of {a} old and {b} new {o}. How many {o} can {n} sell?",
            "{n} had {a} {o}. {m} took {c} and gave {b} back. How many {o} has {n} now?",
        ),
    ),
    Template(
        ("a-b", "1*c"),
        (SUM, SUM, TABLE),
        (
            "{n} has {a} {box} and sells {b}. Each holds {c} {o}. How many {o} are left?",
            "A shop had {a} {o} and sold {b}. The rest cost {c} dollars each. How many dollars is that?|dollars",
        ),
        (
            "Of {a} {box} {b} are empty. The others hold {c} {o}. How many {o} are there?",
            "{n} is paid {c} dollars a day for {a} days but is ill for {b}. How many dollars is that?|dollars",
        ),
    ),
    Template(
        ("a+b", "1*c"),
        ((2, 20), (2, 20), TABLE),
        (
            "{n} buys {a} {o} and {m} buys {b}. Each costs {c} dollars. How many dollars do they pay?|dollars",
            "A room has {a} old and {b} new {box} with {c} {o} each. How many {o} are there?",
        ),
        (
            "{n} counts {a} and {m} {b} {o} a day. How many {o} is that in {c} days?",
            "{c} kids have {a} red and {b} blue {o} each. How many {o} is that?",
        ),
    ),
    Template(
        ("a*b", "1/c"),
        ((2, 18), MORE, TABLE),
        (
            "{n} shares {a} {box} of {b} {o} among {c} friends. How many {o} does each get?",
            "{a} kids bring {b} {o} each and put them in {c} {box}. How many {o} does each hold?",
        ),
        (
            "{n} has {a} {box} of {b} {o} and sells {c} a day. After how many days are all sold?|days",
            "{c} friends need {a} {box} of {b} {o}. How many must each bring?",
        ),
    ),
    Template(
        ("a-b", "1/c"),
        ((10, 99), SUM, TABLE),
        (
            "{n} had {a} {o} and lost {b}. The rest go in {c} {box}. How many {o} does each hold?",
            "{n} has {a} {o}, keeps {b} and shares the rest among {c} friends. How many {o} does each get?",
        ),
        (
            "{n} has {b} of the {a} {o} needed and makes {c} a day. How many days are left?|days",
            "Of {a} {o} {b} are bad. {c} kids share the good ones. How many has each?",
        ),
    ),
    Template(
        ("a*b", "c*d", "1+2"),
        (MORE, TABLE, MORE, TABLE),
        (
            "{n} buys {a} {o} at {b} dollars each and {c} {p} at {d} dollars each. How many dollars is that?|dollars",
            "{n} has {a} {box} of {b} {o} and {m} has {c} {box} of {d}. How many {o} are there?",
        ),
        (
            "{n} counts {a} {o} a day for {b} days, then {c} a day for {d} days. How many {o} is that?",
            "In {a} {box} are {b} {o} each, in {c} others {d} each. How many is that?",
        ),
    ),
    Template(
        ("a*b", "1+c", "2-d"),
        (TABLE, TABLE, SUM, SUM),
        (
            "{n} has {a} {box} of {b} {o}, finds {c} more and loses {d}. How many {o} are left?",
            "{n} gets {a} dollars a day for {b} days. {m} adds {c} and they spend {d}. How many dollars are left?|dollars",
        ),
        (
            "{n} has {c} {o}, buys {a} {box} of {b} and needs {d}. How many can {n} sell?",
            "{a} kids bring {b} {o} each, {n} brings {c}. {d} are bad. How many are good?",
        ),
    ),
    Template(
        ("a*b", "a+1", "2-c"),
        ((2, 20), SMALL, SUM),
        (
            "{n} has {a} {o} and {m} has {b} times as many. They give {c} away. How many {o} are left?",
            "{n} makes {a} {o} and {m} makes {b} times as many. They sell {c}. How many {o} are left?",
        ),
        (
            "{n} counts {a} {o}, then {b} times as many. {c} were bad. How many were good?",
            "{n} sells {a} {o}, {m} sells {b} times as many. They get {c} back. How many are sold?",
        ),
    ),
    Template(
        ("a+b", "a+1", "2-c"),
        (SUM, SUM, SUM),
        (
            "{n} has {a} {o} and {m} has {b} more than that. They give {c} away. How many {o} are left?",
            "{n} makes {a} {o} and {m} makes {b} more than that. They sell {c}. How many {o} are left?",
        ),
        (
            "{n} counts {a} {o}, then {b} more than before. {c} were bad. How many were good?",
            "{n} sells {a} {o}, {m} sells {b} more than {n}. They get {c} back. How many are sold?",
        ),
    ),
    Template(
        ("a+b", "1*c", "2-d"),
        (MORE, MORE, TABLE, SUM),
        (
            "{n} makes {a} {o} a day and {m} makes {b}. After {c} days they sell {d}. How many {o} are left?",
            "{n} gets {a} dollars a day and {m} gets {b}. After {c} days they spend {d}. "
            "How many dollars are left?|dollars",
        ),
        (
            "{c} kids have {a} red and {b} blue {o} each. {d} are bad. How many are good?",
            "{n} buys {a} {o} and {m} {b}, for {c} dollars each. They get {d} dollars back. How many dollars is that?|dollars",
        ),
    ),
)


def generate(n: int, split: str, seed: int, form: str = "number") -> list[dict[str, Any]]:
    """`n` question records of a split, no calculation twice; the same for the same arguments. `form` is one of FORMS.

    UserError for an unknown split, or where the split has fewer calculations than `n`.
    """
    if split not in SPLITS:
        raise UserError(f"questions: split {split!r} is none of the generator's; known are {sorted(SPLITS)}")
    rng = random.Random(f"questions-{split}-{seed}")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    missed = 0
    while len(rows) < n:
        template, operands, steps = _problem(rng, split)
        key = _key(template, operands)
        missed = missed + 1 if key in seen else 0
        if missed > TRIES:
            raise UserError(
                f"questions: the generator has {len(rows)} questions in split {split!r}, {n} were asked for"
            )
        if key in seen:
            continue
        seen.add(key)
        question, unit = _question(rng, template.wordings + template.rare_wordings, operands)
        identity = f"synthetic-{split}-{seed}-{len(rows):05d}"
        gold, options = str(steps[-1].result), {}
        if form == "choice":
            options = {"options": _options(identity, steps)}
            gold = LETTERS[options["options"].index(gold)]
            shown = [f"{letter}={option}.\n" for letter, option in zip(LETTERS, options["options"], strict=True)]
            question = f"{''.join(shown)}\nQuestion: {question}"
        rationales = {style: f"{rationale(steps, style, unit)}\n#### {gold}" for style in STYLES}
        rows.append(
            {
                "id": identity,
                "question": question,
                **options,
                "answer": rationales["wolfram"],
                "gold_answer": gold,
                "rationales": rationales,
            }
        )
    return rows


def pretraining_text(n: int, seed: int) -> Iterator[list[tuple[str, str]]]:
    """`n` documents for the base model, each a list of (given, wanted) texts in turn: what cannot be foreseen, and what
    follows from it.

    DRILLS of them are single sums, ONE_STEP problems of one step, the rest problems of split pretrain. Solutions come in both
    styles, whatever style the text names, and end in several ways, seldom in the `#### N` that fine-tuning teaches.
    """
    rng = random.Random(f"pretraining-{seed}")
    for _ in range(n):
        draw = rng.random()
        if draw < DRILLS:
            yield _drill(rng)
        elif draw < DRILLS + ONE_STEP:
            yield [_one_step(rng)]
        else:
            template, operands, steps = _problem(rng, "pretrain")
            wordings = template.rare_wordings if rng.random() < RARE else template.wordings
            question, unit = _question(rng, wordings, operands)
            yield [(_opening(rng, question), _solution(rng, steps, unit))]


def rationale(steps: list[Step], style: str, unit: str) -> str:
    """The reasoning of a style, a line a step: Wolfram's are numbered, Maudlin's undo each step to check it."""
    lines = []
    for number, (left, operation, right, result) in enumerate(steps):
        sum_ = f"{left}{operation}{right}={result}"
        if style == "wolfram":
            lines.append(f"Step {number + 1}: {sum_} {unit}.")
        else:
            check = f"{result}{OPERATIONS[operation][1]}{right}={left}"
            lines.append(f"{THEN[number]}{sum_}. Check: {check}.")
    return "\n".join(lines)


def _options(identity: str, steps: list[Step]) -> list[str]:
    """The answer among what slips lead to (a step left out, SLIPS), in an order drawn for this question."""
    rng = random.Random(f"options-{identity}")
    right = steps[-1].result
    wrong = {step.result for step in steps} | {right + slip for slip in SLIPS if right + slip > 0}
    options = [right, *rng.sample(sorted(wrong - {right}), len(LETTERS) - 1)]
    rng.shuffle(options)
    return [str(option) for option in options]


def split_of(template: Template, operands: dict[str, int]) -> str:
    """The split that a calculation belongs to."""
    percent = drawn(_key(template, operands)) % 100
    return next(name for name, (low, high) in SPLITS.items() if low <= percent < high)


def _key(template: Template, operands: dict[str, int]) -> str:
    """Steps and numbers; sorted, so that 3*9 and 9*3 count as one."""
    return f"{' '.join(template.steps)} | {' '.join(map(str, sorted(operands.values())))}"


def _problem(rng: random.Random, split: str) -> tuple[Template, dict[str, int], list[Step]]:
    """Draw a template, then operands until every result is in bounds and the calculation belongs to `split`."""
    template = rng.choice(TEMPLATES)
    while True:
        operands = {
            letter: rng.randint(low, high) for letter, (low, high) in zip("abcd", template.ranges, strict=False)
        }
        steps = _calculate(template.steps, operands)
        if steps and split_of(template, operands) == split:
            return template, operands, steps


def _calculate(formulas: tuple[str, ...], operands: dict[str, int]) -> list[Step] | None:
    """The steps with their results; None where one is out of bounds or a division leaves a rest."""
    values = dict(operands)
    steps = []
    for number, formula in enumerate(formulas, 1):
        x, operation, y = tuple(formula)
        left, right = values[x], values[y]
        if operation == "/" and left % right:
            return None
        result = OPERATIONS[operation][0](left, right)
        if not 2 <= result <= LARGEST:
            return None
        values[str(number)] = result
        steps.append(Step(left, operation, right, result))
    return steps


def _question(rng: random.Random, wordings: tuple[str, ...], operands: dict[str, int]) -> tuple[str, str]:
    """Wording with names and objects, and the unit of the answer."""
    wording, _, unit = rng.choice(wordings).partition("|")
    n, m = rng.sample(NAMES, 2)
    o, p = rng.sample(OBJECTS, 2)
    return wording.format(n=n, m=m, o=o, p=p, box=rng.choice(BOXES), **operands), unit or o


def _sum(rng: random.Random) -> Step:
    """One sum as they come up in the problems."""
    operation = rng.choice("++--**/")
    if operation in "*/":
        right, other = rng.randint(2, 9), rng.randint(2, 20)
        product = right * other
        return Step(other, "*", right, product) if operation == "*" else Step(product, "/", right, other)
    result, right = rng.randint(2, LARGEST), rng.randint(*SUM)
    return Step(result, "+", right, result + right) if operation == "+" else Step(result + right, "-", right, result)


def _drill(rng: random.Random) -> list[tuple[str, str]]:
    return [
        (f"{left}{operation}{right}=", f"{result}.\n")
        for left, operation, right, result in (_sum(rng) for _ in range(DRILL_SUMS))
    ]


def _one_step(rng: random.Random) -> tuple[str, str]:
    step = _sum(rng)
    wording = {
        "+": "{n} has {a} {o} and finds {b} more. How many {o} are there?",
        "-": "{n} has {a} {o} and gives {b} away. How many {o} are left?",
        "*": "{n} has {b} {box} of {a} {o}. How many {o} are there?",
        "/": "{n} shares {a} {o} among {b} friends. How many {o} does each get?",
    }[step.operation]
    o = rng.choice(OBJECTS)
    question = wording.format(n=rng.choice(NAMES), o=o, box=rng.choice(BOXES), a=step.left, b=step.right)
    return _opening(rng, question), _solution(rng, [step], o)


def _opening(rng: random.Random, question: str) -> str:
    head = rng.choice(("Style: exact.\n\n", "Style: careful.\n\n")) if rng.random() < STYLED else ""
    return head + rng.choice(("Question: {}\nAnswer:\n", "Problem: {}\nSolution:\n", "{}\n")).format(question)


def _solution(rng: random.Random, steps: list[Step], unit: str) -> str:
    gold = steps[-1].result
    endings = (f"Result {gold}", f"So {gold} {unit}.", f"This makes {gold}.", f"Thus {gold} {unit} in all.")
    ending = f"#### {gold}" if rng.random() < HASHED else rng.choice(endings)
    return f"{rationale(steps, rng.choice(STYLES), unit)}\n{ending}"
