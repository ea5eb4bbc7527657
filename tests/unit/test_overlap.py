"""Questions that stand in two places: whole texts of any length and language, and n-grams of words."""

import pytest

from regime_w.questions.overlap import Texts, described, find_overlap, ngrams, too_close, whole_text

LONG = "Tom has three boxes with seven red pens each and gives two of them away to Ann"


def known(*questions, n=8, name="platinum"):
    texts = Texts(n)
    for number, question in enumerate(questions):
        texts.add(name, {"id": f"e{number}", "question": question})
    return texts


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is 2 + 2?", "what is 2+2"),
        ("Tom’s “pen” costs $5.", 'Tom\'s "pen" costs 5'),
        ("How  many\npens?", "How many pens"),
        ("ＡＢＣ１", "abc1"),
        ("小明有三个苹果。", "小明有三个苹果"),
        ("Сколько будет 2 + 2?", "сколько будет 2+2"),
        ("Straße", "STRASSE"),
        ("?!", "?!"),
    ],
)
def test_copies_have_the_same_whole_text(a, b):
    assert whole_text(a) == whole_text(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is 2 + 2?", "What is 2 - 2?"),
        ("What is 3.5?", "What is 35?"),
        ("The numbers 1 2 and 3", "The numbers 12 and 3"),
        ("Is x < 3?", "Is x > 3?"),
        ("?!", "?"),
    ],
)
def test_other_questions_have_another_whole_text(a, b):
    assert whole_text(a) != whole_text(b)


def test_words_of_scripts_without_spaces_are_characters():
    assert ngrams("小明有3个苹果", 4) == {
        ("小", "明", "有", "3"),
        ("明", "有", "3", "个"),
        ("有", "3", "个", "苹"),
        ("3", "个", "苹", "果"),
    }
    assert ngrams("Tom has 3 pens", 3) == {("tom", "has", "3"), ("has", "3", "pens")}


@pytest.mark.parametrize("question", ["What is 2 + 2?", "小明有三个苹果，又买了两个。一共有几个？", LONG])
def test_a_copy_is_found_at_any_length(question):
    found = known("Another one?", question).best(question.upper())
    assert (found.set, found.id, found.coverage, found.whole) == ("platinum", "e1", 1.0, True)
    assert too_close(found, 1.0)


def test_part_of_a_question_is_found_by_its_ngrams():
    texts = known(LONG)
    words = LONG.split()
    found = texts.best(" ".join(words[:12]) + " but not the rest of it")
    assert found.coverage == pytest.approx(5 / 10)  # 17 words, so 10 n-grams, of which the first 12 words have 5
    assert too_close(found, 0.5)
    assert not too_close(found, 0.51)
    assert texts.best("Seven words of it are not enough") is None


def test_the_nearest_of_all_sets_is_told():
    texts = Texts(3)
    texts.add("aqua", {"id": "1", "question": "a b c d e f g h"})
    texts.add("platinum", {"id": "1", "question": "a b c d"})
    assert texts.best("a b c d x")[:3] == ("platinum", "1", 1.0)
    assert texts.all_close("a b c d x", 0.3) == {("platinum", "1"), ("aqua", "1")}
    assert texts.all_close("a b c d x", 0.9) == {("platinum", "1")}


def test_every_set_that_has_a_text_is_close():
    texts = Texts(8)
    for name in ("aqua", "platinum"):
        for identity in "12":
            texts.add(name, {"id": identity, "question": "2+2?"})
    assert texts.all_close("2 + 2", 1.0) == {(name, identity) for name in ("aqua", "platinum") for identity in "12"}


def test_sixteen_copies_of_any_length_are_sixteen():
    """Some have fewer words than an n-gram."""
    questions = [f"{' '.join(LONG.split()[:n])} {n}?" for n in range(1, 17)]
    texts = known(*questions, n=8)
    found = find_overlap([{"id": f"t{n}", "question": q} for n, q in enumerate([*questions, "New?"])], texts)
    told = described(found, texts, 0.5)
    assert told["dropped"] == sorted(f"t{n}" for n in range(16))
    assert (told["same_text"], told["sharing_an_ngram"]) == (16, 0)
    assert len(told["highest"]) == 16
