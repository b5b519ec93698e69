"""
Whatever a text holds, it changes neither where a request goes nor what else stands in it.

A property is checked on what is sealed, as aiohttp's own parser of URLs takes it; a few dozen
texts are sent, and looked at as they arrive.
"""

from __future__ import annotations

import base64
import contextlib
import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st
from yarl import URL

from calls import CALLS, CASE, CASE_PAYMENT, METHOD, ONCE, PAY_CASE, PAYMENT, Calling
from carevalidate_async import (
    APIConnectionError,
    CareValidate,
    CareValidateError,
    ConfigurationError,
    InvalidRequestError,
)
from carevalidate_async._config import checked_origin
from carevalidate_async._secret import Secret
from carevalidate_async.carevalidate import CONFIRM_PAYMENT, CREATE_CASE_PAYMENT
from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD, Planocore
from carevalidate_async.session import _HEADERS
from raw_server import RawServer
from strategies import CREDENTIAL, EXAMPLES, OPERATIONS, ORIGIN, REQUESTS, seal

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from carevalidate_async._operation import Operation
    from carevalidate_async._wire import Sealed
    from raw_server import Arrived

EVIL = "evil.example"
NASTY = (
    "../..",
    "../users",
    "./",
    ".",
    "..",
    "...",
    "%2e%2e",
    "%2e%2e%2f",
    "..%2f..",
    "..;/",
    "/",
    "//",
    "//evil.example",
    "/\\evil.example",
    "\\",
    "\\..\\",
    "@evil.example",
    ":80@evil.example",
    "evil.example",
    "http://evil.example",
    "https:evil.example",
    "?to=evil.example",
    "&a=b",
    "#evil",
    ";evil=1",
    "%",
    "%0",
    "%00",
    "%0d%0aX-Evil: 1",
    "%250d%250a",
    "\r\nX-Evil: 1",
    "\nX-Evil: 1",
    "\rX-Evil: 1",
    "\r\n\r\nGET /evil HTTP/1.1\r\n",
    "\x00",
    "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
    "\x7f",
    "\x1b[2J",
    " ",
    "+",
    "~",
    "{case_id}",
    "{0}",
    "{case_id.__class__}",
    "%s%n",
    '"',
    "'",
    '","token":"evil',
    '"}{"a":"',
    "<script>",
    "${jndi:ldap://evil.example}",
    "é",
    "日本",
    "\u202e",
    "\ufeff",
    "\uff0f\uff0e\uff0e",  # wide forms of "/..", which a normalizer would make of them
    "\u2024\u2024",
    "\U0001f4b8",
    "a" * 70_000,
)
# One of them, several in a row, or any text.
TEXTS = st.lists(
    st.sampled_from(NASTY) | st.text(st.characters(codec="utf-8"), max_size=8), max_size=4
).map("".join)
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=repr)


def is_loopback(host: str | None) -> bool:
    """Tell whether *host* is this machine, by another way than the package's."""
    name = (host or "").lower()
    if name.split(".")[-1] == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def check_where(url: str, origin: str, path: str) -> None:
    """Check that aiohttp will ask for *path* under *origin* and for nothing else."""
    taken, base = URL(url), URL(origin)

    assert (base.scheme, base.raw_host, base.port) == (taken.scheme, taken.raw_host, taken.port)
    assert (None, None, "", "") == (
        taken.user,
        taken.password,
        taken.raw_query_string,
        taken.raw_fragment,
    )
    assert base.raw_path.rstrip("/") + path == taken.raw_path


def check_headers(sealed: Sealed, operation: Operation[Any, Any]) -> None:
    """Check that no header is there but ours, and none could end early."""
    own = {"cv-api-key"} if operation is not UPDATE_PAYMENT_METHOD else set()

    assert {*_HEADERS, *own} == set(sealed.head.headers)
    for name, value in sealed.head.headers.items():
        assert (name + value).isascii()
        assert (name + value).isprintable()


