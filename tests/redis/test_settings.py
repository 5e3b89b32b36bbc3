"""Where a server is: settings say no before anything is connected."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trioworkers.bus.redis.settings import RedisSettings


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("redis://", {}),
        ("redis://h", {"host": "h"}),
        ("redis://h:7/3", {"host": "h", "port": 7, "db": 3}),
        ("redis://h/", {"host": "h"}),
        ("redis://h?db=4&connect_timeout=1.5", {"host": "h", "db": 4, "connect_timeout": 1.5}),
        ("redis://[::1]:7", {"host": "::1", "port": 7}),
        ("redis://bob:p%40ss%2F%23@h", {"host": "h", "username": "bob", "password": "p@ss/#"}),
        ("redis://b%3Ab:p:p@h", {"host": "h", "username": "b:b", "password": "p:p"}),
        ("redis://:secret@h", {"host": "h", "password": "secret"}),
        ("rediss://h", {"host": "h", "tls": True}),
        (
            "rediss://h?ca_file=/ca&cert_file=/c&key_file=/k&check_hostname=No",
            {"host": "h", "tls": True, "ca_file": "/ca", "cert_file": "/c", "key_file": "/k", "check_hostname": False},
        ),
        ("unix:///run/r%20s.sock?db=1", {"unix_path": "/run/r s.sock", "db": 1}),
        ("unix://bob:pw@/run/r.sock", {"unix_path": "/run/r.sock", "username": "bob", "password": "pw"}),
    ],
)
def test_a_url_says_it_all(url: str, given: dict[str, Any]) -> None:
    """A URL means the settings one would have written out, with user, password and path percent-decoded."""
    assert RedisSettings.from_url(url) == RedisSettings(**given)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://h", "redis://, rediss:// or unix://, not 'http'"),
        ("h:6379", "redis://, rediss:// or unix://"),
        ("redis://h:port", "the port is a number up to 65535"),
        ("redis://h:70000", "the port is a number up to 65535"),
        ("redis://[::1", "host or the port"),
        ("redis://h:0", "port must be 1 or more, up to 65535"),
        ("redis://h/one", "whole number, not 'one'"),
        ("redis://h/-1", "whole number"),
        ("redis://h/1/2", "whole number"),
        ("redis://h/1?db=2", "twice"),
        ("redis://h?db=1&db=2", "twice"),
        ("redis://h?db=", "whole number"),
        ("redis://h?connect_timeout=soon", "number of seconds"),
        ("redis://h?connect_timeout=inf", "not for ever"),
        ("redis://h?connect_timeout=nan", "zero or more"),
        ("redis://h?ca_file=/ca", "no 'ca_file' in its query, but connect_timeout, db"),
        ("rediss://h?certfile=/c", "no 'certfile'"),
        ("rediss://h?check_hostname=maybe", "yes or no"),
        ("rediss://h?key_file=/k", "needs cert_file"),
        ("rediss://h?ca_file=", "must not be empty"),
        ("redis://bob@h", "a username needs a password"),
        ("redis://h#1", "no fragment"),
        ("unix://run/r.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("unix:///", "three slashes"),
    ],
)
def test_a_bad_url_is_refused(url: str, complaint: str) -> None:
    """A URL that means nothing, or two things, is a ValueError that says what is wrong with it."""
    with pytest.raises(ValueError, match=complaint.replace("?", r"\?")):
        RedisSettings.from_url(url)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"host": ""}, ValueError),
        ({"host": None}, TypeError),
        ({"port": "6379"}, TypeError),
        ({"port": True}, TypeError),
        ({"port": 0}, ValueError),
        ({"port": 65536}, ValueError),
        ({"db": -1}, ValueError),
        ({"db": 1.0}, TypeError),
        ({"unix_path": ""}, ValueError),
        ({"unix_path": 3}, TypeError),
        ({"username": "", "password": "x"}, ValueError),
        ({"username": "bob"}, ValueError),
        ({"password": ""}, ValueError),
        ({"tls": 1}, TypeError),
        ({"tls": True, "unix_path": "/r.sock"}, ValueError),
        ({"tls": True, "key_file": "/k"}, ValueError),
        ({"ca_file": "/ca"}, ValueError),
        ({"cert_file": "/c"}, ValueError),
        ({"check_hostname": False}, ValueError),
        ({"connect_timeout": 0}, ValueError),
        ({"connect_timeout": float("inf")}, ValueError),
        ({"connect_timeout": "5"}, TypeError),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], error: type[Exception]) -> None:
    """Settings of the wrong type, or that make no sense together, are an error where they are written."""
    with pytest.raises(error):
        RedisSettings(**given)


def test_a_url_is_text() -> None:
    """A URL that is no str is a TypeError."""
    with pytest.raises(TypeError, match="url must be a str"):
        RedisSettings.from_url(b"redis://h")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "url", ["redis://bob:s3cret@h:port", "redis://bob:s3cret@[h", "redis://bob:s3cret@h#x", "redis://bob:s3cret@h/x"]
)
def test_no_complaint_shows_a_password(url: str) -> None:
    """Neither a complaint about a URL nor the repr of settings, nor the place they name, shows the password."""
    with pytest.raises(ValueError, match=r".") as caught:
        RedisSettings.from_url(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    settings = RedisSettings(username="bob", password="s3cret")  # noqa: S106 - an example
    assert "s3cret" not in repr(settings) + settings.place
    with pytest.raises(TypeError) as wrong:
        RedisSettings(password=b"s3cret")  # type: ignore[arg-type]  # on purpose
    assert "s3cret" not in str(wrong.value)


def test_the_place_in_words() -> None:
    """A place is host and port, or the path of a socket."""
    assert RedisSettings(host="h", port=7).place == "h:7"
    assert RedisSettings(unix_path="/r.sock").place == "/r.sock"


def test_settings_stay_as_they_are() -> None:
    """Settings cannot be changed after they were checked."""
    settings = RedisSettings()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]  # on purpose
