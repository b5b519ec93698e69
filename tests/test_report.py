from __future__ import annotations

import errno
import itertools
import os
import pathlib
import re
import stat
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from canaries import HELD, Seen, confirm
from carevalidate_async import (
    APITimeoutError,
    BadRequestError,
    CareValidate,
    CareValidateError,
    RateLimitError,
    RetryPolicy,
    __version__,
)
from carevalidate_async._outage import own_words
from carevalidate_async.report import Facts, begin_report
from carevalidate_async.report._wording import trouble
from raw_server import RawServer, answers
from report_runs import HOSTILE, RUNS, MadeUp, eventful, hostile, ordinary, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "headers")


@attrs.define
class Element:
    """
    An element of a page.

    Attributes:
        name: Of its tag.

        facts: Its attributes.

        parts: Elements and texts, in their order.
    """

    name: str
    facts: dict[str, str]
    parts: list[Element | str] = attrs.Factory(list)

    @property
    def children(self) -> list[Element]:
        """The elements right in it."""
        return [part for part in self.parts if isinstance(part, Element)]

    def all(self, *names: str) -> list[Element]:
        """Return the elements in it, itself included, in their order; with *names*, only those."""
        own = [self] if not names or self.name in names else []
        return own + [found for child in self.children for found in child.all(*names)]

    def one(self, name: str) -> Element:
        """Return the only element of that name."""
        (found,) = self.all(name)
        return found

    @property
    def words(self) -> str:
        """All text in it, with single blanks."""
        return " ".join(" ".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for part in self.parts:
            yield from [part] if isinstance(part, str) else part._texts()


class Page(HTMLParser):
    """
    A page read strictly: every element is closed where it was opened, and no attribute comes twice.
    """

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(self.source)
        self.close()
        assert ["" for _ in self._open] == [""], "something is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len({name for name, _ in attrs}), f"{tag} has an attribute twice"
        assert all(value is not None for _, value in attrs), f"{tag} has an attribute without value"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].parts.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in {element.name for element in self._open}, f"{tag} closes itself"
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._open.pop().name, f"{tag} is closed, and something else open"

    def handle_data(self, data: str) -> None:
        self._open[-1].parts.append(data)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "run.html"


def page_of(run: MadeUp, path: pathlib.Path) -> Page:
    assert run.write(path) is None
    return Page(path)


def part(page: Page, name: str) -> Element:
    """Return a section of a page."""
    (section,) = (one for one in page.root.all("section") if one.facts["aria-labelledby"] == name)
    return section


def beginning(path: pathlib.Path, **facts: Any) -> Facts:
    made = Facts(**{**MadeUp().facts, **facts})
    begin_report(str(path), made)
    return made


