"""The sessions that CI runs.

One session: ``nox -s lint``. Some tests of one: ``nox -s tests-3.12 -- -k redis``.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
import zipfile
from itertools import chain
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_external_run = True
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"

# The README's command runs all tests except those of the sessions below, on the machine's own
# Python and Redis. The sessions repeat only tests whose outcome may differ elsewhere:
#
# tests     on the other Pythons, without the tests marked one_python. Between the oldest and the
#           newest Python, also on one event loop only, and without the sync form of the
#           conformance suite
# servers   on other Redis servers, the tests that run scripts there. .ci/run uses only the oldest
#           server, so run the others before a release, and when a script changes
#
# .ci/run leaves out the other servers, the benchmarks, and the Hypothesis profile "nightly", which
# generates more examples for tests that run anyway.
ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)

SDIST_TOP_LEVEL = {
    *(".gitignore", "PKG-INFO", "pyproject.toml"),  # hatchling adds these
    *("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("SECURITY.md", "noxfile.py"),
    *("benchmarks", "docs", "examples", "src", "tests"),
}
BENCHMARKS = (
    "cycle",
    "turn",
    "rust",
    "crossing",
    "listing",
    "purge",
    "expired",
    "deliveries",
    "sizing",
    "import_time",
    "report",
    "plot",
)
PACKED = ROOT / "tests" / "packed"
ONCE = "not uvloop and not trio and not sync_form"  # one form of the conformance suite
ANY_PYTHON = ("-m", "not interop and not runner and not crowded and not soak and not one_python")
ANY_PYTHON_BETWEEN = (*ANY_PYTHON, "-k", ONCE)
ANY_SERVER = ("tests/backends", "-k", f"redis and {ONCE}")
GITHUB_FILES = {  # by the name of the schema that validates them
    "dependabot": "dependabot.yml",
    "github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
    "github-workflows": "workflows/*.yml",
}
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
JUNK = {".db", ".log", ".pyc", ".so", ".sqlite"}

# Runs in an interpreter that has only one built archive and its dependencies. Importing each module
# also loads the Lua and SQL files that the backends read.
IMPORT_ALL = """
import importlib.metadata, pathlib, pkgutil, sys
package = importlib.import_module("async_session_store")
heavy = sorted({"aiosqlite", "click", "pytest", "redis", "rich", "trio"} & set(sys.modules))
assert not heavy, f"import async_session_store imports {heavy}"
assert package.__version__ == importlib.metadata.version("async-session-store")
assert pathlib.Path(sys.prefix) in pathlib.Path(package.__file__).parents, package.__file__
for module in pkgutil.walk_packages(package.__path__, "async_session_store."):
    importlib.import_module(module.name)
"""


def group(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups, since pip before 25.1 has no --group."""
    return nox.project.dependency_groups(PYPROJECT, *names)


def oldest_dependencies() -> tuple[str, ...]:
    """Pin the dependencies of the package and its extras to the oldest versions that we allow."""
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    requirements = chain(PYPROJECT["project"]["dependencies"], *extras)
    return tuple(each.replace(">=", "==") for each in requirements if ">=" in each)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Test the installed package; on the oldest Python, with the oldest dependencies."""
    pins = oldest_dependencies() if session.python == PYTHONS[0] else ()
    session.install(".[all]", *group("test"), *pins)
    share = ANY_PYTHON if session.python in (PYTHONS[0], PYTHONS[-1]) else ANY_PYTHON_BETWEEN
    session.run("pytest", *(session.posargs or share))


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests, and print the lines and branches that no test reaches.

    ``-- -k redis`` runs some of the tests.

    Not by default: it takes far longer. It sets no threshold. Code that runs in a process that a
    test kills is not counted, because that process cannot save what it recorded. On a busy machine,
    tests that bound a time may fail, since tracing slows them; the report is printed all the same.
    """
    session.install("-e", ".[all]", *group("test", "coverage"))
    session.run("coverage", "erase")
    try:
        # Tests run slower under coverage, so the usual time-out is too short.
        session.run("coverage", "run", "-m", "pytest", "--timeout=300", *session.posargs)
    finally:
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report")


@nox.session(default=False)
def interop(session: nox.Session) -> None:
    """Run the tests beside the Rust crate; ``-- --hypothesis-profile nightly`` runs far more.

    Not by default: it needs cargo, and the network for its first build.
    """
    check_cargo(session)
    session.install(".[all]", *group("test"))
    session.run("pytest", "-m", "interop", *session.posargs)


