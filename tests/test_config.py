from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async import CareValidate, RetryPolicy
from carevalidate_async._config import Settings, checked_origin, checked_secret
from carevalidate_async._secret import Secret
from carevalidate_async.errors import ConfigurationError
from carevalidate_async.planocore import Planocore

if TYPE_CHECKING:
    from carevalidate_async._client import Client

PRODUCTION = "https://api.care360-next.carevalidate.com"
STAGING = "https://api-staging.care360-next.carevalidate.com"
PLANOCORE = "https://planocore.planomatic.com"
VARIABLES = [
    "CAREVALIDATE_API_KEY",
    "CAREVALIDATE_ENVIRONMENT",
    "CAREVALIDATE_BASE_URL",
    "PLANOCORE_TOKEN",
    "PLANOCORE_BASE_URL",
]
PROXY = "http://user:canary@proxy.example"
each_client = pytest.mark.parametrize("client", [CareValidate, Planocore])


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def origin_of(client: Client) -> str:
    """Return where *client* sends its requests."""
    return client._session.origin


def secret_of(client: Client) -> str:
    """Return the credential that *client* signs with."""
    return client._session._secret.reveal()


class TestOrigin:
    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            (PRODUCTION, PRODUCTION),
            ("https://vendor.example/", "https://vendor.example"),
            ("https://vendor.example///", "https://vendor.example"),
            ("https://vendor.example:8443", "https://vendor.example:8443"),
            ("https://vendor.example/prefix/v2/", "https://vendor.example/prefix/v2"),
            ("HTTPS://Vendor.Example", "HTTPS://Vendor.Example"),
            ("https://10.0.0.1", "https://10.0.0.1"),
            ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
            ("https://vendor.example/a@b", "https://vendor.example/a@b"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.8.9.10", "http://127.8.9.10"),
            ("http://localhost:1", "http://localhost:1"),
            ("HTTP://LOCALHOST", "HTTP://LOCALHOST"),
            ("http://sandbox.localhost", "http://sandbox.localhost"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ],
    )
    def test_good(self, url: str, origin: str) -> None:
        """
        An https URL, or a loopback one, is taken with its path and without its last slash.
        """
        assert origin == checked_origin(url, allow_insecure=False)

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("", "must be an absolute https:// URL"),
            ("vendor.example", "must be an absolute"),
            ("//vendor.example", "must be an absolute"),
            ("/api", "must be an absolute"),
            ("https:", "must be an absolute"),
            ("https://", "must be an absolute"),
            ("https:///path", "must be an absolute"),
            ("https:/vendor.example", "must be an absolute"),
            ("https://:443", "must be an absolute"),
            ("ftp://vendor.example", "must be an absolute"),
            ("ws://127.0.0.1", "must be an absolute"),
            ("file:///etc/passwd", "must be an absolute"),
            ("javascript:alert(1)", "must be an absolute"),
            ("https://user:canary@vendor.example", "neither a user, nor a query, nor a fragment"),
            ("https://canary@vendor.example", "neither a user"),
            ("https://@vendor.example", "neither a user"),
            ("https://vendor.example?key=canary", "neither a user"),
            ("https://vendor.example?", "neither a user"),
            ("https://vendor.example/#", "neither a user"),
            ("https://vendor.example\\@evil.example", "ASCII URL without blanks"),
            ("https://vendor.example\n", "ASCII URL without blanks"),
            ("\thttps://vendor.example", "ASCII URL without blanks"),
            ("https://vendor.example/a b", "ASCII URL without blanks"),
            ("https://vendor.example\x00", "ASCII URL without blanks"),
            ("https://vendor.example\x7f", "ASCII URL without blanks"),
            ("https://vendör.example", "ASCII URL without blanks"),
            ("https://vendor.example:port", "is not a URL"),
            ("https://vendor.example:65536", "is not a URL"),
            ("https://vendor.example:-1", "is not a URL"),
            ("https://[::1", "is not a URL"),
            ("http://vendor.example", "is plain http:// to another host"),
            ("HTTP://vendor.example", "is plain http:// to another host"),
            ("http://localhost.evil.example", "is plain http://"),
            ("http://127.0.0.1.evil.example", "is plain http://"),
            ("http://evillocalhost", "is plain http://"),
            ("http://10.0.0.1", "is plain http://"),
            ("http://0.0.0.0", "is plain http://"),
            ("http://192.168.0.1", "is plain http://"),
            ("http://[2001:db8::1]", "is plain http://"),
            ("http://2130706433", "is plain http://"),
            (b"https://vendor.example", "must be text, not bytes"),
            (5, "must be text, not int"),
        ],
    )
    def test_bad(self, url: Any, words: str) -> None:
        """
        A URL that is no URL, that could show the credential, or that holds one, is refused.
        """
        with pytest.raises(ConfigurationError, match=words) as caught:
            checked_origin(url, allow_insecure=False)

        assert "canary" not in str(caught.value)

    def test_insecure_when_asked(self) -> None:
        """
        Plain http to another host is possible for those who say so, and nothing else is.
        """
        assert "http://10.0.0.1" == checked_origin("http://10.0.0.1/", allow_insecure=True)
        with pytest.raises(ConfigurationError):
            checked_origin("ftp://10.0.0.1", allow_insecure=True)
        with pytest.raises(ConfigurationError):
            checked_origin("http://user@10.0.0.1", allow_insecure=True)

    @each_client
    def test_clients_pass_it_on(self, client: Any) -> None:
        """
        A client's `allow_insecure` is the one that counts, and is off by default.
        """
        with pytest.raises(ConfigurationError, match="allow_insecure=True"):
            client("key", base_url="http://10.0.0.1")

        assert "http://10.0.0.1" == origin_of(
            client("key", base_url="http://10.0.0.1", allow_insecure=True)
        )


