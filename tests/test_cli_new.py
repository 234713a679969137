"""`libws new`: what it writes is a whole distribution, whatever was asked for, and it writes all of it or nothing."""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
import select
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from libws_core.assembly import OFFICIAL
from libws_core.cli import main, new
from libws_core.cli.project import DOCS, KINDS, Plan, class_of, module_of, render
from libws_core.hookspecs import GROUP

if sys.platform != "win32":
    import pty

FILES = ["pyproject.toml", "README.md", "src/libws_acme/__init__.py", "src/libws_acme/py.typed", "tests/test_acme.py"]
HOOKS = tuple(DOCS)
PATIENCE = 60.0
"""Seconds that the command may take until it shows something more, or ends."""
ODD = ("q", "a-b", "a-1", "long" * 10)
"""Names at the edges of what is allowed."""


def plans() -> Iterator[Plan]:
    """Every kind, every hook alone, every pair of hooks, all but one, and all of them under odd names."""
    for kind, hooks in KINDS.items():
        yield Plan(f"kind-{kind}", hooks)
    for hook in HOOKS:
        yield Plan(f"only-{hook.replace('_', '-')}", (hook,))
    for number, pair in enumerate(itertools.combinations(HOOKS, 2)):
        yield Plan(f"pair{number}", pair)
    for number, hook in enumerate(HOOKS):
        yield Plan(f"without{number}", [each for each in HOOKS if each != hook], "Ada")
    for name in ODD:
        yield Plan(name, HOOKS, 'Grüße "Ada" \\ <ada@example.com>')
        yield Plan(f"{name[:36]}-own", ())


PLANS = [*plans()]


def lay_out(plan: Plan, folder: Path) -> Path:
    """Write a plan's project, with the metadata that an installer would leave beside its source."""
    root = folder / f"libws-{plan.name}"
    for path, text in render(plan).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    info = root / "src" / f"{module_of(plan.name)}-{project['version']}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {need}" for need in project["dependencies"]]
    (info / "METADATA").write_text("\n".join([*lines, "", render(plan)["README.md"]]), "utf-8")
    points = [f"{name} = {value}" for name, value in project["entry-points"][GROUP].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points, ""]))
    return root


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects")
    for plan in PLANS:
        lay_out(plan, folder)
    return folder


