"""The tests' own server and what waits for it."""

from __future__ import annotations

import pytest
import redis_support
from redis_support import need_redis, until


def test_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no server the tests are skipped, but not where somebody has said that there is one."""
    monkeypatch.setenv("PATH", "/nowhere")
    for variable in ("CI", "TRIOWORKERS_REQUIRE_REDIS", "TRIOWORKERS_REDIS_SERVER"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no redis-server"):
        need_redis()
    for variable in ("CI", "TRIOWORKERS_REQUIRE_REDIS"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            with pytest.raises(pytest.fail.Exception, match="no redis-server"):
                need_redis()


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for what never comes fails."""
    monkeypatch.setattr(redis_support, "PATIENCE", 0.01)
    with pytest.raises(pytest.fail.Exception, match="in vain for the moon"):
        await until(lambda: False, "the moon")