class TestSecretSources:
    def test_given(self) -> None:
        """
        A credential that was given is used as it is.
        """
        given = Secret("key-1")

        assert given is checked_secret(given, what="API key", variable="CAREVALIDATE_API_KEY")

    @pytest.mark.parametrize(
        ("client", "variable"),
        [(CareValidate, "CAREVALIDATE_API_KEY"), (Planocore, "PLANOCORE_TOKEN")],
    )
    def test_precedence(
        self,
        client: Any,
        variable: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        The given credential comes before the environment's, and None reads the environment.
        """
        monkeypatch.setenv(variable, "from-environment")

        assert "given" == secret_of(client("given"))
        assert "from-environment" == secret_of(client())
        assert "from-environment" == secret_of(client(None))

    @pytest.mark.parametrize(
        ("client", "variable", "what"),
        [
            (CareValidate, "CAREVALIDATE_API_KEY", "API key"),
            (Planocore, "PLANOCORE_TOKEN", "token"),
        ],
    )
    def test_missing(
        self,
        client: Any,
        variable: str,
        what: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        Without a credential the client says what is missing and how to give it; an empty one is
        none, and does not fall back to the environment.
        """
        expected = f"the {what} is missing; give one, or set {variable}"
        with pytest.raises(ConfigurationError) as none:
            client()
        monkeypatch.setenv(variable, "from-environment")
        with pytest.raises(ConfigurationError) as given:
            client("")
        monkeypatch.setenv(variable, "")
        with pytest.raises(ConfigurationError) as empty:
            client()

        assert [expected] * 3 == [str(none.value), str(given.value), str(empty.value)]

    @each_client
    @pytest.mark.parametrize(
        "value",
        [
            "canary key",
            " canary",
            "canary\n",
            "canary\r\nx-evil: 1",
            "canary\t",
            "canary\x00",
            "canary\x7f",
            "canär-canary",
            "canary\u200b",
        ],
    )
    def test_unusable(self, client: Any, value: str) -> None:
        """
        A credential that cannot stand in a header is refused and shown nowhere, not even in the
        locals of the traceback.
        """
        with pytest.raises(ConfigurationError, match="cannot stand in a header") as caught:
            client(value)

        assert "canary" not in _whole_traceback(caught.value)

    @each_client
    @pytest.mark.parametrize("value", [5, b"canary", object()])
    def test_no_text(self, client: Any, value: object) -> None:
        """
        A credential that is no text is refused by its kind.
        """
        with pytest.raises(ConfigurationError, match=f"not {type(value).__name__}") as caught:
            client(value)

        assert "canary" not in _whole_traceback(caught.value)

    @each_client
    def test_other_mistakes_do_not_show_it(self, client: Any) -> None:
        """
        Nor is a good credential shown when something else is wrong.
        """
        with pytest.raises(ConfigurationError) as url:
            client("canary", base_url="http://vendor.example")
        with pytest.raises(TypeError) as option:
            client("canary", no_such_option=1)

        for options in ({"proxy": "htp://u:canary@p"}, {"proxy": PROXY, "max_connections": 0}):
            with pytest.raises(ConfigurationError) as proxy:
                client("key", **options)
            assert "canary" not in _whole_traceback(proxy.value)
        with pytest.raises(ConfigurationError) as base:
            client("key", base_url="https://u:canary@vendor.example")

        assert "canary" not in _whole_traceback(base.value)
        assert "canary" not in _whole_traceback(url.value)
        assert "canary" not in _whole_traceback(option.value)
        assert "no_such_option" in str(option.value)

    @each_client
    def test_of_a_subclass_s_frames(self, client: Any) -> None:
        """
        A crash reporter that looks at a subclass's frame finds a client that can be shown.
        """

        class Mine(client):  # type: ignore[misc]  # one or the other
            def __init__(self) -> None:
                super().__init__("key", attempt_timeout=-1)

        with pytest.raises(ConfigurationError) as caught:
            Mine()

        assert "<Mine>" in _whole_traceback(caught.value)

    @each_client
    def test_repr(self, client: Any) -> None:
        """
        A client prints where it sends to and not what it signs with.
        """
        made = client("canary", base_url="https://vendor.example/")

        assert f"<{client.__name__} at https://vendor.example>" == repr(made)
        assert "canary" not in repr(vars(made)) + repr(vars(made._session))


class TestWhereTo:
    @pytest.mark.parametrize(
        ("arguments", "variables", "origin"),
        [
            ({}, {}, PRODUCTION),
            ({"environment": "production"}, {}, PRODUCTION),
            ({"environment": "staging"}, {}, STAGING),
            ({}, {"ENVIRONMENT": "staging"}, STAGING),
            ({}, {"ENVIRONMENT": ""}, PRODUCTION),
            ({"environment": "production"}, {"ENVIRONMENT": "staging"}, PRODUCTION),
            ({}, {"BASE_URL": "https://x.example"}, "https://x.example"),
            ({}, {"BASE_URL": "", "ENVIRONMENT": "staging"}, STAGING),
            ({}, {"BASE_URL": "https://x.example", "ENVIRONMENT": "staging"}, "https://x.example"),
            ({"environment": "staging"}, {"BASE_URL": "https://x.example"}, STAGING),
            ({"base_url": "https://y.example"}, {}, "https://y.example"),
            (
                {"base_url": "https://y.example"},
                {"BASE_URL": "https://x.example", "ENVIRONMENT": "staging"},
                "https://y.example",
            ),
            ({"base_url": "https://y.example", "environment": "staging"}, {}, "https://y.example"),
            ({"base_url": "https://y.example"}, {"ENVIRONMENT": "mistyped"}, "https://y.example"),
        ],
    )
    def test_carevalidate(
        self,
        arguments: dict[str, str],
        variables: dict[str, str],
        origin: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        What is given beats the environment's variables, and a base URL beats an environment.
        """
        for name, value in variables.items():
            monkeypatch.setenv(f"CAREVALIDATE_{name}", value)

        assert origin == origin_of(CareValidate("key", **arguments))  # type: ignore[arg-type]  # only texts

    @pytest.mark.parametrize(
        ("arguments", "variables"),
        [
            ({"environment": "mistyped"}, {}),
            ({"environment": "Staging"}, {}),
            ({"environment": ""}, {}),
            ({"environment": ""}, {"ENVIRONMENT": "staging"}),
            ({}, {"ENVIRONMENT": "mistyped"}),
            ({}, {"ENVIRONMENT": " staging"}),
        ],
    )
    def test_unknown_environment(
        self,
        arguments: dict[str, str],
        variables: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        An environment that there is not, an empty one included, is refused and never production.
        """
        for name, value in variables.items():
            monkeypatch.setenv(f"CAREVALIDATE_{name}", value)

        with pytest.raises(ConfigurationError, match="must be one of production, staging"):
            CareValidate("key", **arguments)  # type: ignore[arg-type]  # only texts

    @pytest.mark.parametrize(
        ("base_url", "variable", "origin"),
        [
            (None, None, PLANOCORE),
            (None, "", PLANOCORE),
            (None, "https://x.example", "https://x.example"),
            ("https://y.example", "https://x.example", "https://y.example"),
            ("https://y.example", None, "https://y.example"),
        ],
    )
    def test_planocore(
        self,
        base_url: str | None,
        variable: str | None,
        origin: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        Planocore's base URL is the given one, the environment's, or the vendor's.
        """
        if variable is not None:
            monkeypatch.setenv("PLANOCORE_BASE_URL", variable)

        assert origin == origin_of(Planocore("token", base_url=base_url))

    @each_client
    def test_empty_base_url(self, client: Any) -> None:
        """
        An empty base URL that was given is a mistake and does not mean production.
        """
        with pytest.raises(ConfigurationError, match="absolute"):
            client("key", base_url="")

    @pytest.mark.parametrize(
        ("client", "variable"),
        [(CareValidate, "CAREVALIDATE_BASE_URL"), (Planocore, "PLANOCORE_BASE_URL")],
    )
    def test_environments_url_is_checked(
        self,
        client: Any,
        variable: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        The environment's URL is checked like any other.
        """
        monkeypatch.setenv(variable, "http://vendor.example")

        with pytest.raises(ConfigurationError, match="plain http"):
            client("key")

    @pytest.mark.parametrize("application", ["", "planorder", 5])
    def test_bad_application(self, application: Any) -> None:
        """
        Planocore's application is one of those that the page lists.
        """
        with pytest.raises(ConfigurationError, match="planoauth, planoorder, planox2"):
            Planocore("token", application=application)


class TestOptions:
    @each_client
    @pytest.mark.parametrize("name", ["timeout", "api_version", "max_retries"])
    def test_unknown(self, client: Any, name: str) -> None:
        """
        An option that there is not is named, by a new client and by a changed one.
        """
        with pytest.raises(TypeError, match=f"no such option here: {name}"):
            client("key", **{name: 1})
        with pytest.raises(TypeError, match=f"no such option here: {name}"):
            client("key").with_options(**{name: 1})

    @pytest.mark.parametrize("name", ["max_connections", "allow_insecure", "session", "proxy"])
    def test_of_the_connections(self, name: str) -> None:
        """
        What belongs to the connections cannot change from call to call.
        """
        with pytest.raises(TypeError, match=name):
            CareValidate("key").with_options(**{name: 1})  # type: ignore[arg-type]  # wrong on purpose

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            *(
                ({name: value}, f"{name} must be a finite number of seconds, above zero")
                for name in ("attempt_timeout", "deadline")
                for value in [0, -1, float("inf"), float("nan"), "5", True, [], 10**400]
            ),
            ({"attempt_timeout": None}, "attempt_timeout must be a finite number"),
            ({"retry": 3}, "retry must be a RetryPolicy"),
            ({"retry": None}, "retry must be a RetryPolicy"),
            ({"hooks": print}, "hooks must be a sequence of functions"),
            ({"hooks": None}, "hooks must be a sequence of functions"),
            ({"hooks": ["log"]}, "hooks must be functions of one argument"),
            ({"hooks": "log"}, "hooks must be functions of one argument"),
        ],
        ids=str,
    )
    def test_bad(self, options: Any, words: str) -> None:
        """
        A bad value is refused when the client is made or changed, and named.
        """
        with pytest.raises(ConfigurationError, match=words):
            CareValidate("key", **options)
        with pytest.raises(ConfigurationError, match=words):
            CareValidate("key").with_options(**options)

    def test_coroutine_hooks(self) -> None:
        """
        A coroutine function is no hook: nobody would await it.
        """

        async def hook(event: object) -> None:
            raise AssertionError

        class Hook:
            __call__ = staticmethod(hook)

        for wrong in (hook, Hook()):
            with pytest.raises(ConfigurationError, match="plain functions"):
                Settings(hooks=[wrong])  # type: ignore[list-item]  # wrong on purpose

    @pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None])
    def test_max_connections(self, value: Any) -> None:
        """
        The number of connections is a whole one of at least 1.
        """
        with pytest.raises(ConfigurationError, match="max_connections must be an int"):
            CareValidate("key", max_connections=value)

    def test_defaults(self) -> None:
        """
        An attempt has 30 seconds and a call 120 unless said otherwise.
        """
        settings = Settings()

        assert (30.0, 120.0, RetryPolicy(), ()) == (
            settings.attempt_timeout,
            settings.deadline,
            settings.retry,
            settings.hooks,
        )

    def test_changed(self) -> None:
        """
        Changed settings keep the rest, and the original keeps all.
        """
        settings = Settings(attempt_timeout=5, hooks=iter([print]))

        changed = settings.changed(deadline=None)

        assert (5, None, (print,)) == (changed.attempt_timeout, changed.deadline, changed.hooks)
        assert 120.0 == settings.deadline


def _whole_traceback(error: BaseException) -> str:
    """Return all that a crash reporter could show: texts, and the locals of our frames."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    # The first frame is the test's own.
    del trace.stack[0]
    return "".join(trace.format())