@nox.session(default=False)
def servers(session: nox.Session) -> None:
    """Run the Redis tests on servers from packages; ``-- valkey-9.1`` picks one.

    One event loop is enough: a server cannot tell which loop calls it, or whether the caller is
    async.
    """
    session.install(".[all]", *group("test"))
    script = "tests/redis_server.py"
    names = session.posargs or str(session.run("python", script, silent=True)).split()
    for name in names:
        server = str(session.run("python", script, name, silent=True)).strip()
        session.run("pytest", *ANY_SERVER, env={"REDIS_SERVER": server})


@nox.session(default=False)
def crowded(session: nox.Session) -> None:
    """Run the tests while 63 other callers use the store, so that every call is part of a batch."""
    session.install(".[all]", *group("test"))
    session.run("pytest", "-m", "crowded", *session.posargs)


@nox.session(default=False, python=PYTHONS)
def storm(session: nox.Session) -> None:
    """Interrupt a thread that uses a store, 100,000 times; ``-- 5000`` changes the number."""
    session.install(".[all]", *group("test"))
    interrupts = session.posargs or ["100000"]
    session.run("python", "tests/processes/interrupt_storm.py", "memory://", *interrupts)


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Run the long tests of processes, kills and storms; ``-- --rounds 1000`` makes them longer."""
    session.install(".[all]", *group("test"))
    session.run("pytest", "-m", "soak", *session.posargs)


@nox.session(default=False)
def rust_vectors(session: nox.Session) -> None:
    """Record what the Rust crate writes; fail if it differs from the last recording."""
    check_cargo(session)
    session.install(".[all]", *group("test"))
    session.run("python", "tests/interop/record_vectors.py")


@nox.session(default=False)
def runner_vectors(session: nox.Session) -> None:
    """Record what a Greentic runner does, fail if it changed, and run the tests beside its code.

    It tests ``async_session_store.greentic``. ``.ci/run`` leaves it out: it builds for minutes.
    """
    check_cargo(session)
    session.install(".[all]", *group("test"))
    session.run("python", "tests/interop/record_runner_vectors.py")
    session.run("pytest", "-m", "runner", "--numprocesses=0", *session.posargs)


def check_cargo(session: nox.Session) -> None:
    """Fail with a message if Rust is not installed."""
    if shutil.which("cargo") is None:
        session.error("cargo is missing: install Rust, see https://rust-lang.org/tools/install")


@nox.session
def examples(session: nox.Session) -> None:
    """Run the tests that need frameworks and servers: the examples and the comparison."""
    session.install(".[all]", *group("examples"))
    session.run("pytest", *(session.posargs or ["tests/chat", "tests/comparison", "tests/deploy"]))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the source, of the API as users see it, and of the README's programs."""
    session.install(".[all]", *group("types"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "async_session_store", "--ignoreexternal")
    for number, program in enumerate(PYTHON_BLOCK.findall((ROOT / "README.md").read_text()), 1):
        file = Path(session.create_tmp(), f"readme_{number}.py")
        file.write_text(program)
        session.run("mypy", "--strict", str(file))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, and the YAML that GitHub, Read the Docs and pre-commit read."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    for schema, paths in GITHUB_FILES.items():
        files = [str(path) for path in sorted((ROOT / ".github").glob(paths))]
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    session.run("check-jsonschema", "--builtin-schema", "vendor.readthedocs", ".readthedocs.yaml")
    compose = "examples/deploy/compose.yaml"
    session.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)
    session.run("pre-commit", "validate-config")
    matrix = f"python: {json.dumps(PYTHONS)}\n"
    assert matrix in (ROOT / ".github/workflows/ci.yml").read_text(), f"ci.yml lacks {matrix}"


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation in docs/_build/html; fail on broken links and references."""
    session.install(".[all]", *group("docs"))
    build = ("sphinx-build", "--fresh-env", "--fail-on-warning", "--keep-going")
    session.run(*build, "docs", "docs/_build/html", *session.posargs)


@nox.session(default=False)
def docs_links(session: nox.Session) -> None:
    """Check the external links of the documentation.

    Not by default: it needs the network, and some sites may be down.
    """
    session.install(".[all]", *group("docs"))
    build = ("sphinx-build", "--builder", "linkcheck", "--keep-going")
    session.run(*build, "docs", "docs/_build/linkcheck", *session.posargs)


@nox.session(default=False, python="3.13")
def benchmarks(session: nox.Session) -> None:
    """Run all benchmarks, and write tables and plot; ``-- purge`` runs one script.

    Without cargo, it leaves out the Rust crate.
    """
    scripts = session.posargs or measurable(session)
    if "rust" in scripts:
        check_cargo(session)
    session.install(".[all]", *group("benchmark", "peers"))
    for script in scripts:
        session.run("python", f"benchmarks/{script}.py", env={"PYTHONPATH": "tests"})


def measurable(session: nox.Session) -> list[str]:
    """Return the benchmarks that can run here. Warn if one cannot."""
    if shutil.which("cargo") is not None:
        return [*BENCHMARKS]
    session.warn("cargo is missing: the Rust crate is not measured")
    return [script for script in BENCHMARKS if script != "rust"]


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist, check their files, install each in a fresh venv, and import all."""
    session.install(*group("package"))
    with tempfile.TemporaryDirectory() as directory:
        session.run("python", "-m", "build", "--outdir", directory)
        (wheel,) = Path(directory).glob("*.whl")
        (sdist,) = Path(directory).glob("*.tar.gz")
        check_wheel(session, wheel)
        check_sdist(session, sdist)
        session.run("twine", "check", "--strict", str(wheel), str(sdist))

        for archive in (wheel, sdist):
            venv = Path(directory, f"venv-{archive.suffix[1:]}")
            session.run("python", "-m", "venv", str(venv))
            python = str(venv / "bin" / "python")
            packages = f"{archive}[all,testing]"
            session.run(python, "-m", "pip", "install", "-q", packages, external=True)
            with session.chdir(directory):
                session.run(python, "-I", "-c", IMPORT_ALL, external=True, log=False)
                run_packed(session, python, python, "-I", str(PACKED / "program.py"))


