"""
The checks by name; `nox -l` lists them.

`tests` and `lowest` make an environment for each Python. The others use the tools beside this nox,
which constraints/dev.txt pins: run them with `.venv/bin/nox -s NAME`.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

import nox

nox.needs_version = ">=2025.11"
nox.options.reuse_existing_virtualenvs = True
# The tests start many processes, which should not compile what they import, each for itself.
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
os.environ.setdefault("UV_COMPILE_BYTECODE", "1")
os.environ.setdefault("UV_SYSTEM_CERTS", "1")  # as pip does
nox.options.sessions = ["lint", "types"]

# The tools are those beside this interpreter, whether or not its environment is active.
os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])

PACKAGE = "carevalidate_async"
# More than there are cores: many tests wait for processes, brokers and time-outs.
SHARED = ("-n", "4", "--dist", "worksteal")
PINNING = (
    *("uv", "pip", "compile", "pyproject.toml", "--no-config", "--system-certs", "--quiet"),
    *("--upgrade", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate"),
    *("--extra", "cli"),
)


def test(session: nox.Session, lock: str, **env: str) -> None:
    """Run the tests on the wheel, beside what *lock* pins; *env* is set for them."""
    session.install("--require-hashes", "-r", f"constraints/{lock}.txt")
    session.install("--no-deps", "--no-build-isolation", ".")
    session.run("pytest", "-q", *SHARED, *session.posargs, env=env)


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The test suite."""
    test(session, "test")


@nox.session
def lowest(session: nox.Session) -> None:
    """The test suite, on the oldest dependencies that are admitted, through aiohttp's session."""
    test(session, "lowest", CAREVALIDATE_TRANSPORT="session")


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Style, format, layers and what is known to be insecure."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo", "--no-cache")
    session.run("bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", PACKAGE)


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Types of everything here, and of what the package's users see."""
    session.run("mypy")
    session.run("pyright", "--verifytypes", PACKAGE, "--ignoreexternal")


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """What the README and docs/ claim, and their site: samples, tables, links, no warning."""
    site = "build/docs"
    strict = ("-W", "-n", "--keep-going", "-E", "-q")
    session.run("sphinx-build", *strict, "-b", "html", "docs", site)
    files = ("tests/test_docs.py", "tests/test_package.py", "tests/test_site.py")
    chosen = "test_docs or TestReadme or test_site"
    session.run("pytest", "-q", *files, "-k", chosen, *session.posargs, env={"SITE": site})


@nox.session(python=False)
def browser(session: nox.Session) -> None:
    """The pages in a real browser, a run's report and the sandbox: any Chromium that is on PATH."""
    files = ("tests/test_report_browser.py", "tests/test_sandbox_browser.py")
    session.run("pytest", "-q", "-n", "2", *files, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """What a call costs beside the same call by other means, side by side in one run."""
    session.install("--require-hashes", "-r", "constraints/bench.txt")
    session.install("--no-deps", "--no-build-isolation", ".")
    session.run("python", "-m", "benchmarks.compare", *session.posargs)


@nox.session(python=False)
def package(session: nox.Session) -> None:
    """The wheel and the sdist of what is committed, in dist/; the wheel with each extra alone."""
    env = {"PYTHONPATH": "tests"}
    session.run("python", "-m", "release.dist", env=env)
    built = [str(path) for path in sorted(pathlib.Path("dist").iterdir())]
    wheels = [path for path in built if path.endswith(".whl")]
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", *wheels)
    session.run("python", "-m", "release.smokes", *wheels, *session.posargs, env=env)


@nox.session(python=False)
def version(session: nox.Session) -> None:
    """With a number: make the files those of that release. Without: what it still lacks."""
    session.run("python", "-m", "release.version", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session(python=False)
def api(session: nox.Session) -> None:
    """What is broken of the public API since the last tag, and not meant to be."""
    # What needs the tools beside this nox; the rest is run with the other tests.
    session.run("pytest", "-q", "tests/test_api_check.py", "-k", "TestText")
    session.run("python", "-m", "release.api", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session(python=False)
def mutants(session: nox.Session) -> None:
    """Whether a test fails for each small mistake in what tests/mutation/mutants.toml names."""
    session.run("python", "-m", "mutation.mutants", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def audit(session: nox.Session) -> None:
    """Known holes in what is pinned; asks a public service, so .ci/run leaves it out."""
    session.install("pip-audit>=2.10")
    for name in ("run", "dev"):
        # Strict: what the service does not know would count as free of holes.
        session.run("pip-audit", "--strict", "--disable-pip", "-r", f"constraints/{name}.txt")


@nox.session(python=False)
def lock(session: nox.Session) -> None:
    """Pin everything anew, hashed, for every supported Python and platform."""
    with tempfile.TemporaryDirectory() as folder:
        bounds = f"{folder}/bounds.txt"
        extras = (
            f"--extra={name}" for name in ("fastapi", "litestar", "metrics", "otel", "starlette")
        )
        lowest = ("--resolution", "lowest-direct", "--output-file", bounds)
        session.run(*PINNING, *extras, *lowest, silent=True)
        dev = "constraints/dev.txt"
        for name, groups, limits in (
            ("dev", ("build", "test", "lint", "mutation", "browser", "docs", "package"), ()),
            ("test", ("build", "test"), ("--constraint", dev)),
            ("run", ("build",), ("--constraint", dev)),
            ("lowest", ("build", "test"), ("--constraint", bounds)),
            ("bench", ("build", "bench"), ("--constraint", dev)),
        ):
            chosen = (f"--group={group}" for group in groups)
            output = ("--generate-hashes", "--output-file", f"constraints/{name}.txt")
            session.run(*PINNING, *chosen, *limits, *output, *session.posargs)