def refused(make: Callable[[], object], kind: type[CareValidateError]) -> CareValidateError | None:
    """Return the error of that *kind* that *make* raises, None where it makes something."""
    try:
        make()
    except kind as error:
        return error
    return None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of *pairs*, in which no name comes twice."""
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    return dict(pairs)


def lines_of(arrived: Arrived) -> dict[str, str]:
    """Return the header lines of a request, each of a name of its own."""
    lines = arrived.head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")[1:]
    return once(
        [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines]
    )


def check_arrived(server: RawServer, path: str, *more: str) -> None:
    """Check that one request arrived, for *path*, with our headers and *more* alone."""
    (arrived,) = server.requests
    lines = lines_of(arrived)

    assert 1 == server.connections
    assert path == arrived.path
    assert b"HTTP/1.1" == arrived.head.split(b"\r\n")[0].split(b" ")[2]
    assert 2 == arrived.head.split(b"\r\n")[0].count(b" ")
    assert {*map(str.lower, _HEADERS), "host", "content-length", *more} == lines.keys()
    assert str(len(arrived.body)) == lines["content-length"]


class TestPath:
    """A parameter is one segment of the path, whatever it holds."""

    @hypothesis.given(
        TEXTS.filter(lambda text: text not in {"", ".", ".."}),
        st.sampled_from(
            [ORIGIN, f"{ORIGIN}:8443", f"{ORIGIN}/prefix/v2", f"{ORIGIN}/a@b", "https://[::1]:1"]
        ),
    )
    def test_a_parameter_stays_in_its_segment(self, value: str, origin: str) -> None:
        """
        It is escaped as a whole: it ends no segment, and is there again once it is decoded.
        """
        sealed = seal(
            CREATE_CASE_PAYMENT,
            CASE_PAYMENT,
            origin=origin,
            headers=_HEADERS,
            path={"case_id": value},
        )
        taken = URL(sealed.head.url)
        *before, segment, last = taken.raw_path.removeprefix(URL(origin).raw_path).split("/")

        assert ["api", "v1", "cases", "payments"] == [*filter(None, before), last]
        assert value == unquote(segment)
        check_where(sealed.head.url, origin, f"/api/v1/cases/{segment}/payments")
        check_headers(sealed, CREATE_CASE_PAYMENT)

    @pytest.mark.parametrize("value", ["", ".", ".."])
    def test_what_leads_elsewhere_is_no_parameter(self, value: str) -> None:
        """
        What no escape keeps in its place is refused, and named.
        """
        with pytest.raises(InvalidRequestError, match="case_id: cannot stand in a path"):
            seal(CREATE_CASE_PAYMENT, CASE_PAYMENT, path={"case_id": value})

    @pytest.mark.parametrize("value", [text for text in NASTY if text not in {".", ".."}])
    async def test_it_arrives_so(self, value: str) -> None:
        """
        Nor is a segment more or less in the line of the request that arrives.
        """
        if len(value) > 5000:
            value = value[:5000]  # as long as a server reads a line
        async with RawServer() as server, PAY_CASE.client(server.url, retry=ONCE) as client:
            await client._session.run(CREATE_CASE_PAYMENT, CASE_PAYMENT, path={"case_id": value})

        segment = server.requests[0].path.split("/")[4]
        assert value == unquote(segment)
        check_arrived(server, f"/api/v1/cases/{segment}/payments", "cv-api-key")

    @hypothesis.given(TEXTS | TEXTS.map(CASE.__add__) | TEXTS.map(lambda text: text + CASE))
    async def test_a_case_is_a_uuid_or_refused(self, case: str) -> None:
        """
        No id that is more than a UUID is sent at all, dots and nothing included.
        """
        hypothesis.assume(case != CASE)
        async with CareValidate("test", base_url="http://127.0.0.1:9") as client:
            with pytest.raises(InvalidRequestError) as caught:
                await client.create_case_payment(case, CASE_PAYMENT)

        assert "case_id" == caught.value.field

    @pytest.mark.parametrize(
        "case",
        [
            *(CASE + end for end in ("\n", "\r\n", "\x00", "/", " ", "%00", "?", "\u200b")),
            f"urn:uuid:{CASE}",
            f"{{{CASE}}}",
            CASE.replace("-", ""),
            CASE.replace("-", "\u2010"),
            CASE.replace("9", "\uff19"),
            CASE.replace("4", "\u0664"),
            CASE.replace("a", "\uff41"),
        ],
    )
    async def test_what_is_nearly_a_uuid_is_none(self, case: str) -> None:
        """
        Other digits, other dashes, other forms and a line's end are refused.
        """
        async with CareValidate("test", base_url="http://127.0.0.1:9") as client:
            with pytest.raises(InvalidRequestError, match="case_id"):
                await client.create_case_payment(case, CASE_PAYMENT)


class TestBody:
    """A text goes into one field of the body, and nowhere else."""

    @each_operation
    @hypothesis.given(data=st.data())
    def test_no_request_moves_anything(
        self, operation: Operation[Any, Any], data: st.DataObject
    ) -> None:
        """
        Any request goes to its own path, with our headers, as one object; the credential stands in
        its place alone.
        """
        sealed = seal(operation, data.draw(REQUESTS[operation.name]), headers=_HEADERS)
        document = json.loads(sealed.body, object_pairs_hook=once)

        check_where(sealed.head.url, ORIGIN, operation.path.format(case_id=CASE))
        check_headers(sealed, operation)
        assert CREDENTIAL not in sealed.head.url
        assert 1 == str([*sealed.head.headers.values(), document]).count(CREDENTIAL)
        assert (
            CREDENTIAL
            == (document | sealed.head.headers)[
                "token" if operation is UPDATE_PAYMENT_METHOD else "cv-api-key"
            ]
        )

    @pytest.mark.parametrize("operation", [CONFIRM_PAYMENT, CREATE_CASE_PAYMENT], ids=repr)
    @hypothesis.given(key=TEXTS)
    def test_an_idempotency_key(self, operation: Operation[Any, Any], key: str) -> None:
        """
        A key is refused, or is its field's value and changes nothing beside it.
        """
        example = EXAMPLES[operation.name]
        plain = seal(operation, attrs.evolve(example, idempotency_key="plain"))
        error = refused(
            lambda: seal(operation, attrs.evolve(example, idempotency_key=key)), InvalidRequestError
        )
        usable = key.isascii() and key.isprintable() and key == key.strip() and len(key) < 256

        assert (usable and key != "") is (error is None)
        if error is not None:
            return
        sealed = seal(operation, attrs.evolve(example, idempotency_key=key))
        expected = json.loads(plain.body) | {"idempotencyKey": key}

        assert (plain.head.url, plain.head.headers) == (sealed.head.url, sealed.head.headers)
        assert expected == json.loads(sealed.body, object_pairs_hook=once)

    @hypothesis.given(st.lists(TEXTS, min_size=3, max_size=3))
    def test_planocores_views(self, views: list[str]) -> None:
        """
        A view is its field's value, and takes the place of neither the token nor the id.
        """
        fields = dict(zip(("view", "application_view", "session_view"), views, strict=True))
        sealed = seal(UPDATE_PAYMENT_METHOD, METHOD, fields=fields | {"id": 42})
        document = json.loads(sealed.body, object_pairs_hook=once)

        check_where(sealed.head.url, ORIGIN, UPDATE_PAYMENT_METHOD.path)
        assert fields == {name: document.pop(name) for name in fields}
        assert {"id", "token", "payment_method"} == document.keys()
        assert (42, CREDENTIAL) == (document["id"], document["token"])

    @pytest.mark.parametrize("method_id", [*NASTY[:20], "42", "42/../1", 4.2, True, 0, -1, 2**63])
    async def test_planocores_id_is_a_number(self, method_id: Any) -> None:
        """
        What is no positive whole number is refused as an id.
        """
        async with Planocore("test", base_url="http://127.0.0.1:9") as client:
            with pytest.raises(InvalidRequestError) as caught:
                await client.update_payment_method(method_id, METHOD)

        assert "id" == caught.value.field

    @hypothesis.given(TEXTS)
    def test_planocores_application_is_one_of_three(self, application: str) -> None:
        """
        Any other is refused when the client is made.
        """
        with pytest.raises(ConfigurationError, match="planoauth, planoorder, planox2"):
            Planocore("test", application=application)

    @pytest.mark.parametrize("text", [text for text in NASTY if text.strip()])
    async def test_it_arrives_so(self, text: str) -> None:
        """
        What arrives of a view is one request, whose body alone holds it.
        """
        async with (
            RawServer() as server,
            Planocore("test", base_url=server.url, retry=ONCE) as client,
        ):
            await client.update_payment_method(42, METHOD, view=text, session_view=text)

        check_arrived(server, UPDATE_PAYMENT_METHOD.path)
        document = json.loads(server.requests[0].body, object_pairs_hook=once)
        assert (text, text, "test") == tuple(
            document[name] for name in ("view", "session_view", "token")
        )


class TestCredential:
    """A credential is one header's whole value, or is refused."""

    @hypothesis.given(TEXTS)
    def test_it_ends_no_header(self, value: str) -> None:
        """
        No key with a line's end, a blank or a letter beyond ASCII is taken.
        """
        usable = value.isascii() and value.isprintable() and " " not in value and value != ""
        error = refused(lambda: CareValidate(value, base_url=ORIGIN), ConfigurationError)

        assert usable is (error is None)
        if error is not None:
            return
        sealed = seal(
            CONFIRM_PAYMENT,
            EXAMPLES["confirm_payment"],
            secret=Secret(value),
            headers=_HEADERS,
        )

        assert value == sealed.head.headers["cv-api-key"]
        check_headers(sealed, CONFIRM_PAYMENT)
        check_where(sealed.head.url, ORIGIN, CONFIRM_PAYMENT.path)

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    @pytest.mark.parametrize(
        "value",
        ["@evil.example", "//evil.example", "a:b", "%0d%0aX-Evil:1", '","a":"b', "\\r\\n", "{}"],
    )
    async def test_it_arrives_so(self, calling: Calling, value: str) -> None:
        """
        One that is taken arrives to the letter, in its place alone.
        """
        async with (
            RawServer() as server,
            calling.vendor(value, base_url=server.url, retry=ONCE) as client,
        ):
            await calling.ask(client)

        in_header = calling.vendor is CareValidate
        path = calling.operation.path.format(case_id=CASE)
        check_arrived(server, path, *["cv-api-key"] * in_header)
        (arrived,) = server.requests
        held = lines_of(arrived) if in_header else json.loads(arrived.body, object_pairs_hook=once)
        assert value == held["cv-api-key" if in_header else "token"]


