"""Results → document → page, in both languages; nothing of what a server says can act in it."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from postane.acceptance import seal
from postane.acceptance.checks import NAMES
from postane.acceptance.document import Run, document
from postane.acceptance.page import page
from postane.acceptance.result import FailedError, Reason, Result, Verdict
from postane.acceptance.words import LANGUAGES, WORDS, Language

RUN = Run(
    "xn--mze-hoa.example", "müze.example", "mail.host.test", "Fırın & <Söhne>", "1.2.3", "cutover", 1.5e9, 1.5e9 + 7.1
)
EVIL = "<script>alert(1)</script> & \" '"


def results(verdict: Verdict = Verdict.PASS) -> list[Result]:
    reason = FailedError("said", said=EVIL).reason if verdict is not Verdict.PASS else Reason()
    return [Result(name, verdict, reason, (f"S: 250 {EVIL}", f"of {name}"), 1.25) for name in NAMES]


def signed(found: list[Result]) -> seal.Document:
    return seal.sign(document(RUN, found), bytes(32))


class Reader(HTMLParser):
    """Tags with what they name, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_the_document_tells_all() -> None:
    found = document(RUN, results())
    assert (found["verdict"], found["counts"]) == ("pass", {"pass": len(NAMES), "fail": 0, "skipped": 0})
    assert (found["begun"], found["ended"], found["milliseconds"]) == (
        "2017-07-14T02:40:00Z",
        "2017-07-14T02:40:07Z",
        7100,
    )
    first = found["checks"][0]
    assert (first["name"], first["title"], first["milliseconds"]) == ("mail.in", "Mail from outside arrives", 1250)
    assert first["reason"]["text"] == ""
    one_bad = [dataclasses.replace(results()[0], verdict=Verdict.FAIL, reason=Reason("no_mail")), *results()[1:]]
    bad = document(RUN, one_bad)
    assert (bad["verdict"], bad["counts"]["fail"]) == ("fail", 1)
    assert bad["checks"][0]["reason"] == {"key": "no_mail", "values": {}, "text": "there is no mail to read"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_page_shows_the_document(language: Language, verdict: Verdict) -> None:
    made = signed(results(verdict))
    reader = read(page(made, language))
    words = WORDS[language]
    for name in NAMES:
        assert words[f"check.{name}"] in reader.text
        assert f"of {name}" in reader.text
        assert (words[f"did.{name}"] in reader.text) is (verdict is Verdict.PASS)
    assert words["page.pass" if verdict is Verdict.PASS else "page.fail"] in reader.text
    for text in ("müze.example (xn--mze-hoa.example)", "Fırın & <Söhne>", "mail.host.test", "1.2.3", EVIL):
        assert text in reader.text
    for text in (seal.fingerprint_of(bytes(32)), seal.digest(made), made["signature"]["value"]):
        assert text in reader.text
    assert ("lang", language) in reader.names
    assert reader.tags.count("h1") == 1


def test_nothing_is_fetched_and_nothing_runs() -> None:
    reader = read(page(signed(results(Verdict.FAIL)), "en"))
    assert not {"script", "link", "img", "iframe", "object", "form", "a"} & set(reader.tags)
    assert not [name for name, _ in reader.names if name in ("src", "href", "style") or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", page(signed(results()), "en"))


def test_one_document_makes_one_page() -> None:
    made = signed(results())
    assert page(made, "tr") == page(made, "tr")
