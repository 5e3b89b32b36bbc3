"""Where a Redis server is, and how to be let in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from ..._checks import check_seconds, check_text


def _text(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not check_text(value, attribute.name):
        raise ValueError(f"{attribute.name} must not be empty")


def _optional_text(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _text(instance, attribute, value)


def _secret(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{attribute.name} must be a str or None, not a {type(value).__name__}")
    if value == "":
        raise ValueError(f"{attribute.name} must not be empty")


def _flag(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be a bool, not {value!r}")


def _whole(low: int, high: float) -> Callable[[Any, attrs.Attribute[Any], object], None]:
    def check(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{attribute.name} must be an int, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must be {low} or more{'' if math.isinf(high) else f', up to {high}'}, not {value!r}")

    return check


def _limit(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not 0 < check_seconds(value, attribute.name) < math.inf:
        raise ValueError(f"{attribute.name} must be more than 0 seconds and not for ever, not {value!r}")


@attrs.frozen(kw_only=True)
class RedisSettings:
    """Where a Redis server is, and how to be let in. Everything is checked here; nothing is looked up, read or connected.

    ::

        RedisSettings(host="redis.internal", username="shop", password=os.environ["REDIS_PASSWORD"])
        RedisSettings.from_url("rediss://shop:secret@redis.internal/0")

    Args:
        host: Its name or address.
        port: Its port.
        unix_path: The path of its unix socket, instead of host and port.
        db: The number of the database.
        username: The ACL user; the server's ``default`` if left out.
        password: Its password; never shown.
        tls: Whether to encrypt, and to check the server's certificate.
        ca_file: The authorities to trust (PEM), instead of the system's.
        cert_file: A certificate to show (PEM); its key may be in the same file.
        key_file: The key of ``cert_file``, if it is in a file of its own.
        check_hostname: Whether the server's certificate must be made out to ``host``.
        connect_timeout: How many seconds one attempt to connect may take, up to the answer to the first command.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument makes no sense, or not beside the others.
    """

    host: str = attrs.field(default="localhost", validator=_text)
    port: int = attrs.field(default=6379, validator=_whole(1, 65535))
    unix_path: str | None = attrs.field(default=None, validator=_optional_text)
    db: int = attrs.field(default=0, validator=_whole(0, math.inf))
    username: str | None = attrs.field(default=None, validator=_optional_text)
    password: str | None = attrs.field(default=None, validator=_secret, repr=False)
    tls: bool = attrs.field(default=False, validator=_flag)
    ca_file: str | None = attrs.field(default=None, validator=_optional_text)
    cert_file: str | None = attrs.field(default=None, validator=_optional_text)
    key_file: str | None = attrs.field(default=None, validator=_optional_text)
    check_hostname: bool = attrs.field(default=True, validator=_flag)
    connect_timeout: float = attrs.field(default=5.0, validator=_limit)

    def __attrs_post_init__(self) -> None:
        if self.username is not None and self.password is None:
            raise ValueError("a username needs a password")
        if self.unix_path is not None and self.tls:
            raise ValueError("a unix socket is not encrypted: leave out tls, or unix_path")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file: a key without its certificate is of no use")
        if not self.tls and (self.ca_file or self.cert_file or not self.check_hostname):
            raise ValueError("ca_file, cert_file and check_hostname are about encryption: they need tls=True (rediss://)")

    @property
    def place(self) -> str:
        """The server in words, for error messages; without the password."""
        return self.unix_path if self.unix_path is not None else f"{self.host}:{self.port}"

    @classmethod
    def from_url(cls, url: str) -> RedisSettings:
        """Read settings from a URL.

        ::

            RedisSettings.from_url("redis://user:password@host:6379/0")
            RedisSettings.from_url("rediss://host?ca_file=/etc/ca.pem&check_hostname=no")
            RedisSettings.from_url("unix:///run/redis.sock?db=1")

        User and password are percent-decoded. What a URL has no place for goes into the query: ``db``, ``connect_timeout``, and for
        ``rediss`` ``ca_file``, ``cert_file``, ``key_file`` and ``check_hostname``.

        Raises:
            TypeError: It is no ``str``.
            ValueError: It is no such URL; the message does not repeat what may be a password.
        """
        try:
            parts = urlsplit(check_text(url, "url"))
            port = parts.port
        except ValueError:
            raise ValueError("the host or the port of the redis URL makes no sense: the port is a number up to 65535") from None
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"a redis URL begins with redis://, rediss:// or unix://, not {parts.scheme!r}")
        if parts.fragment:
            raise ValueError("a redis URL has no fragment: write a '#' in a user or a password as %23")
        given: dict[str, Any] = _query(parts)
        given |= _unix(parts) if parts.scheme == "unix" else _tcp(parts, port, given)
        for key, value in (("username", parts.username), ("password", parts.password)):
            if value:
                given[key] = unquote(value)
        return cls(**given)


def _tcp(parts: SplitResult, port: int | None, query: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"tls": parts.scheme == "rediss"}
    if parts.hostname:
        given["host"] = unquote(parts.hostname)
    if port is not None:
        given["port"] = port
    if database := parts.path.strip("/"):
        if "db" in query:
            raise ValueError("the redis URL names its database twice: in its path and in its query")
        given["db"] = _int(database, "the path of a redis URL, its database,")
    return given


def _unix(parts: SplitResult) -> dict[str, Any]:
    if parts.hostname or not parts.path.strip("/"):
        raise ValueError("the URL of a unix socket has three slashes and a path: unix:///run/redis.sock")
    return {"unix_path": unquote(parts.path)}


def _query(parts: SplitResult) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _SCHEMES[parts.scheme]:
            raise ValueError(f"a {parts.scheme}:// URL has no {key!r} in its query, but {', '.join(sorted(_SCHEMES[parts.scheme]))}")
        if key in given:
            raise ValueError(f"{key!r} comes twice in the redis URL")
        given[key] = _QUERY[key](value, key)
    return given


def _int(value: str, what: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{what} must be a whole number, not {value!r}")
    return int(value)


def _seconds(value: str, what: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{what} must be a number of seconds, not {value!r}") from None


def _bool(value: str, what: str) -> bool:
    if value.lower() not in _WORDS:
        raise ValueError(f"{what} must be yes or no, not {value!r}")
    return _WORDS[value.lower()]


_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_QUERY: dict[str, Callable[[str, str], Any]] = {
    "db": _int,
    "connect_timeout": _seconds,
    "ca_file": check_text,
    "cert_file": check_text,
    "key_file": check_text,
    "check_hostname": _bool,
}
_PLAIN = frozenset({"db", "connect_timeout"})
_SCHEMES = {"redis": _PLAIN, "unix": _PLAIN, "rediss": frozenset(_QUERY)}