def run(command: Sequence[str], cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LIBWS", "PYTHON", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# What it writes


def test_every_project_is_as_ruff_wants_it(projects: Path) -> None:
    for command in (["ruff", "check", "--no-cache", "."], ["ruff", "format", "--no-cache", "--check", "."]):
        done = run(command, projects)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_project_is_as_mypy_strict_wants_it(projects: Path, tmp_path: Path) -> None:
    sources = [projects / f"libws-{plan.name}" for plan in PLANS]
    settings = tomllib.loads((sources[0] / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert settings == {"strict": True, "python_version": "3.11", "files": ["src", "tests"]}
    command = ["mypy", "--strict", "--python-version", "3.11", "--cache-dir", str(tmp_path)]
    folders = [str(source / part) for source in sources for part in settings["files"]]
    done = run([*command, *folders], tmp_path, MYPYPATH=os.pathsep.join(str(source / "src") for source in sources))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_its_tests_pass_at_once(kind: str, projects: Path) -> None:
    root = projects / f"libws-kind-{kind}"
    done = run(["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"], root, PYTHONPATH=str(root / "src"))
    check_report(done, 20)


def test_whatever_hooks_it_has_its_tests_pass(projects: Path) -> None:
    """In one run of pytest, with the settings of one of them: hooks that make no kind, all, odd names."""
    chosen = [plan for plan in PLANS if plan.name in ODD or (len(plan.hooks) == 1 and plan.hooks not in KINDS.values())]
    roots = [projects / f"libws-{plan.name}" for plan in chosen]
    path = os.pathsep.join(str(root / "src") for root in roots)
    command = ["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-c", str(roots[0] / "pyproject.toml")]
    done = run([*command, *(str(root / "tests") for root in roots)], projects, PYTHONPATH=path)
    check_report(done, 20 * len(roots))


def check_report(done: subprocess.CompletedProcess[str], least: int) -> None:
    """Check that at least so many tests have passed and that nothing was left out but for a good reason."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > least, done.stdout
    reasons = re.findall(r"^SKIPPED .*?: (.*)$", done.stdout, re.M)
    assert all(re.match(r"connections of|a dial of|no option is a function", reason) for reason in reasons), reasons


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_the_project_follows_the_naming_rule_and_declares_what_it_imports(plan: Plan) -> None:
    files = render(plan)
    assert len(files) == 5
    data = tomllib.loads(files["pyproject.toml"])
    project, module = data["project"], module_of(plan.name)
    assert project["name"] == f"libws-{plan.name}"
    assert project["entry-points"] == {GROUP: {plan.name: f"{module}:{class_of(plan.name)}"}}
    assert data["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{module}"]
    source = files[f"src/{module}/__init__.py"]
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("from ", "import "))}
    needs = {re.split(r"[<>=]", need)[0].replace("-", "_") for need in project["dependencies"]}
    assert imported - {*sys.stdlib_module_names} <= needs
    assert needs - imported <= {"libws_ping"}  # which `uses` names
    assert ("libws_ping" in needs) == ('"ping"' in source)
    assert project["dependencies"] == sorted(project["dependencies"])
    assert "libws-core[standard,testing]" in project["optional-dependencies"]["test"][0]
    if plan.author:
        name, _, mail = plan.author.partition(" <")
        assert project["authors"] == [{"name": name, **({"email": mail[:-1]} if mail else {})}]
    assert not [
        text for text in files.values() if re.search(r"\$[a-zA-Z]|#: |/tmp|/home", re.sub(r'"\$\w+"', "", text))
    ]


def test_it_answers_the_hooks_that_were_asked_for() -> None:
    for plan in PLANS:
        source = render(plan)[f"src/{module_of(plan.name)}/__init__.py"]
        answered = set(re.findall(r"@hookimpl[^\n]*\n    (?:async )?def (\w+)", source))
        wanted = {*(plan.hooks or ("establish", "adapt_error"))}
        assert answered == wanted | ({"establish"} if "hold" in wanted else set()), plan


def test_the_checklist_names_what_a_reader_wants_to_know() -> None:
    readme = render(Plan("acme"))["README.md"]
    items = re.findall(r"^- \[ \] ([\w ]+):?", readme, re.M)
    assert items[:7] == ["Auth", "Heartbeat", "Limits", "Lifetime", "Close codes", "Resume", "Tested against"]


def test_every_hook_can_be_asked_for() -> None:
    from libws_core import hookspecs

    assert [name for name, spec in vars(hookspecs).items() if hasattr(spec, "libws_spec")] == [*HOOKS]


# The command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; the input is no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_without_a_terminal_it_makes_a_provider_and_says_what_is_next(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "acme"]) == 0
    assert written(here / "libws-acme") == sorted(FILES)
    assert capsys.readouterr().out == (
        "libws-acme\n"
        + "".join(f"  {path}\n" for path in FILES)
        + "\nnext:\n  cd libws-acme\n  python -m pip install -e '.[test]'\n  python -m pytest\n"
    )
    assert "async def establish" in (here / "libws-acme" / FILES[2]).read_text()
    assert "authors" not in (here / "libws-acme" / FILES[0]).read_text()
    assert [path.name for path in here.iterdir()] == ["libws-acme"]


def test_flags_say_what_it_shall_be(here: Path) -> None:
    (here / "empty").mkdir()
    flags = ["--hook", "reconnect", "--hook", "observe", "--author", "Ada <a@b.c>", "--folder", "empty", "--yes"]
    assert main(["new", "acme", *flags]) == 0
    assert written(here / "empty") == sorted(FILES)
    assert 'authors = [{ name = "Ada", email = "a@b.c" }]' in (here / "empty" / FILES[0]).read_text()
    assert main(["new", "other", "--kind", "dialer"]) == 0
    assert "async def dial" in (here / "libws-other/src/libws_other/__init__.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Acme"], "'Acme' is no name for a plugin: .*; try: acme"),
        (["acme_feed"], "try: acme-feed"),
        (["libws-acme"], "try: acme"),
        (["-acme"], ""),
        (["acme--feed"], "try: acme-feed"),
        (["2acme"], "a letter first, [^;]*$"),
        (["größe"], "'größe' is no name for a plugin"),
        (["../acme"], "try: acme"),
        (["x" * 41], "has 41 characters; take a name of at most 40"),
        (["ping"], "'ping' is an official plugin; take another name, such as my-ping"),
        (["core"], "'core' means something else in libws; take another name, such as my-core"),
        (["session"], "its class would be Session, .*; try: session-plugin"),
        (["none"], "its class would be None"),
        (["exception"], "its class would be Exception"),
        (["wire", "--kind", "dialer"], "its class would be Wire"),
        (["acme", "--kind", "pear"], "--kind: there is no 'pear'; take one of provider, dialer, .*"),
        (["acme", "--hook", "connect"], "--hook: there is no 'connect'; take one of resolve, .*"),
        (["acme", "--kind", "auth", "--hook", "dial"], "--kind and --hook exclude each other"),
        (["acme", "--author", "Ada <ada"], "--author: give a name, or 'Ada <ada@example.com>'"),
        (["acme", "--author", "A\x1b[2J"], "--author: it has characters that do not print"),
        (["acme", "--folder", "full"], "full exists and is not empty; name another one: --folder PATH"),
        (["acme", "--folder", "file"], "file exists and is no folder"),
        (["acme", "--folder", "no/such"], "there is no folder no; make it, or name another one: --folder PATH"),
    ],
)
def test_what_cannot_be_is_told_with_its_cure_and_nothing_is_written(
    arguments: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "full").mkdir()
    (here / "full" / "mine").write_text("x")
    (here / "file").write_text("x")
    before = written(here)
    try:
        code = main(["new", *arguments])
    except SystemExit as ended:  # cyclopts' own complaints
        code = int(str(ended.code))
    assert code != 0
    captured = capsys.readouterr()
    assert re.search(told, captured.err), captured
    assert written(here) == before
    assert sorted(path.name for path in here.iterdir()) == ["file", "full"]


def test_all_that_is_wrong_is_told_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "Acme", "--hook", "connect", "--author", "<", "--folder", "a/b"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_the_name_of_an_installed_plugin_is_taken(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(Plan("acme"), here)
    monkeypatch.syspath_prepend(str(here / "libws-acme" / "src"))
    assert main(["new", "acme", "--folder", "again"]) == 2
    assert "'acme' is a plugin of libws-acme 0.1.0, which is installed" in capsys.readouterr().err


def test_official_names_are_names_that_the_rule_admits() -> None:
    assert all(new.NAME.fullmatch(name) for name in OFFICIAL)


def test_a_failure_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = Path.write_text, itertools.count()

    def full(path: Path, *args: object, **kwargs: object) -> int:
        if next(count) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["new", "acme"]) == 1
    assert (
        capsys.readouterr().err
        == "libws: libws-acme cannot be written: No space left on device; nothing of it is left\n"
    )
    assert [*here.iterdir()] == []


# At a terminal


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals; nothing to install")
@pytest.mark.parametrize(
    ("arguments", "answers", "folder", "hook", "author"),
    [
        ([], ["", "", ""], "libws-acme", "establish", None),
        ([], ["pear", "reconnect", "Ada <a@b.c>", "there"], "there", "reconnect", "Ada"),
        ([], ["hooks", "nonsense", "observe, admit", "", ""], "libws-acme", "admit", None),
        (["--kind", "auth"], ["Ada", ""], "libws-acme", "authenticate", "Ada"),
        (["--hook", "hold", "--author", "Ada", "--folder", "f"], [], "f", "hold", "Ada"),
        (["--yes"], [], "libws-acme", "establish", None),
    ],
)
def test_at_a_terminal_it_asks_for_what_no_flag_has_said(
    arguments: list[str], answers: list[str], folder: str, hook: str, author: str | None, tmp_path: Path
) -> None:
    code, shown = at_a_terminal(["new", "acme", *arguments], [f"{answer}\n" for answer in answers], tmp_path)
    assert code == 0, shown
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert f" def {hook}(" in (tmp_path / folder / FILES[2]).read_text()
    project = tomllib.loads((tmp_path / folder / FILES[0]).read_text())["project"]
    assert project.get("authors", [{}])[0].get("name") == author


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals; nothing to install")
@pytest.mark.parametrize(("key", "code"), [("\x04", 1), ("\x03", 130)])
def test_whoever_leaves_at_a_question_has_written_nothing(key: str, code: int, tmp_path: Path) -> None:
    assert at_a_terminal(["new", "acme"], ["\n", key], tmp_path)[0] == code
    assert [*tmp_path.iterdir()] == []


def at_a_terminal(arguments: list[str], keys: list[str], folder: Path) -> tuple[int, str]:
    """Run the command at a pseudo-terminal and type when it asks; gives the exit code and what was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "libws_core.cli", *arguments])
    shown, waiting = "", [*keys]
    try:
        while True:
            assert select.select([terminal], [], [], PATIENCE)[0], f"nothing more is shown than {shown!r}"
            try:
                read = os.read(terminal, 4096)
            except OSError:  # the other end is closed: how Linux tells the end
                break
            if not read:
                break
            shown += read.decode()
            if waiting and re.search(r": $", shown):
                os.write(terminal, waiting.pop(0).encode())
    finally:
        os.close(terminal)  # hangs up whoever still waits at the other end
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown
