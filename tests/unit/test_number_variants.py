"""Questions with other numbers: what changes, what stays, and what is left alone."""

import random
import re
from fractions import Fraction

import pytest

from regime_w.method.sums import holds
from regime_w.questions.variants import alike, read, step_of, with_articles

CLIPS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many in all?",
    "She sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips in all.\n#### 72",
)
SHOP = (
    "A shop sells 15 pens for $2.50 each. A sale takes 20% off. It was founded in 1989. What do the pens cost?",
    "The pens cost 15*2.50 = $<<15*2.50=37.50>>37.50.\n20 percent are 37.50*20/100 = $<<37.5*20/100=7.5>>7.50.\n"
    "So they cost 37.50-7.50 = $<<37.5-7.5=30>>30.\n#### 30",
)


def varied(question, answer, seed=0):
    template = read(question, answer)
    assert template is not None
    return template.vary(random.Random(seed))


@pytest.mark.parametrize("seed", range(20))
def test_results_follow_the_new_numbers(seed):
    question, answer = varied(*CLIPS, seed)
    (given,) = map(int, re.findall(r"\d+", question))
    assert given != 48
    assert given % 2 == 0
    half, total = given // 2, given + given // 2
    assert question == CLIPS[0].replace("48", str(given))
    assert (
        answer
        == f"She sold {given}/2 = {half} clips in May.\nShe sold {given}+{half} = {total} clips in all.\n#### {total}"
    )


def test_the_same_seed_gives_the_same_variant():
    assert varied(*CLIPS, 5) == varied(*CLIPS, 5)
    assert len({varied(*CLIPS, seed) for seed in range(20)}) > 5


@pytest.mark.parametrize("seed", range(20))
def test_numbers_keep_their_form(seed):
    question, answer = varied(*SHOP, seed)
    pens, price = re.search(r"sells (\d+) pens for \$([\d.]+) each", question).groups()
    assert "1989" in question  # a year
    off = int(re.search(r"takes (\d+)%", question)[1])
    assert 0 < off < 100
    cost = int(pens) * Fraction(price)
    left = cost - cost * off / 100
    assert answer.endswith(f"#### {left}")
    assert left.denominator == 1  # as the old one
    assert holds(answer)
    for written in re.findall(r"\d+\.\d+", answer):
        assert len(written.split(".")[1]) == 2


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Tom has 3 bags.", "He has 3.\n#### 3"),  # no calculation
        ("Tom has 3 bags of 4.", "3*4=<<3*4=13>>13\n#### 13"),  # wrong
        ("Tom has 3 bags of 4.", "3*4=<<3*4=12>>12\n#### 13"),  # another answer
        ("Tom has 3 bags of 4.", "3*4=<<3*4=12>>12"),  # none
        ("Tom has 3 bags of 4.", "He has <<12=12>>12\n#### 12"),  # worked out in the head
        ("Tom has 3 bags of 4.", "3*4=<<3**4=81>>81\n#### 81"),
        ("Tom has 3 bags of 4.", "<<__import__('os')=12>>12\n#### 12"),
        ("Tom has 3 bags of 4.", "3/0=<<3/0=12>>12\n#### 12"),
        ("Tom has 3 bags of 4.", "3*4=<<3*4=12>>12, 17 in all\n#### 12"),  # whence 17?
        ("Tom has 3 bags of 4.", "3*4=<<3*4=12>>12 and 12+9=<<12+9=21>>21\n#### 21"),  # whence 9?
        ("He sells 20% of 5, 20 and 80%.", "5*.2=<<5*.2=1>>1, 5*.8=<<5*.8=4>>4\n#### 4"),  # 80 %, or what 20 % leave?
        ("Tom has 3 bags of 4, each of 9 kg.", "3*4=<<3*4=12>>12\n#### 12"),  # for what are the 9?
        # A given number or a result?
        ("Tom has 12 pens and 3 bags of 4.", "3*4=<<3*4=12>>12\n#### 12"),
        ("He buys 20 for 16 weeks, one every 4.", "16/4=<<16/4=4>>4\n20-4=<<20-4=16>>16\n#### 16"),
        ("4 of 16 pay $3.", "16/4=<<16/4=4>>4\n4*3=<<4*3=12>>12\n12+4=<<12+4=16>>16\n#### 16"),
        ("4 of 16 pay $3.", "He has 4 because 16/4=<<16/4=4>>4\n4*3=<<4*3=12>>12\n#### 12"),
        ("4 of 16 pay $3.", "16/4=<<16/4=4>>4 of 4\n4*3=<<4*3=12>>12\n#### 12"),
        ("4 of 16 pay $3.", "16/4=<<16/4=4>>4\n4*3=<<4*3=12>>12 for 4\n#### 12"),
        ("2 trips of 30 minutes.", "30*2=<<30*2=60>>60\n60/60=<<60/60=1>>1\n#### 1"),  # 60 minutes, or the result?
        ("Tom and Ann share half of two dozen.", "24/2=<<24/2=12>>12\n#### 12"),  # nothing to vary
        ("In 1999 he was 1 and in 2004?", "2004-1999=<<2004-1999=5>>5\n#### 5"),  # years
        ("He ate 1/4 of it on the 3rd.", "1/4*3=<<1/4*3=0.75>>0.75\n#### 0.75"),
    ],
)
def test_what_is_not_certain_is_left_alone(question, answer):
    assert read(question, answer) is None