@nox.session
def frozen(session: nox.Session) -> None:
    """Freeze a program that opens every backend with PyInstaller, and run it."""
    session.install(".[all]", "pyinstaller")
    with tempfile.TemporaryDirectory() as directory, session.chdir(directory):
        session.run("pyinstaller", "--log-level=WARN", str(PACKED / "program.py"))
        run_packed(session, "python", str(Path("dist", "program", "program").absolute()))


def run_packed(session: nox.Session, python: str, *program: str) -> None:
    """Run a program with the URL of a Redis server that is started just for it."""
    session.run(python, str(PACKED / "run.py"), *program, external=True)


def source_files() -> set[str]:
    """Return the files that both archives must contain, relative to src."""
    files = {path for path in (ROOT / "src").rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT / "src").as_posix() for path in files if path.suffix != ".pyc"}
    assert "async_session_store/py.typed" in names
    assert {".lua", ".sql"} <= {Path(name).suffix for name in names}
    return names


def check_wheel(session: nox.Session, wheel: Path) -> None:
    """Check that the wheel contains exactly the package, and a README without relative links."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        readme = archive.read(metadata).decode()
    links = re.findall(r"\]\(([^)\s]+)\)", readme)
    if relative := [link for link in links if not link.startswith(("https://", "#"))]:
        session.error(f"these README links would be broken on PyPI: {relative}")
    if differ := names ^ source_files():
        session.error(f"{wheel.name} and src differ in {sorted(differ)}")


def check_sdist(session: nox.Session, sdist: Path) -> None:
    """Check that the sdist contains the package and exactly the expected files beside it."""
    with tarfile.open(sdist) as archive:
        members = [member.name for member in archive.getmembers() if member.isfile()]
    paths = [Path(*Path(name).parts[1:]) for name in members]  # without the top folder
    names = {path.relative_to("src").as_posix() for path in paths if path.parts[0] == "src"}
    if differ := names ^ source_files():
        session.error(f"{sdist.name} and src differ in {sorted(differ)}")
    if differ := {path.parts[0] for path in paths} ^ SDIST_TOP_LEVEL:
        session.error(f"{sdist.name} and SDIST_TOP_LEVEL differ in {sorted(differ)}")
    if junk := [str(path) for path in paths if path.suffix in JUNK or "__pycache__" in path.parts]:
        session.error(f"{sdist.name} contains junk: {junk}")
