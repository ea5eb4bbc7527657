"""Questions with other numbers: what changes, what stays, and what is left alone."""

import random
import re
from fractions import Fraction

import pytest

from regime_w.method.sums import holds
from regime_w.questions.variants import alike, read, step_of

CLIPS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many in all?",
    "She sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips in all.\n#### 72",
)
SHOP = (
    "A shop sells 15 pens for $2.50 each and 1,200 pads. A sale takes 20% off. It was founded in 1989. What do the pens cost?",
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
    assert "1,200" in question  # in no calculation
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
        # A given number or a result?
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


@pytest.mark.parametrize("seed", range(10))
def test_a_given_number_that_is_a_result_later(seed):
    question = "Kim buys 2 bars a week for 16 weeks and eats 1 every 4 weeks. How many has she left?"
    answer = "She buys 2*16 = <<2*16=32>>32.\nShe eats 16/4 = <<16/4=4>>4.\nShe ate 4, so she has 32-4 = <<32-4=28>>28.\n#### 28"
    question, answer = varied(question, answer, seed)
    a_week, weeks, every = map(
        int, re.search(r"(\d+) bars a week for (\d+) weeks and eats 1 every (\d+)", question).groups()
    )
    bought, eaten = a_week * weeks, weeks // every
    assert answer == (
        f"She buys {a_week}*{weeks} = {bought}.\nShe eats {weeks}/{every} = {eaten}.\n"
        f"She ate {eaten}, so she has {bought}-{eaten} = {bought - eaten}.\n#### {bought - eaten}"
    )


def test_an_answer_that_is_a_given_number():
    for seed in range(10):
        question, answer = varied(
            "Tom has 12 pens and 3 bags of 4. How many are in bags?", "3*4=<<3*4=12>>12\n#### 12", seed
        )
        assert "has 12 pens" in question
        bags, each = map(int, re.search(r"(\d+) bags of (\d+)", question).groups())
        assert answer == f"{bags}*{each}={bags * each}\n#### {bags * each}"


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
            "20% of 100 pupils leave in 5 buses.", "20/100*100=<<20/100*100=20>>20\n20/5=<<20/5=4>>4\n#### 4", seed
        )
        percent = re.match(r"(\d+)% of 100 pupils", question)[1]
        assert answer.startswith(f"{percent}/100*100={percent}\n")


def test_two_results_that_part_make_no_variant():
    question = "Tom has 6 pens and 2 boxes of 5; Ann has 12 cups and 4 plates. How many things do both have?"
    answer = "6+2*5=<<6+2*5=16>>16\n12+4=<<12+4=16>>16\n16+16=<<16+16=32>>32\n#### 32"
    made = [found for seed in range(5) if (found := varied(question, answer, seed))]
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