def test_a_number_that_a_word_may_mean_stays():
    question = "Ann reads 7 pages a day for 3 weeks. How many pages does she read?"
    answer = "3 weeks have 3*7=<<3*7=21>>21 days.\nShe reads 21*7=<<21*7=147>>147 pages.\n#### 147"
    for seed in range(10):
        changed, _ = varied(question, answer, seed)
        assert changed.startswith("Ann reads 7 pages")
        assert "for 3 weeks" not in changed


WORLD = [
    (
        "Tom runs 4 miles each week. How many in a month?",
        "There are 4 weeks in a month, so 4*4 = <<4*4=16>>16.\n#### 16",
    ),
    ("Ann reads 7 pages every day. How many in a week?", "A week has 7 days, so 7*7=<<7*7=49>>49.\n#### 49"),
    ("A square has a side of 4 feet. How long is its edge?", "It has 4 sides, so 4*4=<<4*4=16>>16.\n#### 16"),
    ("He fences a rectangle, 8 by 2 feet.", "8*2=<<8*2=16>>16\n2*2=<<2*2=4>>4\n16+4=<<16+4=20>>20\n#### 20"),
    ("A car drives 60 miles in an hour for 3 minutes.", "3*60/60=<<3*60/60=3>>3\n#### 3"),
    ("The shop opens at 9 am and sells 5 pens an hour for 3 hours.", "3*5=<<3*5=15>>15\n#### 15"),
    ("It starts at 3:30 and 5 of 20 go each hour.", "20/5=<<20/5=4>>4\n#### 4"),
    ("He sleeps from noon, 5 hours a day, for 8 days.", "5*8=<<5*8=40>>40\n#### 40"),
    # GSM8K train 1085 and 2919 (from 0): the parents are 2, the weekend has 2 days
    (
        "Each of her 4 siblings is bringing 2 suitcases, and her parents are bringing 3 suitcases. How many in all?",
        "4 siblings * 2 suitcases each = <<4*2=8>>8.\n2 parents * 3 suitcases each = <<2*3=6>>6.\n8 + 6 = <<8+6=14>>14.\n#### 14",
    ),
    # 5831: 4 people, and $4.00
    (
        "He buys 5 days a week for himself and 3 others. Each meal costs $4.00. What does he pay?",
        "4*5 = <<4*5=20>>20 meals.\n4*20 = $<<4*20=80.00>>80.00\n#### 80",
    ),
    ("Ann, Bob and Tom pay $3 each for 5 rides.", "3*5=<<3*5=15>>15\n15*3=<<15*3=45>>45\n#### 45"),  # whose 3?
    ("Tests of 50, 60 and 70 points. He has 3 pens.", "50+60+70=<<50+60+70=180>>180\n180/3=<<180/3=60>>60\n#### 60"),
]


