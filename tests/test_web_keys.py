"""The caller's Idempotency-Key, and the vendor's key that is made of it."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import CASE, CASE_PAYMENT, PAYMENT
from carevalidate_async.integrations._caller_keys import CallerKey, SeenKeys, read_key
from carevalidate_async.integrations.problems import ProblemError

UUID = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def bound(header: str = "k", **changes: Any) -> str | None:
    """Return the key of a confirmation that was bound in a process of its own."""
    scope = changes.pop("scope", "user-1")
    payment = attrs.evolve(PAYMENT, **changes)
    return CallerKey(header, SeenKeys()).bind(payment, scope=scope).idempotency_key


class TestHeader:
    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            (f'"{UUID}"', UUID),
            (UUID, UUID),
            (f'  "{UUID}"  ', UUID),
            ('"a \\"quoted\\" key, with \\\\"', 'a "quoted" key, with \\'),
            ('"k";attempt=2', "k"),
            ('"k"; by="a \\"b\\"; c, d";c;*d=?1', "k"),
            ("order_17:1", "order_17:1"),
            ("a" * 255, "a" * 255),
        ],
    )
    def test_good(self, sent: str, read: str) -> None:
        """A string of structured fields is read, and so is a bare token."""
        assert read == read_key([sent])

    @pytest.mark.parametrize(
        "sent",
        [
            *(
                '""',
                '"  "',
                "",
                " ",
                '"',
                '"a',
                'a"',
                '"a""b"',
                '"a", "b"',
                '"a";b=1, c',
                '"a";b="c',
                "a, b",
                "a,b",
                "a b",
            ),
            *('"\\n"', '"\\a"', "k;a", "é", '"é"', '"a\tb"', "a" * 256, f'"{"a" * 256}"'),
        ],
    )
    def test_bad(self, sent: str) -> None:
        """What is empty, too long, of other characters, or several is refused, and not repeated."""
        with pytest.raises(ProblemError) as caught:
            read_key([sent])
        problem = caught.value.problem

        assert (400, "key-unusable") == (problem.status, problem.kind)
        assert "not_sent" == problem.members["outcome"]

    @pytest.mark.parametrize(("sent", "kind"), [([], "key-missing"), (["a", "a"], "key-unusable")])
    def test_not_one(self, sent: list[str], kind: str) -> None:
        """None, and more than one, are refused."""
        with pytest.raises(ProblemError) as caught:
            read_key(sent)

        assert (400, kind) == (caught.value.problem.status, caught.value.problem.kind)

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255))
    def test_any_text_can_be_quoted(self, text: str) -> None:
        """What is quoted as RFC 8941 says is read as it was."""
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        if text.strip():
            assert text == read_key([f'"{quoted}"'])

    @given(st.text())
    def test_total(self, text: str) -> None:
        """Whatever is sent is read or refused."""
        statuses = set()
        try:
            read_key([text])
        except ProblemError as error:
            statuses.add(error.problem.status)

        assert statuses <= {400}


class TestBind:
    def test_same(self) -> None:
        """The same user, header, operation and case give the same key in every process."""
        assert "cv1-" == str(bound())[:4]
        assert bound() == bound()

    @pytest.mark.parametrize(
        "changes",
        [
            {"scope": "user-2"},
            {"scope": ("user-1", "k")},
            {"scope": ("tenant", "user-1")},
            {"header": "l"},
            {"case_id": "case-2"},
        ],
    )
    def test_other(self, changes: dict[str, Any]) -> None:
        """Another user, tenant, header or case gives another."""
        assert bound() != bound(**changes)

    def test_the_amount_is_no_part_of_it(self) -> None:
        """A second click after a change must not be a second payment."""
        assert bound() == bound(amount=1)

    def test_case_payments(self) -> None:
        """A case payment has a key of its own, the same however its case is spelled."""
        key = CallerKey("k", SeenKeys())
        payment = attrs.evolve(PAYMENT, case_id=CASE)
        bound_case = key.bind(CASE_PAYMENT, scope="u", case_id=CASE)

        assert key.bind(payment, scope="u").idempotency_key != bound_case.idempotency_key
        for same in (uuid.UUID(CASE), CASE.upper()):
            assert bound_case == key.bind(CASE_PAYMENT, scope="u", case_id=same)

    @pytest.mark.parametrize("scope", [None, "", (), ("",), ("tenant", None), ("tenant", "")])
    def test_needs_a_scope(self, scope: Any) -> None:
        """Without one, or with a part of one that is empty, users would share keys."""
        with pytest.raises(ValueError, match="scope must say whose key it is"):
            CallerKey("k", SeenKeys()).bind(PAYMENT, scope=scope)

    @pytest.mark.parametrize("scope", [1.5, ["tenant", "user"], ("tenant", b"user"), object()])
    def test_needs_ids(self, scope: Any) -> None:
        """What is no id is the application's mistake, and not the caller's."""
        with pytest.raises(TypeError, match="scope must be an id"):
            CallerKey("k", SeenKeys()).bind(PAYMENT, scope=scope)

    def test_needs_its_case_once(self) -> None:
        """A case payment needs it, a confirmation has it."""
        key = CallerKey("k", SeenKeys())
        with pytest.raises(TypeError, match="for which case"):
            key.bind(CASE_PAYMENT, scope="u")
        with pytest.raises(TypeError, match="leave out case_id"):
            key.bind(PAYMENT, scope="u", case_id="case-1")
        with pytest.raises(ValueError, match="has an idempotency key already"):
            key.bind(attrs.evolve(PAYMENT, idempotency_key="own"), scope="u")

    def test_is_no_text(self) -> None:
        """It does not show what the caller sent, and cannot be sent as it is."""
        assert "<CallerKey>" == repr(CallerKey("secret-key", SeenKeys()))
        assert not isinstance(CallerKey("k", SeenKeys()), str)


class TestSeen:
    @pytest.mark.parametrize("changes", [{"amount": 1}, {"case_id": "case-2"}, {"email": None}])
    def test_another_request(self, changes: dict[str, Any]) -> None:
        """Under a key that was used, another request is refused; the same one is not."""
        key = CallerKey("k", SeenKeys())
        key.bind(PAYMENT, scope="u")
        with pytest.raises(ProblemError) as caught:
            key.bind(attrs.evolve(PAYMENT, **changes), scope="u")
        key.bind(PAYMENT, scope="u")

        assert (422, "key-reused") == (caught.value.problem.status, caught.value.problem.kind)

    def test_of_another_user(self) -> None:
        """What one user did with a key is not to be seen by another."""
        seen = SeenKeys()
        CallerKey("k", seen).bind(PAYMENT, scope="u")

        CallerKey("k", seen).bind(attrs.evolve(PAYMENT, amount=1), scope="v")
        assert 2 == len(seen)

    def test_is_bounded(self) -> None:
        """Only the latest keys are known, and of them no more than a digest."""
        seen = SeenKeys(most=3)
        for number in range(10):
            assert seen.is_new_or_same(f"k-{number}", PAYMENT)

        assert 3 == len(seen)
        assert seen.is_new_or_same("k-0", "another")
        assert not seen.is_new_or_same("k-9", "another")
        assert all(isinstance(digest, bytes) for digest in seen._digests.values())