@pytest.fixture(scope="module", params=[*RUNS, "begun"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of each made-up run, and of one that has just begun."""
    path = tmp_path_factory.mktemp("pages") / "run.html"
    if request.param == "begun":
        beginning(path)
        return Page(path)
    return page_of(RUNS[request.param](), path)


class TestEveryPage:
    def test_is_whole(self, page: Page) -> None:
        """
        A page is one document with a language, a title, a viewport and the landmarks, each once.
        """
        html = page.root.one("html")

        assert page.source.startswith("<!DOCTYPE html>\n")
        assert "en" == html.facts["lang"]
        assert ["head", "body"] == [child.name for child in html.children]
        assert page.root.one("title").words
        assert {"charset": "utf-8"} == page.root.all("meta")[0].facts
        assert any("viewport" == meta.facts.get("name") for meta in page.root.all("meta"))
        assert ["header", "main", "footer"] == [
            child.name for child in page.root.one("body").children if child.name != "svg"
        ]

    def test_loads_nothing(self, page: Page) -> None:
        """
        Nothing in a page leads elsewhere, nothing in it runs, and its policy forbids both.
        """
        body = page.root.all()
        policy = page.root.all("meta")[1].facts
        leads = [
            value
            for element in body
            for name, value in element.facts.items()
            if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}
        ]

        assert "Content-Security-Policy" == policy["http-equiv"]
        assert policy["content"].startswith(POLICY)
        assert {"script", "iframe", "object", "embed", "base", "form", "img"}.isdisjoint(
            element.name for element in body
        )
        assert [] == [name for element in body for name in element.facts if name[:2] == "on"]
        assert all(lead.startswith(("#", "data:")) for lead in leads)
        assert {"#hatch"} >= set(re.findall(r"url\((.*?)\)", page.source))
        assert "@import" not in page.source

    def test_names_are_unique_and_there(self, page: Page) -> None:
        """
        No id comes twice, and whatever is referred to is there.
        """
        body = page.root.all()
        ids = Counter(element.facts["id"] for element in body if "id" in element.facts)
        meant = {
            word
            for element in body
            for name in REFERENCES
            for word in element.facts.get(name, "").split()
        }

        assert [] == [name for name, count in ids.items() if count > 1]
        assert meant
        assert set() == meant - set(ids)

    def test_headings_are_in_order(self, page: Page) -> None:
        """
        There is one heading of the first level, and no level is passed over on the way down.
        """
        levels = [int(one.name[1]) for one in page.root.all(*(f"h{n}" for n in range(1, 7)))]

        assert 1 == levels.count(1)
        assert 1 == levels[0]
        assert all(after <= level + 1 for level, after in itertools.pairwise(levels))

    def test_everything_has_a_name(self, page: Page) -> None:
        """
        Each section and figure is labelled, each drawing is described or hidden, and each table
        has a caption and says what its heads are for.
        """
        for region in page.root.all("section", "figure"):
            assert region.facts["aria-labelledby"]
        for drawing in page.root.all("svg"):
            if "preserveaspectratio" not in drawing.facts:  # a part of another one
                described = drawing.facts.get("role") == "img" and drawing.facts["aria-label"]
                assert described or drawing.facts.get("aria-hidden") == "true"
        for table in page.root.all("table"):
            assert "caption" == table.children[0].name
            assert table.children[0].words
            assert all(head.facts["scope"] in {"row", "col"} for head in table.all("th"))
            widths = {len(row.children) for row in table.all("tr")}
            assert 1 == len(widths)
        for figure in page.root.all("figure"):
            assert "figcaption" == figure.children[0].name
        for details in page.root.all("details"):
            assert "summary" == details.children[0].name

    def test_is_small(self, page: Page) -> None:
        """
        Whatever the run, its page is about a quarter of a megabyte at most.
        """
        assert 280_000 > len(page.source.encode())

    def test_shows_nothing_that_cannot_be_seen(self, page: Page) -> None:
        """
        No page holds a character that is carried out, hidden, or turns the writing round.
        """
        blanks = dict.fromkeys(map(ord, "\n\xa0"))  # the second one keeps a number and its unit

        assert page.source.translate(blanks).isprintable()


class TestContent:
    def test_says_where_the_payments_stand(self, path: pathlib.Path) -> None:
        """
        The headline is the sentence that matters most, in the title too; then comes how it ended.
        """
        page = page_of(ordinary(), path)
        said = "9,998 of 10,000 payments are on record; 2 need a person."

        assert said == page.root.one("h1").words
        assert f"{said} payments.csv" == page.root.one("title").words
        assert "with exit status 1: not every row is on record." in page.root.one("header").words

    def test_says_what_to_do(self, path: pathlib.Path) -> None:
        """
        Each kind of rows that needs somebody has its step, with the command to type, and the
        rejects file is named.
        """
        section = part(page_of(ordinary(), path), "next")
        commands = [one for one in section.all("code") if one.facts["class"] == "command"]

        assert [
            ("1 rejected", "the vendor said no and recorded nothing."),
            ("1 invalid", "refused here, and not sent. To be corrected in the same file."),
        ] == [
            (item.one("strong").words, item.words.split(": ")[1].split(" Correct")[0].strip())
            for item in section.all("li")
        ]
        (command,) = (one.words for one in commands)
        assert command.startswith("carevalidate confirm rejects.csv --base-url ")
        assert command.endswith(" --journal /exports/payments.csv.production.journal")
        assert "The rows to be corrected are in rejects.csv" in section.words
        assert "stand there and not here" in section.words

    def test_says_first_what_ended_the_run(self, path: pathlib.Path) -> None:
        """
        What ended a run early stands before the steps, which begin with the command that goes on.
        """
        section = part(page_of(refused(), path), "next")
        first, second = [one for one in section.children if one.name in {"p", "ol"}][:2]

        assert "The run ended early: the vendor refuses the API key" in first.words
        assert second.words.startswith("4,970 not sent : not on record.")
        assert "carevalidate confirm /exports/payments.csv" in second.words

    def test_gives_the_numbers_at_a_glance(self, path: pathlib.Path) -> None:
        """
        What is looked for first stands above all else: what was not read, how fast it was, how
        long answers took, and how often the vendor was asked.
        """
        page = page_of(RUNS["interrupted"](), path)
        (numbers,) = (one for one in page.root.all("dl") if one.facts.get("class") == "glance")

        assert [
            "Rows not read about 15,060 10,040 rows were read",
            "On record, on average 790 /s 9,998 payments in 13 s",
            "Median answer 75 ms 95 % within 142 ms, 99 % within 187 ms",
            "Requests 9,998 12 retries among them",
        ] == [one.words for one in numbers.children]
        assert "rows read so far, of about 25,100" in part(page, "places").words
        assert "9,998, 12 of them retries" in page.root.one("footer").words

    def test_of_no_rows_does_not_say_that_all_are_well(self, path: pathlib.Path) -> None:
        """
        The page of an empty file says that it was empty.
        """
        head = page_of(RUNS["empty"](), path).root.one("header").words

        assert "The file has no payments." in head
        assert "with exit status 0: the file has no rows." in head

    def test_lists_the_rows_that_need_a_look(self, path: pathlib.Path) -> None:
        """
        Each row is listed with its line, where it stands, why, and its key.
        """
        (listing,) = (
            table
            for table in page_of(ordinary(), path).root.all("table")
            if table.facts["class"] == "listing"
        )

        assert [
            ["Line", "Outcome", "Why", "Key"],
            ["4,711", "rejected", "the vendor answered 400, INVALID_CASE", "key-4711"],
            ["8,050", "invalid", "amount: has a comma", "none"],
        ] == [[cell.words for cell in row.children] for row in listing.all("tr")]

    def test_groups_what_went_wrong(self, path: pathlib.Path) -> None:
        """
        Each kind of trouble says what it was, how many rows met it, and where.
        """
        page = page_of(ordinary(), path)
        section = part(page, "troubles")

        assert ["the vendor answered 400, INVALID_CASE", "refused here: amount"] == [
            head.words for head in section.all("h4")
        ]
        assert "BadRequestError; line 4,711" in section.words

    def test_groups_what_went_wrong_by_risk(self, path: pathlib.Path) -> None:
        """
        What went wrong stands under the outcomes with their sums, the rows in doubt first, however
        few they are.
        """
        run = MadeUp()
        run.now = 1.0
        for line in range(60):
            no = BadRequestError("no", status=400, code=f"CODE_{line % 3}")
            run.bad("rejected", line, no)
        run.left("not_sent", range(60, 2_060), "the run ended before it was sent")
        run.bad("unknown", 2_060, RateLimitError("no", status=429))
        section = part(page_of(run, path), "troubles")
        lists = [one for one in section.all("ol") if one.facts["class"] == "groups"]

        assert ["1 unknown", "2,000 not sent", "60 rejected"] == [
            head.words for head in section.all("h3")
        ]
        assert [1, 1, 3] == [len(one.all("h4")) for one in lists]
        assert [
            "the vendor answered 429, after an earlier ask that may have landed",
            "the run ended before it was sent",
        ] == [one.one("h4").words for one in lists[:2]]

    def test_tells_what_is_in_no_group(self, path: pathlib.Path) -> None:
        """
        Where there are more kinds of trouble than are kept, the rest of an outcome is told too.
        """
        run = MadeUp()
        run.now = 1.0
        for line in range(60):
            run.bad("rejected", line, BadRequestError("no", status=400, code=f"CODE_{line}"))
        section = part(page_of(run, path), "troubles")

        assert ["60 rejected", "10 of further kinds"] == [head.words for head in section.all("h3")]
        assert "10 more rows are not told apart" in section.words

    @pytest.mark.parametrize("name", sorted(RUNS.keys() - {"hostile"}))
    def test_made_up_rows_say_what_the_program_says(self, name: str) -> None:
        """
        A row that the vendor answered is told as its group is, in these tests as in a run.
        """
        run = RUNS[name]()
        told = [group for group in run.course.groups() if group.status is not None]

        assert [trouble(group) for group in told] == [group.examples[0].reason for group in told]

    def test_tells_apart_why_rows_are_unknown(self, path: pathlib.Path) -> None:
        """
        Rows that were not asked for to the end are grouped by why that was.
        """
        run = MadeUp()
        run.now = 1.0
        for line, why in enumerate(["too old", "the run ended", "too old"]):
            run.bad("unknown", line, reason=why)
        page = page_of(run, path)

        assert ["too old", "the run ended"] == [head.words for head in page.root.all("h4")]

    def test_names_standard_input(self, path: pathlib.Path) -> None:
        """
        A file that has no name of its own is called what it is.
        """
        beginning(path, file="-")

        assert "This run has not ended. standard input" == Page(path).root.one("title").words

    def test_of_many_rows_it_says_that_there_are_more(self, path: pathlib.Path) -> None:
        """
        A page that lists some of the rows says of how many, and gives examples of each kind.
        """
        run = MadeUp()
        run.now = 1.0
        for line in range(3_000):
            run.bad("unknown", line)
        page = page_of(run, path)
        lines = [row for table in page.root.all("table") for row in table.all("tr")]

        assert "1,000 of 3,000 are listed. The journal has them all" in part(page, "people").words
        assert 1_000 == sum("unknown" == row.children[1].words for row in lines)
        assert "5 examples" in page.root.one("main").words

    @pytest.mark.parametrize(
        ("said", "facts"),
        [
            ("1,000 of 1,200 are listed. Run with --rejects PATH for all of them.", {}),
            ("1,000 of 1,200 are listed. The rejects file has them all.", {"rejects": "no.csv"}),
            (
                (
                    "1,000 of 1,200 are listed. Run without --dry-run and with --rejects PATH for "
                    "all of them."
                ),
                {"journal": None},
            ),
        ],
    )
    def test_says_where_the_other_rows_are(
        self, path: pathlib.Path, said: str, facts: dict[str, Any]
    ) -> None:
        """
        A page has room for some of the rows only, and does not say that a journal has rows which
        were refused here, nor that there are several outcomes where there is one.
        """
        run = MadeUp()
        run.now = 1.0
        run.facts |= facts
        for line in range(1_200):
            run.bad("invalid", line, key=None, code="amount", reason="amount: has a comma")

        assert said in part(page_of(run, path), "people").words

    def test_of_many_outcomes_it_lists_some_of_each(self, path: pathlib.Path) -> None:
        """
        All rows that need a look are counted against those that are listed, the ones of which
        nothing but their number was told included.
        """
        run = MadeUp()
        run.now = 1.0
        run.bad("unknown", 1, APITimeoutError("no answer"))
        run.bad("not_sent", 2, RateLimitError("no", status=429))
        run.good(4_968, "not_sent")
        words = part(page_of(run, path), "people").words

        assert "2 of 4,970 are listed, some of each outcome. The journal has them all" in words
        assert "--state unknown,not_sent" in words

    def test_a_rehearsal_says_that_nothing_was_sent(self, path: pathlib.Path) -> None:
        """
        The page of a dry run cannot pass for that of a run.
        """
        page = page_of(RUNS["rehearsed"](), path)

        assert page.root.one("h1").words.startswith("Dry run, nothing was sent: 998 of 1,000")
        assert "No request was sent." in page.root.one("main").words
        assert "would be sent" in page.root.one("main").words

    def test_a_page_that_was_begun_says_so(self, path: pathlib.Path) -> None:
        """
        Where the run was killed, the page says that it has not ended, and what then helps.
        """
        beginning(path)
        page = Page(path)

        assert "This run has not ended, or it was killed." == page.root.one("h1").words
        assert "payments.csv.production.journal" in page.root.one("main").words
        assert (
            "carevalidate status /exports/payments.csv.production.journal"
            == page.root.one("code").words
        )

    def test_pauses_are_told(self, path: pathlib.Path) -> None:
        """
        When the run waited for the vendor, for how long and why stands in words too.
        """
        said = page_of(eventful(), path).root.one("main").words

        assert "The run waited for the vendor 2 times" in said
        assert "after 2 h 30 min, for 11 min 40 s:" in said

    def test_many_pauses_are_told_truly(self, path: pathlib.Path) -> None:
        """
        However many pauses there were, their number and the time they took are exact, and those
        that are told as one say so.
        """
        said = page_of(RUNS["restless"](), path).root.one("main").words

        assert "The run waited for the vendor 960 times, 5 h 20 min in all:" in said
        assert "off and on for 2 min 50 s (4 times, 1 min 20 s in all): the vendor asks" in said
        assert "and 928 more times" in said

    def test_names_the_options(self, path: pathlib.Path) -> None:
        """
        The foot says what ran where, when, with which options, and in which version.
        """
        foot = page_of(eventful(), path).root.one("footer").words

        for told in (
            "/exports/payments.csv",
            "https://vendor.example",
            "2 November 2026, 22:03:07 UTC",
            "3 November 2026, 08:03:07 UTC",
            "Duplicates refused",
            "64 payments in flight at most",
            "400 asks a second at most",
            f"carevalidate-async {__version__}",
        ):
            assert told in foot

    def test_plots_come_with_their_numbers(self, path: pathlib.Path) -> None:
        """
        After each plot its numbers unfold, which add up to what the run did.
        """
        page = page_of(ordinary(), path)
        tables = {
            one.children[0].words: one
            for one in page.root.all("table")
            if one.facts["class"] == "numbers"
        }
        confirmed = [row.children[2].words for row in tables["Outcomes over time"].all("tr")]

        assert 3 == len(tables) == len([one for one in page.root.all("svg") if "role" in one.facts])
        assert "confirmed" == confirmed[0]
        assert 9_998 == sum(int(number.replace(",", "")) for number in confirmed[1:])


class TestHostileWords:
    def test_stay_words(self, path: pathlib.Path) -> None:
        """
        Names that would be markup, end an attribute or steer the terminal are shown, spelled out.
        """
        page = page_of(hostile(), path)
        shown = page.root.one("footer").words

        assert "</title><script>alert(1)</script>\"'&`{{7*7}}" in shown
        assert r"\x00\x1b[31m\u202egpj\u2066\ud800\r\n\u2028" in shown

    def test_are_cut(self, path: pathlib.Path) -> None:
        """
        Names of kilobytes leave the page readable.
        """
        foot = page_of(hostile(), path).root.one("footer")

        assert 4_096 < len(HOSTILE * 80)
        assert all(600 > len(name.words) for name in foot.all("dd"))

    async def test_of_a_vendor_are_not_there(self, path: pathlib.Path) -> None:
        """
        Whatever a vendor tells about a person, and whatever a request holds of one, the page has
        none of it.
        """
        run, said = MadeUp(), HELD["confirm_payment"]
        bodies = (said, f'{{"success": false, "code": "{said}", "message": "{said}"}}')
        steps = [answers(status, body.encode()) for status in (200, 400, 422) for body in bodies]
        async with RawServer(*steps) as server:
            for line, _ in enumerate(steps):
                async with CareValidate(
                    "canary-api-key", base_url=server.url, hooks=[run.course]
                ) as care:
                    with pytest.raises(CareValidateError) as raised:
                        await confirm(care.with_options(retry=RetryPolicy(max_attempts=1)))
                error = raised.value
                run.bad(
                    "unknown",
                    line,
                    error=type(error).__name__,
                    status=getattr(error, "status", None),
                    code=getattr(error, "code", None),
                    reason=own_words(error),
                )
        run.now = 1.0
        page = page_of(run, path)
        seen = Seen()
        seen.add("the page", page.source)

        assert 6 == len(run.course.listed())
        assert "canary" in said
        assert [] == seen.planted()


class TestWriting:
    def test_only_its_owner_can_read_it(self, path: pathlib.Path) -> None:
        """
        A page is readable by its owner alone, under any umask, and where one lay open before.
        """
        path.write_text("of an earlier run")
        path.chmod(0o666)
        before = os.umask(0)
        try:
            page_of(ordinary(), path)
        finally:
            os.umask(before)

        assert 0o600 == stat.S_IMODE(path.stat().st_mode)

    def test_replaces_in_one_step(
        self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Until the new page is on disk the old one is there, whole.
        """
        seen: list[str] = []
        sync = os.fsync

        def look(handle: int) -> None:
            seen.append(path.read_text(encoding="utf-8"))
            sync(handle)

        path.write_text("of an earlier run")
        monkeypatch.setattr(os, "fsync", look)
        page_of(ordinary(), path)

        assert ["of an earlier run"] == seen
        assert [path] == list(path.parent.iterdir())

    def test_a_full_disk_is_told(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where a page cannot be written, what was there stays, nothing half lies about, and the
        reason is told and not raised.
        """

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        path.write_text("of an earlier run")
        monkeypatch.setattr(os, "fsync", full)

        assert f"the report {path} was not written: No space left on device" == ordinary().write(
            path
        )
        assert "of an earlier run" == path.read_text()
        assert [path] == list(path.parent.iterdir())

    def test_what_is_no_file_stays_what_it_is(self, path: pathlib.Path) -> None:
        """
        A pipe gets the page, and is not replaced by it; when the run begins it gets nothing.
        """
        os.mkfifo(path)
        beginning(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert RUNS["brief"]().write(path) is None  # less than a pipe holds
            assert os.read(reader, 1 << 16).startswith(b"<!DOCTYPE html>\n")
        finally:
            os.close(reader)

        assert stat.S_ISFIFO(path.stat().st_mode)

    def test_a_full_device_is_told(self) -> None:
        """
        The trouble of what is no file is told likewise.
        """
        full = pathlib.Path("/dev/full")
        if not full.exists():
            pytest.skip("needs /dev/full")
        beginning(full)

        assert "the report /dev/full was not written: No space left on device" == refused().write(
            full
        )
        assert stat.S_ISCHR(full.stat().st_mode)

    def test_a_mistake_of_the_pages_is_told(
        self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A page that cannot be made changes nothing about the run either.
        """

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr("carevalidate_async.report._report.figures", broken)

        assert f"the report {path} could not be made (ZeroDivisionError)" == ordinary().write(path)

    def test_a_link_stays_one(self, path: pathlib.Path) -> None:
        """
        A page at a link replaces the file that the link leads to.
        """
        path.symlink_to(path.with_name("elsewhere.html"))
        page_of(ordinary(), path)

        assert path.is_symlink()
        assert not path.resolve().is_symlink()
        assert path.resolve().stat().st_size

    @pytest.mark.parametrize("wrong", ["none/run.html", "."])
    def test_a_path_that_cannot_be_written_is_found_early(
        self, tmp_path: pathlib.Path, wrong: str
    ) -> None:
        """
        A missing folder, or a folder in the place of a file, is found when the run begins.
        """
        with pytest.raises(OSError, match=r".") as raised:
            beginning(tmp_path / wrong)

        assert raised.value.strerror
        assert [] == list(tmp_path.iterdir())

    def test_a_device_that_cannot_be_written_is_found_early(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Nor does a run begin whose page goes to what must not be written.
        """
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(PermissionError) as raised:
            beginning(pathlib.Path(os.devnull))

        assert raised.value.strerror
