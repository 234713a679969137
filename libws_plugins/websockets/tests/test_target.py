"""URLs and redirects, without a network."""

from __future__ import annotations

import pytest

from libws_core.errors import InvalidHandshake, OptionError
from libws_websockets.target import parse_target, redirected


@pytest.mark.parametrize(
    ("url", "secure", "host", "port", "path", "query", "user_info"),
    [
        ("ws://Example.COM", False, "example.com", 80, "/", "", None),
        ("WSS://example.com/", True, "example.com", 443, "/", "", None),
        ("wss://example.com:8443/a/b?c=d", True, "example.com", 8443, "/a/b", "c=d", None),
        ("ws://[::1]:9/x", False, "::1", 9, "/x", "", None),
        ("ws://bücher.example/ü?ü=%C3%BC", False, "xn--bcher-kva.example", 80, "/%C3%BC", "%C3%BC=%C3%BC", None),
        ("ws://u%40x:p%3Aq@h/", False, "h", 80, "/", "", ("u@x", "p:q")),
        ("ws://h?q", False, "h", 80, "/", "q", None),
        ("ws://h:0/", False, "h", 0, "/", "", None),
    ],
)
def test_parts(
    url: str, secure: bool, host: str, port: int, path: str, query: str, user_info: tuple[str, str] | None
) -> None:
    target = parse_target(url)
    assert (target.secure, target.host, target.port) == (secure, host, port)
    assert (target.path, target.query, target.user_info, target.socket) == (path, query, user_info, None)


@pytest.mark.parametrize(
    ("url", "secure", "socket", "path", "query"),
    [
        ("ws+unix:///run/app.sock:/live?x=1", False, "/run/app.sock", "/live", "x=1"),
        ("ws+unix:///run/app.sock", False, "/run/app.sock", "/", ""),
        ("ws+unix:///run/a%20b.sock:", False, "/run/a b.sock", "/", ""),
        ("wss+unix:///s:/a:b?c:d", True, "/s", "/a:b", "c:d"),
        ("ws+unix:///s:?q", False, "/s", "/", "q"),
    ],
)
def test_unix_sockets(url: str, secure: bool, socket: str, path: str, query: str) -> None:
    target = parse_target(url)
    assert (target.secure, target.socket, target.path, target.query) == (secure, socket, path, query)
    assert target.host == "localhost"


@pytest.mark.parametrize(
    "url",
    [
        "ws://",
        "ws:///path",
        "ws://user:secret@",
        "ws://host:port/",
        "ws://host:99999/",
        "ws://user:secret@[::1/",
        "ws://host/#secret",
        "ws://host/\r\nX: secret",
        "ws://host/a secret",
        "ws://host\t/",
        "ws://a\u2100b:secret@host/",
        f"ws://user:secret@{'ü' * 70}.example/",
        "ws+unix://host/path.sock",
        "ws+unix:/path.sock",
        "ws+unix:///path.sock?secret",
        "ws+unix:///path.sock:resource",
        "ftp://user:secret@host/",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_target(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("base", "location", "wanted"),
    [
        ("ws://h/a/b", "/c", "ws://h:80/c"),
        ("ws://h/a/b", "c?d", "ws://h:80/a/c?d"),
        ("ws://h/a?token=x", "?y=z", "ws://h:80/a?y=z"),
        ("ws://h/a", "http://other/x", "ws://other/x"),
        ("ws://h/a", "https://h/x", "wss://h/x"),
        ("wss://h:8443/a", "HTTPS://h:8443/x#top", "wss://h:8443/x"),
        ("wss://h/a", "wss://other/x", "wss://other/x"),
        ("ws://h/a", "ws://other", "ws://other"),
        ("wss://h/a", "//other/x", "wss://other/x"),
        ("ws://[::1]:8/a", "/x y\xc3\xbc", "ws://[::1]:8/x%20y%C3%BC"),
        ("ws+unix:///s.sock:/a", "/b?c", "ws+unix:///s.sock:/b?c"),
        ("ws+unix:///s%20t.sock:/a/", "b", "ws+unix:///s%20t.sock:/a/b"),
        ("ws+unix:///s.sock:/a", "http://localhost/a/", "ws+unix:///s.sock:/a/"),
        ("wss+unix:///s.sock:/a", "https://localhost/a/", "wss+unix:///s.sock:/a/"),
        ("ws+unix:///s.sock:/a", "http://other/a/", "ws://other/a/"),
        ("ws+unix:///s.sock:/a", "https://localhost/a/", "wss://localhost/a/"),
    ],
)
def test_where_a_redirect_leads(base: str, location: str, wanted: str) -> None:
    assert redirected(parse_target(base), location).url == wanted


@pytest.mark.parametrize("location", ["http://h/x", "ws://h/x", "http://other/"])
def test_never_from_wss_to_ws(location: str) -> None:
    with pytest.raises(InvalidHandshake, match="from wss to ws"):
        redirected(parse_target("wss://h/a?token=secret"), location + "?token=secret")


@pytest.mark.parametrize(
    "location", ["ftp://h/x", "file:///etc/passwd", "ws+unix:///s.sock:/x", "mailto:x", "http://h:secret/"]
)
def test_a_redirect_to_what_is_not_dialed(location: str) -> None:
    with pytest.raises(InvalidHandshake) as caught:
        redirected(parse_target("ws://h/a"), location)
    assert "secret" not in str(caught.value)


def test_user_and_password_stay_with_the_origin() -> None:
    base = parse_target("ws://u:p@h/a")
    assert redirected(base, "/b").user_info == ("u", "p")
    assert redirected(base, "http://h:80/b").user_info == ("u", "p")
    assert redirected(base, "http://v:q@h/b").user_info == ("v", "q")
    for other in ("http://h:81/b", "https://h/b", "http://other/b", "//other/"):
        assert redirected(base, other).user_info is None


def test_a_target_shows_no_secret() -> None:
    assert "secret" not in repr(parse_target("ws://u:secret@h/a?token=secret"))
