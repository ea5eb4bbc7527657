"""Hostile texts, names, ids, paths and settings in the report: no markup gets in, and in real Chromium nothing runs."""

import html
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import dom, needs_chromium
from fuzz.guard import ends
from fuzz.hostile import BEACON, PAYLOADS
from fuzz.test_texts import COUNTS, model_texts
from helpers import listening
from markdown_it import MarkdownIt
from report_inputs import PARAMS, SET, inputs, out, save

from regime_w.report.format import clean
from regime_w.report.render import fenced, markdown, render
from regime_w.report.summary import summarise

Beacon = tuple[str, list[tuple[str, str]]]  # a server's address and what it was asked
# Which payload comes first: figures show the beginning of a name.
FIRST = [place for place, text in enumerate(PAYLOADS) if place == 0 or text.startswith(("\u202e", "\x1b", "%s"))]
# Control characters but line feed and tab, and those that change the order or direction of what a reader sees.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
PLAIN_TAGS = {"h1", "h2", "h3", "p", "strong", "blockquote", "ul", "li", "pre", "code"}
PLAIN_TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}


class Markup(HTMLParser):
    """Counts the tags of a page with their attributes' names, of figures the tags alone."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.drawn, self.in_figure = Counter[Any](), set[str](), False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.in_figure |= tag == "svg"
        if self.in_figure:
            self.drawn.add(tag)
        else:
            self.tags[tag, *(name for name, _ in attributes)] += 1

    def handle_endtag(self, tag: str) -> None:
        self.in_figure &= tag != "svg"


def evaluation(texts: list[str], folder: Path) -> dict[str, Any]:
    """Arguments of `summarise`: three texts a question, as question and as both models' answers, all of them flipped."""
    models: dict[str, list[dict[str, Any]]] = {"base": [], "sft": []}
    for number in range(0, len(texts) - 2, 3):
        question, *answers = texts[number : number + 3]
        shared = {"id": f"{number} {question[:60]}", "question": question, "gold_answer": "0", "style": question[:9]}
        if number >= 300:
            shared["style"] = "plain"
        for place, (name, answer) in enumerate(zip(models, answers, strict=True)):
            right = (number + place) % 2 == 0
            greedy = out("0" if right else "1", "0", text=answer)
            models[name].append(shared | {"greedy": greedy, "samples": [greedy]})
    return {"evaluations": {SET: {name: save(folder / f"{name}.jsonl", own) for name, own in models.items()}}}


def in_order(page: str, text: str) -> None:
    """The markup of the page is that of the same page of plain text, and nothing unseen is in it."""
    assert not UNSEEN.search(page)
    found, wanted = Markup(page), Markup(text)
    assert found.tags == wanted.tags
    assert found.drawn <= wanted.drawn


@pytest.fixture
def beacon() -> Iterator[Beacon]:
    with listening(404) as server:
        yield server


def runs(page: str, folder: Path, beacon: Beacon) -> bool:
    """Whether anything of the page runs in Chromium or asks for a file, with its escaping alone to hold it."""
    path = folder / "page.html"
    address, asked = beacon
    asked.clear()
    page = re.sub(r"<meta http-equiv=\"Content[^>]*>", "", page).replace(BEACON, f"{address}/")
    path.write_text(page, encoding="utf-8", errors="replace")
    found = dom(path)
    assert found.rstrip().endswith("</html>")
    (title,) = re.findall("<title>(.*?)</title>", found[:100_000], re.DOTALL)[:1] or [""]
    return title == "owned" or bool(asked)


@needs_chromium
def test_the_payloads_do_run_where_nothing_is_escaped(tmp_path: Path, beacon: Beacon) -> None:
    """Else the other tests would show nothing."""
    running = [p for p in PAYLOADS if p.startswith(("<script", "<img", '"><img', "<svg", "<link", "<details", "</pre"))]
    assert len(running) > 6
    for payload in running[:: len(running) // 3]:
        assert runs(f"<!doctype html><title>quiet</title><body><p>{payload}", tmp_path, beacon), payload


@needs_chromium
@pytest.mark.parametrize("count", COUNTS)
def test_model_texts(count: int, tmp_path: Path, beacon: Beacon) -> None:
    """Every text stands on the page as text."""
    made = [text.encode("utf-8", "replace").decode() for text in model_texts(count)]
    for text in made:
        with ends(text):
            clean(text), markdown(text), fenced(text)
    size = 3 * 1_200
    for start in range(0, len(made), size):
        part = made[start : start + size]
        params = PARAMS | {"gallery": len(part)}
        found = summarise(params, **evaluation(part, tmp_path / "hostile"))
        page, md = render(found)
        plain, plain_md = render(summarise(params, **evaluation(["plain"] * len(part), tmp_path / "plain")))
        found_tags, plain_tags = Markup(page), Markup(plain)
        assert found_tags.drawn <= plain_tags.drawn
        # Styles are texts too: as many rows as there are of them.
        for tags in (found_tags.tags, plain_tags.tags):
            for tag in [tag for tag in tags if tag[0] in ("tr", "td", "th", "small")]:
                del tags[tag]
        assert found_tags.tags == plain_tags.tags
        assert not UNSEEN.search(page)
        for text in part[: len(part) // 3 * 3 : 3]:
            assert html.escape(clean(text), quote=False) in page.replace("&#39;", "'").replace("&#34;", '"')
        tags = Markup(MarkdownIt("commonmark").enable("table").render(md))
        wanted = Markup(MarkdownIt("commonmark").enable("table").render(plain_md))
        assert {tag[0] for tag in tags.tags} <= PLAIN_TAGS
        assert all(tags.tags[tag] == wanted.tags[tag] for tag in (("pre",), ("h2",), ("h3",), ("blockquote",), ("ul",)))
        assert not runs(page, tmp_path, beacon)


@needs_chromium
@pytest.mark.parametrize("rotation", [FIRST[0], *(pytest.param(place, marks=pytest.mark.fuzz) for place in FIRST[1:])])
def test_everything_from_outside(rotation: int, tmp_path: Path, beacon: Beacon) -> None:
    """Run, title, ids, arms, styles, paths, versions, hosts, GPUs, settings, alarms: payloads wherever a text can stand."""
    pages = []
    for text in (" ".join(PAYLOADS[rotation:] + PAYLOADS[:rotation]), "plain"):
        # A folder's name holds no slash and no NUL, and at most 255 bytes.
        folder = tmp_path / text.replace("/", "\u2215").replace("\0", "")[:60]
        given = inputs(folder, text)
        config = given["config"] | {text: {text: [text, {text: text}]}}
        params = PARAMS | {"run": text, "title": text, "alarm": 0.5}
        pages.append(render(summarise(params, **(given | {"config": config}))))
    (page, md), (plain, _) = pages
    in_order(page, plain)
    assert {tag[0] for tag in Markup(MarkdownIt("commonmark").enable("table").render(md)).tags} <= PLAIN_TAGS
    assert not runs(page, tmp_path, beacon)