ATOMS = (
    *("localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0", EVIL),
    *("//", "/", "\\", "@", "#", "?", ":", ";", "&", "=", ".", "..", "[", "]", "|", "^", "*", "~"),
    *("%2f", "%40", "%23", "%3f", "%5c", "%00", "%0d%0a", "%2e", "%252e", "%31", "\t", "\n", " "),
    *(
        "http:",
        "https:",
        "user:pw@",
        ":80",
        ":443",
        ":0",
        ":99999",
        ":x",
        "\u3002",
        "\uff0f",
        "\xe9",
    ),
)
URLS = st.builds(
    "{}{}".format,
    st.sampled_from(["https://", "http://", "HTTP://", "http:/", "http:///", "//", ""]),
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join),
)


class TestOrigin:
    """The host that was checked is the host that is asked."""

    @hypothesis.settings(max_examples=1500)
    @hypothesis.given(URLS)
    def test_it_means_the_same_to_those_who_send(self, url: str) -> None:
        """
        A base URL that is taken names, to aiohttp too, the host that was checked: over TLS, or this
        machine; and all that follows is path.
        """
        try:
            origin = checked_origin(url, allow_insecure=False)
        except ConfigurationError:
            return
        path = CONFIRM_PAYMENT.path
        try:
            taken = URL(origin + path)
        except ValueError:
            return  # aiohttp says that it is no URL, before it connects
        checked = urlsplit(origin)

        assert "https" == taken.scheme or is_loopback(taken.host)
        assert is_loopback(checked.hostname) is is_loopback(taken.host)
        assert (EVIL in taken.authority) is (EVIL in checked.netloc)
        assert taken.port == (checked.port if checked.port is not None else taken.port)
        check_where(origin + path, origin, path)

    @pytest.mark.parametrize(
        "prefix",
        [
            *("/a@evil.example", "//evil.example", "/;a=b", "/%0d%0aX-Evil:1", "/%00", "/%2e%2e"),
            *("/..", "/../..", "/%2f..%2f", "/%5c", "/:80", "/http://evil.example", "/{case_id}"),
        ],
    )
    async def test_its_path_arrives_as_a_path(self, prefix: str) -> None:
        """
        Whatever the path of a base URL holds, the request goes to its host, below it.
        """
        url = ""
        async with RawServer() as server:
            url = server.url
            async with CareValidate("test", base_url=url + prefix, retry=ONCE) as client:
                await client.create_case_payment(CASE, CASE_PAYMENT)

        path = URL(url + prefix).raw_path.rstrip("/")
        check_arrived(server, f"{path}/api/v1/cases/{CASE}/payments", "cv-api-key")
        assert url.removeprefix("http://") == lines_of(server.requests[0])["host"]

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_no_proxy_but_the_one_that_was_given(
        self, calling: Calling, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        """
        The environment's proxies, and its file of passwords, get and give nothing.
        """
        (tmp_path / "netrc").write_text("default login user password evil\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        async with RawServer() as other, RawServer() as server:
            for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
                monkeypatch.setenv(name, other.url)
                monkeypatch.setenv(name.upper(), other.url)
            monkeypatch.delenv("no_proxy", raising=False)
            async with calling.client(server.url, retry=ONCE) as client:
                await calling.ask(client)

        assert (0, 1) == (other.connections, len(server.requests))
        assert "authorization" not in lines_of(server.requests[0])


class TestProxy:
    """A proxy is a host to connect to, and its password one header's value."""

    @pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "https://10.0.0.1"])
    def test_plain_http_does_not_leave_this_machine_by_way_of_one(self, proxy: str) -> None:
        """
        A proxy reads a plain request whole, the key too, so one elsewhere is refused unasked.
        """
        for origin in ("http://localhost:8080", "http://127.0.0.1"):
            with pytest.raises(ConfigurationError, match="by way of a proxy on another host"):
                CareValidate("test", base_url=origin, proxy=proxy)
            CareValidate("test", base_url=origin, proxy=proxy, allow_insecure=True)
            CareValidate("test", base_url=origin, proxy="http://localhost:3128")
        CareValidate("test", base_url=ORIGIN, proxy=proxy)

    @pytest.mark.parametrize(
        "proxy",
        [
            *(
                "http://proxy.example\r\nX-Evil: 1",
                "http://pro\nxy.example",
                " http://proxy.example",
            ),
            *("http://proxy.example\x00", "http://proxy.example:99999", "http://pr\xf6xy.example"),
        ],
    )
    def test_what_others_read_differently_is_refused(self, proxy: str) -> None:
        """
        A URL whose parts depend on who reads it is refused when it is given.
        """
        with pytest.raises(ConfigurationError, match="proxy must be an http:// or https:// URL"):
            CareValidate("test", proxy=proxy)

    @hypothesis.given(URLS | TEXTS)
    def test_it_means_the_same_to_those_who_send(self, url: str) -> None:
        """
        A proxy that is taken is an HTTP proxy at the host that it names, to aiohttp too.
        """
        error = refused(lambda: CareValidate("test", proxy=url), ConfigurationError)
        if error is not None:
            assert "proxy must be an http:// or https:// URL" == str(error)
            return
        try:
            taken = URL(url)
        except ValueError:
            return  # aiohttp says that it is no URL, before it connects
        assert taken.scheme in {"http", "https"}
        assert taken.raw_host
        assert "\r" not in str(taken)
        assert "\n" not in str(taken)

    @pytest.mark.parametrize(
        "user",
        [
            "u:p",
            "u%0d%0aX-Evil%3a%201:p",
            "u:p%0d%0a%0d%0aGET%20/evil",
            "u%40evil.example:p",
            "u:p%00",
        ],
    )
    async def test_its_password_ends_no_header(self, user: str) -> None:
        """
        What the proxy is told of who asks is one line, however it was spelled.
        """
        async with RawServer() as server:
            proxy = server.url.replace("http://", f"http://{user}@")
            origin = server.url.replace("127.0.0.1", "localhost")
            # What would end a line is refused, by aiohttp if not before.
            with contextlib.suppress(APIConnectionError, ConfigurationError):
                async with CareValidate("test", base_url=origin, proxy=proxy, retry=ONCE) as client:
                    await client.confirm_payment(PAYMENT)

        assert ("%0d" in user) is ([] == server.requests)
        if server.requests:
            check_arrived(
                server, origin + CONFIRM_PAYMENT.path, "cv-api-key", "proxy-authorization"
            )
            told = lines_of(server.requests[0])["proxy-authorization"].removeprefix("Basic ")
            assert unquote(user) == base64.b64decode(told, validate=True).decode()

    @pytest.mark.parametrize(
        "ending", ["\r\nX-Evil: 1", "\n", "/\r\n\r\nGET /evil", " x", ":99999"]
    )
    async def test_its_address_ends_no_line(self, ending: str) -> None:
        """
        Nor can anything be said to it by the way of its address.
        """
        async with RawServer() as server:
            origin = server.url.replace("127.0.0.1", "localhost")
            with contextlib.suppress(APIConnectionError, ConfigurationError):
                async with CareValidate(
                    "test", base_url=origin, proxy=server.url + ending, retry=ONCE
                ) as client:
                    await client.confirm_payment(PAYMENT)

        if server.requests:
            check_arrived(server, origin + CONFIRM_PAYMENT.path, "cv-api-key")
