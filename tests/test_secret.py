from __future__ import annotations

import copy
import pickle
import traceback
from typing import TYPE_CHECKING

import pytest

from carevalidate_async._secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

VALUE = "canary-credential"


class TestSecret:
    def test_reveals_only_when_asked(self) -> None:
        """
        `reveal` gives the very credential that was put in.
        """
        assert VALUE == Secret(VALUE).reveal()

    @pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, ascii])
    def test_shows_nothing(self, show: Callable[[object], str]) -> None:
        """
        No way of printing a secret prints the credential, nor its length.
        """
        assert "<secret>" == show(Secret(VALUE))

    def test_hides_in_containers(self) -> None:
        """
        A list of secrets prints none of them.
        """
        assert "[<secret>]" == str([Secret(VALUE)])

    @pytest.mark.parametrize("escape", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_stays_where_it_is(self, escape: Callable[[object], object]) -> None:
        """
        A secret is not pickled or copied, and the refusal does not say it.
        """
        with pytest.raises(TypeError) as caught:
            escape(Secret(VALUE))

        assert VALUE not in "".join(traceback.format_exception(caught.value))

    def test_has_no_dict(self) -> None:
        """
        Neither `vars` nor a debugger's attribute list shows the credential under a plain name.
        """
        assert not hasattr(Secret(VALUE), "__dict__")
        assert not hasattr(Secret(VALUE), "value")

    def test_does_not_compare(self) -> None:
        """
        Two secrets are not equal for holding the same credential, so none can be guessed by it.
        """
        assert Secret(VALUE) != Secret(VALUE)