@pytest.mark.parametrize(("question", "answer"), WORLD)
def test_a_constant_of_the_world_is_no_given_number(question, answer):
    """No number that the words may mean, or that stands for something else too, is varied."""
    template = read(question, answer)
    for seed in range(5):
        made = template and template.vary(random.Random(seed))
        if made:
            meant = {"4": "weeks in a month", "7": "A week has 7 days"}
            for number, said in meant.items():
                assert said not in answer or f"{number} {said}" in made[1] or said in made[1]
    kept = {
        "Tom runs": 4,
        "Ann reads": 7,
        "A square": 4,
        "He buys 5": 4,
        "Ann, Bob": 3,
        "Each of": 2,
        "Tests of": 3,
        "A car": 60,
    }
    for start, number in kept.items():
        if template and question.startswith(start):
            assert number not in template.free


LEFT = [
    # the other half is no result of its own
    (
        "Of 200 games 50% cost $5 and all others $3.",
        "200*50/100=<<200*50/100=100>>100\n100*5=<<100*5=500>>500\nThe other 100 cost 100*3=<<100*3=300>>300\n"
        "500+300=<<500+300=800>>800\n#### 800",
    ),
    # a result that is written, not worked out
    ("Of 60 pets 25% are dogs, 50% cats.", "25% are bunnies because 100% - 50% - 25% = 25%\n60 x .25 = 15\n#### 15"),
    ("At least 7 of 28 are red.", "28-7=<<28-7=21>>21\n#### 21"),
]


@pytest.mark.parametrize(("question", "answer"), LEFT)
def test_one_number_for_two_things_is_left_alone(question, answer):
    assert read(question, answer) is None


@pytest.mark.parametrize(
    ("question", "answer", "stays"),
    [
        ("He earns $40 a day and pays 10%.", "40/10=<<40/10=4>>4\n40-4=<<40-4=36>>36\n#### 36", "10%"),
        ("64% of 75 games.", "Sixty-four percent is 75*64/100=<<75*64/100=48>>48\n#### 48", "64%"),
        ("He pays with a $20 bill and buys 3 pens for $4.", "3*4=<<3*4=12>>12\n20-12=<<20-12=8>>8\n#### 8", "$20 bill"),
        ("He was 4'6\" and grew 30 inches in 5 years.", "30/5=<<30/5=6>>6\n4+6=<<4+6=10>>10\n#### 10", "4'6"),
        (
            "In room 14 of 1989 35 pens cost $3.",
            "35*3=<<35*3=105>>105\n105-14=<<105-14=91>>91\n#### 91",
            "room 14 of 1989",
        ),
        (
            "5 of 20 boys are 5 boys; 15 are girls and 30 old.",
            "20+30=<<20+30=50>>50\n50-5-15=<<50-5-15=30>>30\n#### 30",
            "5 of 20",
        ),
    ],
)
def test_what_something_else_depends_on_stays(question, answer, stays):
    template = read(question, answer)
    for seed in range(5):
        made = template and template.vary(random.Random(seed))
        assert not made or stays in made[0]


def test_numbers_keep_their_order_and_the_worlds_limits():
    question = "He sings 11 hours a day for $15 an hour and pays $95 for food. What is left?"
    answer = "11*15=<<11*15=165>>165\n165-95=<<165-95=70>>70\n#### 70"
    made = {varied(question, answer, seed) for seed in range(20)} - {None}
    assert len(made) > 3
    for changed, worked in made:
        hours, wage, food = map(int, re.findall(r"\d+", changed))
        assert hours < wage < food
        assert hours < 24
        assert int(worked.rpartition("#### ")[2]) == hours * wage - food < food


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a 12-ounce cup", "an 8-ounce cup"),
        ("an 8-inch pipe", "a 9-inch pipe"),
        ("A 7 mile road", "An 11 mile road"),
        ("a 5 pound", "an 80 pound"),
    ],
)
def test_the_article_follows_the_number(old, new):
    (before,), (after,) = re.findall(r"\d+", old), re.findall(r"\d+", new)
    assert with_articles(old.replace(before, after)) == new


