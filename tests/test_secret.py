from __future__ import annotations

import copy
import copyreg
import dataclasses
import inspect
import json
import logging
import pickle
import pprint
import reprlib
import string
import traceback
from typing import TYPE_CHECKING

import attrs
import pytest

from carevalidate_async._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

VALUE = "canary-credential"


@attrs.define
class Kept:
    secret: Secret


@dataclasses.dataclass
class Held:
    secret: Secret


def whole(error: BaseException) -> str:
    """Return all that a crash reporter could show of *error* but the test's own frame."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    del trace.stack[0]
    return "".join(trace.format())


class TestSecret:
    def test_reveals_only_when_asked(self) -> None:
        """
        `reveal` gives the very credential that was put in.
        """
        assert VALUE == Secret(VALUE).reveal()

    @pytest.mark.parametrize(
        "show",
        [
            repr,
            str,
            ascii,
            "{}".format,
            "{!r}".format,
            "%s".__mod__,
            "%r".__mod__,
            "%a".__mod__,
            pprint.pformat,
            reprlib.repr,
            lambda it: string.Template("$it").substitute(it=it),
        ],
    )
    def test_shows_nothing(self, show: Callable[[object], str]) -> None:
        """
        No way of printing a secret prints the credential, nor its length.
        """
        assert "<secret>" == show(Secret(VALUE))

    @pytest.mark.parametrize("spec", ["s", ">40", "30", ".3", "x", "r"])
    def test_takes_no_format(self, spec: str) -> None:
        """
        A format that cuts, pads or converts is refused, so that no part of it can be cut out.
        """
        with pytest.raises(TypeError) as caught:
            format(Secret(VALUE), spec)

        assert VALUE not in whole(caught.value)

    @pytest.mark.parametrize("spell", ["%d", "%x", "%c", "%f"])
    def test_is_no_number(self, spell: str) -> None:
        """
        Nor does an old-style format make a number or a letter of it.
        """
        with pytest.raises(TypeError) as caught:
            spell % Secret(VALUE)

        assert VALUE not in whole(caught.value)

    def test_hides_in_containers(self) -> None:
        """
        What holds a secret does not print it either, nor does a line in the log.
        """
        secret = Secret(VALUE)
        line = logging.makeLogRecord({"msg": "%s of %r", "args": (secret, {"key": secret})})

        assert "[<secret>]" == str([secret])
        assert "Kept(secret=<secret>)" == repr(Kept(secret))
        assert "Held(secret=<secret>)" == repr(Held(secret))
        assert "<secret> of {'key': <secret>}" == line.getMessage()

    @pytest.mark.parametrize(
        "escape",
        [
            copy.copy,
            copy.deepcopy,
            lambda secret: copy.deepcopy({"key": [secret]}),
            *(
                lambda secret, protocol=protocol: pickle.dumps(secret, protocol)
                for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
            ),
            lambda secret: pickle.dumps(Kept(secret)),
            lambda secret: dataclasses.asdict(Held(secret)),
            lambda secret: secret.__reduce__(),
            lambda secret: secret.__reduce_ex__(2),
            lambda secret: secret.__getstate__(),
            json.dumps,
            lambda secret: json.dumps({"key": secret}),
            lambda secret: json.dumps(secret, default=vars),
            vars,
            bytes,
            iter,
            len,
            "".join,
        ],
    )
    def test_stays_where_it_is(self, escape: Callable[[object], object]) -> None:
        """
        A secret is not pickled, copied, encoded or taken apart, and the refusal does not say it.
        """
        with pytest.raises(TypeError) as caught:
            escape(Secret(VALUE))

        assert VALUE not in whole(caught.value)

    def test_stays_whole_in_what_is_taken_apart(self) -> None:
        """
        What holds a secret is taken apart by attrs with the secret left as it is.
        """
        secret = Secret(VALUE)

        assert {"secret": secret} == attrs.asdict(Kept(secret))
        assert (secret,) == attrs.astuple(Kept(secret))
        assert VALUE not in repr(attrs.asdict(Kept(secret)))

    def test_has_no_dict(self) -> None:
        """
        Neither `vars` nor a debugger's attribute list shows the credential under a plain name.
        """
        secret = Secret(VALUE)

        assert not hasattr(secret, "__dict__")
        assert [] == [name for name in dir(secret) if not name.startswith("_") and name != "reveal"]
        assert not hasattr(secret, "value")

    def test_is_not_found_by_walking_its_attributes(self) -> None:
        """
        Nor does whatever prints all attributes there are, private ones too, print the credential.
        """
        secret = Secret(VALUE)
        shown = {name: repr(getattr(secret, name)) for name in dir(secret)}

        assert VALUE not in str(shown)
        assert VALUE not in str(inspect.getmembers(secret))
        assert VALUE not in str(copyreg._slotnames(Secret))  # type: ignore[attr-defined]  # pickle's

    def test_takes_no_attribute(self) -> None:
        """
        Nothing can be hung on it that would print.
        """
        with pytest.raises(AttributeError):
            Secret(VALUE).note = VALUE  # type: ignore[attr-defined]  # wrong on purpose

    def test_does_not_compare(self) -> None:
        """
        Two secrets are not equal for holding the same credential, so none can be guessed by it.
        """
        one, other = Secret(VALUE), Secret(VALUE)

        assert one != other
        assert one != VALUE  # type: ignore[comparison-overlap]  # a wrong guess, and a right one
        assert 2 == len({one, other})
        assert hash(VALUE) != hash(one) != hash(other)

    @pytest.mark.parametrize("compare", ["__lt__", "__le__", "__gt__", "__ge__"])
    def test_has_no_order(self, compare: str) -> None:
        """
        Nor are they sorted by what they hold: an order is a guess at a time.
        """
        assert NotImplemented is getattr(Secret(VALUE), compare)(Secret("a"))
        assert NotImplemented is getattr(Secret(VALUE), compare)("a")