@pytest.mark.parametrize("annotation", ["", "<<12=12>>"])
def test_a_calculation_without_its_annotation(annotation):
    for seed in range(10):
        question, answer = varied(
            "Tom has 3 bags of 4 at $5.", f"3*4={annotation}12\n12*5=$<<12*5=60>>60\n#### 60", seed
        )
        bags, each, price = map(int, re.findall(r"\d+", question))
        assert (
            answer
            == f"{bags}*{each}={bags * each}\n{bags * each}*{price}=${bags * each * price}\n#### {bags * each * price}"
        )


@pytest.mark.parametrize(
    ("share", "total", "of"),
    [
        (".2", 100, lambda p: p),
        ("0.8", 400, lambda p: 100 - p),
        ("1.2", 600, lambda p: 100 + p),
        ("20*.01", 100, lambda p: p),
    ],
)
def test_the_share_of_a_percentage_follows_it(share, total, of):
    answer = f"That is 500*{share}=<<500*{share}={total}>>{total}.\n#### {total}"
    for seed in range(10):
        question, changed = varied("20% of 500 pupils leave.", answer, seed)
        percent, pupils = map(int, re.findall(r"\d+", question))
        assert percent != 20
        assert Fraction(changed.rpartition("#### ")[2]) == Fraction(pupils * of(percent), 100)
        assert holds(changed)


def test_a_hundred_stays_beside_percentages():
    for seed in range(10):
        question, answer = varied(
            "20% of 350 pupils and 100 others leave.",
            "350*20/100=<<350*20/100=70>>70\n70+100=<<70+100=170>>170\n#### 170",
            seed,
        )
        percent, pupils = map(int, re.match(r"(\d+)% of (\d+) pupils and 100 others", question).groups())
        assert answer.endswith(f"#### {Fraction(percent * pupils, 100) + 100}")


def test_two_results_that_part_make_no_variant():
    question = "Tom has 34 pens and 13 caps; Ann has 28 cups and 19 plates. How many things do both have?"
    answer = "34+13=<<34+13=47>>47\n28+19=<<28+19=47>>47\n47+47=<<47+47=94>>94\n#### 94"
    made = [found for seed in range(40) if (found := varied(question, answer, seed))]
    assert made
    for _, changed in made:  # both results are the same number again
        first, second, total = re.findall(r"=(\d+)", changed)
        assert first == second
        assert int(total) == 2 * int(first)


@pytest.mark.parametrize(
    "left", ["9" * 5000, "+".join("1" * 3000), "(" * 3000 + "1" + ")" * 3000, "1/3" + "*1/3" * 900]
)
def test_hostile_annotations_are_left_alone(left):
    assert read(f"Tom has 3 bags of 4 and {left}.", f"<<{left}=12>>12\n#### 12") is None


@pytest.mark.parametrize(
    ("value", "step"),
    [("350", "50"), ("7", "1"), ("12", "1"), ("40", "10"), ("20", "5"), ("1.75", "1/4"), ("2.50", "1/2")],
)
def test_the_step_of_a_number(value, step):
    assert step_of(Fraction(value)) == Fraction(step)


def test_a_result_stays_of_its_kind():
    assert alike(Fraction(12), Fraction(40))
    assert not alike(Fraction(12), Fraction(-1))
    assert not alike(Fraction(12), Fraction(1, 2))
    assert not alike(Fraction(1, 2), Fraction(3))
    assert not alike(Fraction(1, 2), Fraction(1, 3))  # no two decimals
    assert not alike(Fraction(1000), Fraction(5000))
