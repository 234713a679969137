"""What users meet with distributions that are really installed: built, and put into an environment by pip.

The environment is a venv without pip that has the built core, links to what the core depends on, and nothing else.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from libws_core import __version__
from libws_core.testing import Server, ServerPeer

pytestmark = [pytest.mark.install, pytest.mark.xdist_group("installed")]

ROOT = Path(__file__).parents[1]
HEAD = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any
from libws_core import Secret, hookimpl

"""
BACKOFF = """
@dataclass(eq=False, kw_only=True)
class Backoff:
    \"""Reconnect after a while.

    Growing each time.
    \"""

    base: float = 0.5
    \"""First delay, seconds.\"""
    cap: float = 30.0
    token: Secret | None = None
    \"""Not needed.\"""

    @hookimpl(trylast=True)
    def reconnect(self, failure: Any) -> float:
        return self.base

    @hookimpl
    def adapt_error(self, error: Any) -> None: ...
"""


class Tree(NamedTuple):
    """A distribution with one module."""

    distribution: str
    version: str
    entries: Mapping[str, Mapping[str, str]]
    """Group -> name -> what it leads to."""
    module: str
    source: str
    dependencies: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Lay it out as a project with a source tree."""
        root = folder / f"{self.distribution}-{self.version}"
        (root / "src" / self.module).mkdir(parents=True)
        (root / "src" / self.module / "__init__.py").write_text(self.source)
        lines = [
            "[build-system]",
            'requires = ["hatchling"]',
            'build-backend = "hatchling.build"',
            "[project]",
            f'name = "{self.distribution}"',
            f'version = "{self.version}"',
            f"dependencies = {json.dumps(self.dependencies)}",
        ]
        for group, names in self.entries.items():
            lines += [f'[project.entry-points."{group}"]', *(f'{name} = "{value}"' for name, value in names.items())]
        lines += ["[tool.hatch.build.targets.wheel]", f'packages = ["src/{self.module}"]']
        (root / "pyproject.toml").write_text("\n".join(lines))
        return root


def tree(name: str, source: str, version: str = "0.1.0", group: str = "libws.v1", attribute: str = "") -> Tree:
    """A plugin that follows the naming rule."""
    module = f"libws_{name}"
    entries = {group: {name: f"{module}:{attribute or name.capitalize()}"}}
    return Tree(f"libws-{name}", version, entries, module, HEAD + textwrap.dedent(source))


def hook(name: str, method: str = "def observe(self, event): ...", decorator: str = "@hookimpl") -> str:
    return f"class {name}:\n    {decorator}\n    {method}\n"


STANDARD = [
    tree("websockets", hook("Websockets", "async def dial(self, request): ...", "@hookimpl(trylast=True)")),
    tree("backoff", BACKOFF),
    tree("ping", hook("Ping", "async def keep_alive(self, session): ...")),
    tree("pong", hook("Pong", "def incoming(self, session): ...")),
]
STRANGE = [
    tree("old", "raise RuntimeError('nobody asked for this')", "0.0.9", "libws.v0"),
    tree("future", "raise RuntimeError('nobody asked for this')", "3.0", "libws.v2"),
    tree("broken", "import nosuchlib", "0.3"),
    tree("asserting", "assert 1 == 2, 'one is not two'", "0.4"),
    tree("exiting", "import sys; sys.exit('good bye')", "0.5"),
    tree("nameless", "", "0.6"),
    tree("function", "def Function(): ...", "0.7"),
    tree("unknown", hook("Unknown", "def telepathy(self): ..."), "0.2"),
    tree("asynchronous", hook("Asynchronous", "async def reconnect(self, failure): ..."), "0.8"),
    tree("silent", "class Silent: ...", "0.9"),
    Tree(
        "libws-both",
        "1.1",
        {"libws.v0": {"both": "libws_both:Old"}, "libws.v1": {"both": "libws_both:Both"}, "other": {"both": "x:y"}},
        "libws_both",
        HEAD + hook("Both"),
    ),
    tree("provider", hook("Provider") + "    uses = {'pong': {}, 'ping': {}, 'helper': {}}\n", "1.2"),
    tree("helper", "from .nowhere import x\n", "1.3"),
    Tree(
        "acme-tools",
        "2.0",
        {"libws.v1": {"tool": "acme_tools:Tool", "second": "acme_tools:Second"}},
        "acme_tools",
        HEAD + "from ._impl import Hammer as Tool\n" + hook("Second"),
    ),
]
RIVAL = Tree(
    "other-backoff", "1.0", {"libws.v1": {"backoff": "other_backoff:Backoff"}}, "other_backoff", HEAD + BACKOFF
)
LATE = tree("outbox", hook("Outbox", "def hold(self, sending): ..."))

ACME = Tree(
    "acme-feed",
    "1.4",
    {"libws.v1": {"acme": "acme_feed:Acme"}},
    "acme_feed",
    HEAD
    + """
from libws_core import Kind, Message

@dataclass(eq=False, kw_only=True)
class Acme:
    \"""Acme's market feed: logs in, says hello, and gives each trade once.\"""

    key: Secret
    \"""What Acme gave you.\"""

    def uses(self) -> Any:
        return {"auth": {"header": {"X-Acme-Key": self.key}}, "dedupe": {"key": "id"}}

    @hookimpl
    async def establish(self, session: Any) -> None:
        session.send(Message(Kind.TEXT, '{"op": "hello"}'))
        await session.recv({"op": "welcome"})
""",
    ("libws-core>=0.1,<1", "libws-auth>=0.1,<1", "libws-dedupe>=0.1,<1"),
)
OFFICIAL = ("websockets", "backoff", "ping", "pong", "auth", "dedupe")
"""Plugins of ours that stand beside Acme's."""

REPORT = """
import json, sys
from libws_core import ConfigurationError
from libws_core.plugins import assemble
plugins, options = json.loads(sys.argv[1])
try:
    plan = assemble(plugins, [("options", options)])
    found = {"parts": [[part.name, part.distribution, part.because] for part in plan.parts],
             "hooks": {name: [hook.plugin for hook in hooks] for name, hooks in plan.hooks.items()}}
except ConfigurationError as error:
    found = {"kind": type(error).__name__, "text": str(error), "cause": repr(error.__cause__)}
found["modules"] = sorted(name for name in sys.modules if name.startswith(("libws_", "acme", "other_")))
print(json.dumps(found))
"""


class Environment:
    """A venv to install distributions into."""

    def __init__(self, path: Path, wheels: Mapping[str, Path]) -> None:
        self.path, self.wheels = path, wheels
        self.python = path / ("Scripts" if os.name == "nt" else "bin") / "python"

    @property
    def site(self) -> Path:
        """The directory into which pip installs."""
        return next(self.path.glob("lib*/python*/site-packages"), self.path / "Lib" / "site-packages")

    def pip(self, *arguments: str) -> None:
        """Run this Python's pip on the environment, without a network."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "-q"]
        subprocess.run([*command, *arguments], check=True, timeout=120)

    def install(self, trees: Iterable[str]) -> None:
        """Install built distributions by name."""
        self.pip("install", "--no-deps", "--no-index", "--no-compile", *(str(self.wheels[each]) for each in trees))

    def copy(self, path: Path) -> Environment:
        """Another one with the same distributions, to change."""
        shutil.copytree(self.path, path, symlinks=True)
        return Environment(path, self.wheels)

    def output(self, command: list[str], cwd: Path | None = None, **environ: str) -> str:
        """What a program of this environment prints."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LIBWS", "PYTHON", "COV"))}
        done = subprocess.run(
            command,
            cwd=cwd or self.path.parent,
            env={**clean, **environ},
            check=True,
            timeout=60,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def run(self, code: str, *arguments: str, cwd: Path | None = None, **environ: str) -> str:
        """What some lines of Python print that run in this environment."""
        return self.output([str(self.python), "-c", code, *arguments], cwd, **environ)

    def libws(self, *arguments: str) -> str:
        """What the command `libws` of this environment prints."""
        return self.output([str(self.python.with_name("libws")), *arguments], COLUMNS="200")

    def assemble(self, plugins: Any, options: Any = None, **more: Any) -> dict[str, Any]:
        """What comes of a list of plugins in a fresh process."""
        found: dict[str, Any] = json.loads(self.run(REPORT, json.dumps([plugins, options or {}]), **more))
        return found

    def problems(self, plugins: Any, options: Any = None, **more: Any) -> list[str]:
        """The lines of the error, without the first."""
        lines = self.assemble(plugins, options, **more)["text"].split("\n  ")
        assert lines[0] == "cannot assemble the client:"
        return list(lines[1:])


def requirements(names: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    """The installed distributions that some need, and those that these need."""
    waiting, seen = list(names), set[str]()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or system
        yield distribution
        needed = [line for line in distribution.requires or () if "extra ==" not in line]
        waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed]


def link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Make what a distribution consists of visible in another environment."""
    for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
        source = Path(str(distribution.locate_file(top)))
        if not (site / top).exists():
            (site / top).symlink_to(source, target_is_directory=source.is_dir())


BUILD = """
import os, sys
from hatchling.build import build_wheel
for root in sys.argv[2:]:
    os.chdir(root)
    print(root, build_wheel(sys.argv[1]), sep="\\t")
"""


def make_environment(folder: Path, roots: Mapping[str, Path], linked: Iterable[str]) -> Environment:
    """An empty environment, the wheels of some projects to install into it, and links to what these need."""
    wheels = folder / "wheels"
    wheels.mkdir()
    command = [sys.executable, "-c", BUILD, str(wheels), *map(str, roots.values())]
    built = subprocess.run(command, check=True, timeout=120, stdout=subprocess.PIPE, text=True).stdout
    files = dict(line.split("\t") for line in built.splitlines())
    path = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True, timeout=60)
    made = Environment(path, {name: wheels / files[str(root)] for name, root in roots.items()})
    for distribution in requirements(linked):
        link(distribution, made.site)
    return made


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The standard plugins and many strange ones, installed. Not to be changed."""
    folder = tmp_path_factory.mktemp("installed")
    roots = {each.distribution: each.write(folder / "trees") for each in [*STANDARD, *STRANGE, RIVAL, LATE]}
    implementation = roots["acme-tools"] / "src" / "acme_tools" / "_impl.py"
    implementation.write_text(HEAD + hook("Hammer", "def reconnect(self, failure): ..."))
    roots["libws-core"] = ROOT
    made = make_environment(folder, roots, ["pluggy", "stevedore", "importlib-metadata", "msgspec"])
    made.install(["libws-core", *(each.distribution for each in [*STANDARD, *STRANGE])])
    return made


@pytest.fixture
def changed(environment: Environment, tmp_path: Path) -> Environment:
    """A copy of the environment that a test may change."""
    return environment.copy(tmp_path / "env")


PYTHON = "env/bin/python"


# The texts of the contract


def test_the_standard_plugins_assemble_and_nothing_else_is_imported(environment: Environment) -> None:
    found = environment.assemble(["backoff", "standard"])
    assert found["parts"] == [
        ["backoff", "libws-backoff 0.1.0", "named"],
        ["websockets", "libws-websockets 0.1.0", "standard"],
        ["ping", "libws-ping 0.1.0", "standard"],
        ["pong", "libws-pong 0.1.0", "standard"],
    ]
    assert found["hooks"]["dial"] == ["websockets"]
    plugins = [name for name in found["modules"] if "." not in name and name != "libws_core"]
    assert plugins == ["libws_backoff", "libws_ping", "libws_pong", "libws_websockets"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("backof", f"not installed in {PYTHON}; did you mean 'backoff'?"),
        ("Tool", f"not installed in {PYTHON}; did you mean 'tool'?"),
        ("outbox", f"not installed in {PYTHON}; try: pip install libws-outbox"),
        ("acme", f"not installed in {PYTHON}; install the package that provides the libws.v1 plugin 'acme'"),
        (
            "old",
            "libws-old 0.0.9 is written for libws.v0, this core speaks libws.v1; try: pip install -U libws-old",
        ),
        (
            "future",
            "libws-future 3.0 is written for libws.v2, this core speaks libws.v1; try: pip install -U libws-core",
        ),
        ("broken", "libws-broken 0.3 could not be imported: ModuleNotFoundError: No module named 'nosuchlib'"),
        ("asserting", "libws-asserting 0.4 could not be imported: AssertionError: one is not two"),
        ("exiting", "libws-exiting 0.5 could not be imported: SystemExit: good bye"),
        (
            "nameless",
            "libws-nameless 0.6 could not be imported: "
            "AttributeError: module 'libws_nameless' has no attribute 'Nameless'",
        ),
        ("function", "libws-function 0.7 offers libws_function:Function, which is not a class"),
        (
            "unknown",
            f"libws-unknown 0.2 implements 'telepathy', which libws-core {__version__} does not have; "
            "try: pip install -U libws-core",
        ),
        ("asynchronous", "'reconnect' is async, but must be a plain function; write def, not async def"),
        ("silent", "Silent answers no hook; mark its methods with @hookimpl"),
    ],
)
def test_a_plugin_that_cannot_be_had_is_told_with_its_cure(environment: Environment, name: str, text: str) -> None:
    found = environment.assemble([name])
    assert found["text"] == f"cannot assemble the client:\n  {name!r}: {text}"
    assert found["kind"] == "PluginError"


def test_an_option_that_does_not_fit_is_told_with_all_options(environment: Environment) -> None:
    found = environment.assemble([], {"backoff": {"cap": "fast"}})
    assert found["text"] == (
        "cannot assemble the client:\n"
        "  'backoff': option 'cap': expected float, got str 'fast'; options: base=0.5, cap=30.0, token=None"
    )
    assert found["kind"] == "OptionError"


def test_a_client_without_a_dialer_is_told(environment: Environment) -> None:
    assert environment.problems(["-websockets"]) == ["no plugin answers dial(); enable one, e.g. 'websockets'"]


def test_a_name_that_two_claim_is_a_problem_only_where_it_is_enabled(changed: Environment) -> None:
    changed.install(["other-backoff"])
    assert changed.problems([]) == [
        "'backoff': claimed by libws-backoff 0.1.0 and other-backoff 1.0; uninstall one, or pass the object itself"
    ]
    assert "parts" in changed.assemble(["-backoff"])
    code = """
from libws_core.plugins import assemble
from other_backoff import Backoff
plan = assemble([Backoff(cap=3)])
print([part.name for part in plan.parts], type(plan.plugin("backoff")).__module__, plan.plugin(Backoff).cap)
"""
    assert changed.run(code) == "['backoff', 'websockets', 'ping', 'pong'] other_backoff 3.0\n"


def test_everything_is_told_at_once_and_the_first_import_error_is_the_cause(environment: Environment) -> None:
    found = environment.assemble(
        ["backof", "outbox", "acme", "old", "exiting", "broken", "unknown", "-websockets"],
        {"backoff": {"cap": "fast"}},
    )
    assert found["kind"] == "PluginError"
    assert found["cause"] == "SystemExit('good bye')"
    assert found["text"].split("\n") == [
        "cannot assemble the client:",
        f"  'backof': not installed in {PYTHON}; did you mean 'backoff'?",
        f"  'outbox': not installed in {PYTHON}; try: pip install libws-outbox",
        f"  'acme': not installed in {PYTHON}; install the package that provides the libws.v1 plugin 'acme'",
        "  'old': libws-old 0.0.9 is written for libws.v0, this core speaks libws.v1; try: pip install -U libws-old",
        "  'exiting': libws-exiting 0.5 could not be imported: SystemExit: good bye",
        "  'broken': libws-broken 0.3 could not be imported: ModuleNotFoundError: No module named 'nosuchlib'",
        "  'backoff': option 'cap': expected float, got str 'fast'; options: base=0.5, cap=30.0, token=None",
        f"  'unknown': libws-unknown 0.2 implements 'telepathy', which libws-core {__version__} does not have; "
        "try: pip install -U libws-core",
        "  no plugin answers dial(); enable one, e.g. 'websockets'",
    ]


def test_an_import_error_is_the_cause(environment: Environment) -> None:
    assert environment.assemble(["broken"])["cause"].startswith("ModuleNotFoundError(")
    assert environment.assemble(["acme"])["cause"] == "None"


def test_a_standard_plugin_that_was_uninstalled_is_told_with_its_pip_line(changed: Environment) -> None:
    changed.pip("uninstall", "-y", "libws-backoff")
    assert changed.problems(["standard"]) == [f"'backoff': not installed in {PYTHON}; try: pip install libws-backoff"]
    changed.pip("uninstall", "-y", "libws-websockets")
    assert changed.problems(["standard"]) == [
        f"'websockets': not installed in {PYTHON}; try: pip install libws-websockets",
        f"'backoff': not installed in {PYTHON}; try: pip install libws-backoff",
    ]


def test_the_interpreter_is_shown_whole_where_it_is_not_below_the_working_directory(
    environment: Environment, tmp_path: Path
) -> None:
    assert environment.problems(["outbox"], cwd=tmp_path) == [
        f"'outbox': not installed in {environment.python}; try: pip install libws-outbox"
    ]


# Named and unnamed


def test_what_a_plugin_uses_is_loaded_and_a_broken_one_among_it_is_told(environment: Environment) -> None:
    assert environment.problems(["provider"]) == [
        "'helper': libws-helper 1.3 could not be imported: ModuleNotFoundError: No module named 'libws_helper.nowhere'"
    ]
    found = environment.assemble(["provider", "-helper"])
    assert [name for name, *_ in found["parts"]] == ["provider", "websockets", "backoff", "ping", "pong"]
    assert "libws_helper" not in found["modules"]


def test_plugins_for_another_hook_api_are_never_imported(environment: Environment) -> None:
    modules = environment.assemble(["old", "future"])["modules"]
    assert not {"libws_old", "libws_future"} & {*modules}


def test_the_environment_enables_an_installed_plugin(environment: Environment) -> None:
    parts = environment.assemble([], LIBWS_PLUGINS="tool,-pong")["parts"]
    assert parts[0] == ["tool", "acme-tools 2.0", "LIBWS_PLUGINS"]
    assert [name for name, *_ in parts] == ["tool", "websockets", "backoff", "ping"]


def test_an_object_has_the_name_under_which_its_class_is_installed(environment: Environment) -> None:
    code = """
import sys
from libws_core import PluginError, hookimpl
from libws_core.plugins import assemble
from acme_tools._impl import Hammer
from libws_backoff import Backoff as Imported

class Second(Hammer): ...

class Backoff(Imported): ...

mine = Imported(cap=4)
plan = assemble(["ping", mine, Hammer(), Second()])
print([part.name for part in plan.parts], plan.plugin("backoff").cap, plan.plugin("backoff") is mine)
print("libws_broken" in sys.modules)
for plugins in ([Backoff()], ["-standard", "websockets", "backoff", Backoff()], ["-standard", "websockets", Backoff()]):
    try:
        print([part.name for part in assemble(plugins).parts])
    except PluginError as error:
        print(error)
"""
    clash = (
        "cannot assemble the client:\n  'backoff': the list has an object of __main__.Backoff, "
        "but libws-backoff 0.1.0 provides this name; give the class another name"
    )
    assert environment.run(code).splitlines() == [
        "['ping', 'backoff', 'tool', 'second', 'websockets', 'pong'] 4.0 False",
        "False",
        *clash.splitlines(),
        *clash.splitlines(),
        "['websockets', 'backoff']",
    ]


# Reading what is installed


def test_what_is_installed_later_is_found_by_the_same_process(changed: Environment, tmp_path: Path) -> None:
    code = """
import sys
from libws_core import PluginError
from libws_core.plugins import assemble
for line in sys.stdin:
    try:
        print("outbox" in [part.name for part in assemble(["outbox"]).parts], flush=True)
    except PluginError as error:
        print(error.problems[0].cure, flush=True)
"""
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}
    (tmp_path / "home").mkdir()
    with subprocess.Popen(
        [str(changed.python), "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environ,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n")
        assert process.stdout.readline() == "try: pip install libws-outbox\n"
        changed.install(["libws-outbox"])
        process.stdin.write("\n")
        assert process.stdout.readline() == "True\n"
        changed.pip("uninstall", "-y", "libws-outbox")
        process.stdin.write("\n")
        assert process.stdout.readline() == "try: pip install libws-outbox\n"
        process.stdin.close()
        assert process.wait(30) == 0
    assert list((tmp_path / "home").iterdir()) == []  # no cache was written


def test_one_distribution_that_stands_on_the_path_twice_is_one(changed: Environment, tmp_path: Path) -> None:
    # as an editable install beside an older one leaves it
    again = tmp_path / "again"
    again.mkdir()
    info = changed.site / "libws_backoff-0.1.0.dist-info"
    shutil.copytree(info, again / info.name)
    shutil.copytree(info, again / "LibWS.Backoff-0.0.1.dist-info")
    metadata = again / "LibWS.Backoff-0.0.1.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: LibWS.Backoff\nVersion: 0.0.1\n")
    (changed.site / "again.pth").write_text(str(again))
    parts = changed.assemble([])["parts"]
    assert ["backoff", "libws-backoff 0.1.0", "standard"] in parts


@pytest.mark.parametrize("text", ["libws.v1 without a section\n", "[libws.v1]\nno equals sign\n", "[libws.v1]\n= x\n"])
def test_a_distribution_that_cannot_be_read_disturbs_nobody(changed: Environment, text: str) -> None:
    info = changed.site / "garbled-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(text)
    (changed.site / "libws_nowhere-1.0.dist-info").mkdir()
    assert "parts" in changed.assemble([])
    assert "backoff ok" in changed.run(TABLE)


TABLE = """
from libws_core.plugins import installed
for each in installed():
    print(each.name, each.state, each.distribution, each.version, ",".join(each.hooks), each.reason or "-", sep=" ")
"""


def test_the_table_has_every_plugin_and_tells_what_is_wrong_with_it(changed: Environment) -> None:
    changed.install(["other-backoff"])
    claims = "claimed by libws-backoff 0.1.0 and other-backoff 1.0"
    failed = "could not be imported:"
    assert changed.run(TABLE).splitlines() == [
        f"asserting broken libws-asserting 0.4  libws-asserting 0.4 {failed} AssertionError: one is not two",
        "asynchronous broken libws-asynchronous 0.8 reconnect 'reconnect' is async, but must be a plain function",
        f"backoff conflict libws-backoff 0.1.0  {claims}",
        f"backoff conflict other-backoff 1.0  {claims}",
        "both ok libws-both 1.1 observe -",
        f"broken broken libws-broken 0.3  libws-broken 0.3 {failed} ModuleNotFoundError: No module named 'nosuchlib'",
        f"exiting broken libws-exiting 0.5  libws-exiting 0.5 {failed} SystemExit: good bye",
        "function broken libws-function 0.7  libws-function 0.7 offers libws_function:Function, which is not a class",
        "future new libws-future 3.0  libws-future 3.0 is written for libws.v2, this core speaks libws.v1",
        f"helper broken libws-helper 1.3  libws-helper 1.3 {failed} "
        "ModuleNotFoundError: No module named 'libws_helper.nowhere'",
        f"nameless broken libws-nameless 0.6  libws-nameless 0.6 {failed} "
        "AttributeError: module 'libws_nameless' has no attribute 'Nameless'",
        "old old libws-old 0.0.9  libws-old 0.0.9 is written for libws.v0, this core speaks libws.v1",
        "ping ok libws-ping 0.1.0 keep_alive -",
        "pong ok libws-pong 0.1.0 incoming -",
        "provider ok libws-provider 1.2 observe -",
        "second ok acme-tools 2.0 observe -",
        "silent broken libws-silent 0.9  Silent answers no hook",
        "tool ok acme-tools 2.0 reconnect -",
        "unknown broken libws-unknown 0.2 telepathy "
        f"libws-unknown 0.2 implements 'telepathy', which libws-core {__version__} does not have",
        "websockets ok libws-websockets 0.1.0 dial -",
    ]


def test_a_plugin_describes_itself(environment: Environment) -> None:
    code = """
import json
from libws_core.plugins import describe
print(json.dumps(describe("backoff")))
"""
    assert json.loads(environment.run(code)) == [
        "backoff",
        "libws-backoff",
        "0.1.0",
        "Reconnect after a while.\n\nGrowing each time.",
        ["adapt_error", "reconnect"],
        [
            ["base", "float", "0.5", "First delay, seconds."],
            ["cap", "float", "30.0", ""],
            ["token", "Secret or None", "None", "Not needed."],
        ],
    ]


def test_what_cannot_be_loaded_cannot_be_described(environment: Environment) -> None:
    code = """
from libws_core import PluginError
from libws_core.plugins import describe
for name in ("backof", "broken"):
    try:
        describe(name)
    except PluginError as error:
        print(error)
"""
    assert environment.run(code).splitlines() == [
        "cannot describe the plugin:",
        f"  'backof': not installed in {PYTHON}; did you mean 'backoff'?",
        "cannot describe the plugin:",
        "  'broken': libws-broken 0.3 could not be imported: ModuleNotFoundError: No module named 'nosuchlib'",
    ]


# A third party's provider, on plugins that are ours


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Acme's provider, installed by its name with what it depends on, next to a plugin that is old and a broken one."""
    folder = tmp_path_factory.mktemp("market")
    roots = {f"libws-{name}": ROOT / "libws_plugins" / name for name in OFFICIAL} | {"libws-core": ROOT}
    others = [ACME, *(each for each in STRANGE if each.distribution in ("libws-old", "libws-broken"))]
    roots |= {each.distribution: each.write(folder / "trees") for each in others}
    ours = {name for name in roots if name.startswith("libws-") and name not in ("libws-old", "libws-broken")}
    needs = [text for name in ours for text in importlib.metadata.requires(name) or [] if "libws-" not in text]
    third = {re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needs if "extra" not in text or "standard" in text}
    made = make_environment(folder, roots, third)
    assert list(made.site.glob("*libws*")) == []
    names = ["libws-core[standard]", *(each.distribution for each in others)]
    made.pip("install", "--no-index", "--find-links", str(folder / "wheels"), *names)
    return made


def test_the_plugins_of_all_are_told_with_the_old_and_the_broken_one(market: Environment) -> None:
    old = "libws-old 0.0.9 is written for libws.v0, this core speaks libws.v1"
    broken = "libws-broken 0.3 could not be imported: ModuleNotFoundError: No module named 'nosuchlib'"
    table = [
        ("acme", "acme-feed", "1.4", ["establish"], "ok", None),
        ("auth", "libws-auth", __version__, ["authenticate", "establish"], "ok", None),
        ("backoff", "libws-backoff", __version__, ["adapt_error", "reconnect"], "ok", None),
        ("broken", "libws-broken", "0.3", [], "broken", broken),
        ("dedupe", "libws-dedupe", __version__, ["deliver", "keep_alive", "observe"], "ok", None),
        ("old", "libws-old", "0.0.9", [], "old", old),
        ("ping", "libws-ping", __version__, ["incoming", "keep_alive"], "ok", None),
        ("pong", "libws-pong", __version__, ["incoming"], "ok", None),
        ("websockets", "libws-websockets", __version__, ["dial"], "ok", None),
    ]
    keys = ("name", "distribution", "version", "hooks", "state", "reason")
    assert json.loads(market.libws("plugins", "--json")) == [dict(zip(keys, row, strict=True)) for row in table]
    heads, *lines = market.libws("plugins").splitlines()
    assert heads.split() == ["name", "distribution", "version", "hooks", "state"]
    assert [re.split(r"  +", line.strip()) for line in lines] == [
        [name, distribution, version, *([", ".join(hooks)] if hooks else []), f"{state}: {why}" if why else state]
        for name, distribution, version, hooks, state, why in table
    ]


def test_a_provider_describes_itself_where_it_is_installed(market: Environment) -> None:
    assert market.libws("plugins", "acme").startswith("acme  acme-feed 1.4\n\nAcme's market feed: logs in")


CONSUMER = """
import asyncio, sys
from libws_core import Client

async def main():
    async with Client(sys.argv[1], plugins=["acme"], options={"acme": {"key": "s3cret"}}, proxy=None) as client:
        async for message in client:
            print(message.data)
            if message.json["id"] == 3:
                break
    print(sorted(name for name in sys.modules if name in ("libws_old", "libws_broken")))

asyncio.run(main())
"""


async def test_a_client_with_the_healthy_ones_works_next_to_them(market: Environment) -> None:
    """It logs in as Acme wants, comes back after a loss, and gives once what both connections brought."""
    keys: list[str | None] = []

    async def acme(peer: ServerPeer, *trades: int) -> None:
        keys.append(peer.headers.get("X-Acme-Key"))
        await peer.expect({"op": "hello"})
        peer.send({"op": "welcome"})
        for trade in trades:
            peer.send({"id": trade})

    async def first(peer: ServerPeer) -> None:
        await acme(peer, 1, 2)
        peer.close(1012)

    async def second(peer: ServerPeer) -> None:
        await acme(peer, 2, 3)
        async for _ in peer:
            pass

    async with asyncio.timeout(60), Server(first, second) as server:
        printed = await asyncio.to_thread(market.run, CONSUMER, server.url)
    assert printed.splitlines() == ['{"id":1}', '{"id":2}', '{"id":3}', "[]"]
    assert keys == ["s3cret", "s3cret"]


def test_what_is_old_or_broken_is_told_where_it_is_named(market: Environment) -> None:
    assert market.problems(["acme", "old", "broken"], {"acme": {"key": "s3cret"}}) == [
        "'old': libws-old 0.0.9 is written for libws.v0, this core speaks libws.v1; try: pip install -U libws-old",
        "'broken': libws-broken 0.3 could not be imported: ModuleNotFoundError: No module named 'nosuchlib'",
    ]


# The same in this process


@pytest.fixture
def here(environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The strange distributions of the environment, on the path of the process that runs the tests."""
    for tree_ in STRANGE:
        info = f"{tree_.distribution.replace('-', '_')}-{tree_.version}.dist-info"
        (tmp_path / info).symlink_to(environment.site / info)
        (tmp_path / tree_.module).symlink_to(environment.site / tree_.module)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for tree_ in STRANGE:
        for name in [name for name in sys.modules if name.partition(".")[0] == tree_.module]:
            del sys.modules[name]


@pytest.mark.usefixtures("here")
def test_the_error_carries_its_problems_and_its_cause() -> None:
    from libws_core import PluginError, Problem
    from libws_core.plugins import assemble

    with pytest.raises(PluginError) as caught:
        assemble(["-standard", "old", "future", "asserting", "broken", "function", "acme"], environ={})
    assert [problem.plugin for problem in caught.value.problems] == [
        *["old", "future", "asserting", "broken", "function", "acme", None]
    ]
    assert caught.value.problems[0] == Problem(
        "old",
        "libws-old 0.0.9 is written for libws.v0, this core speaks libws.v1",
        "try: pip install -U libws-old",
    )
    assert isinstance(caught.value.__cause__, AssertionError)


@pytest.mark.usefixtures("here")
def test_the_table_and_the_description_are_made_of_tuples() -> None:
    from libws_core.plugins import describe, installed

    table = {each.name: each for each in installed()}
    assert table["tool"].cls is not None
    assert table["tool"].hooks == ("reconnect",)
    assert (table["old"].state, table["broken"].state, table["unknown"].state) == ("old", "broken", "broken")
    assert describe("second").hooks == ("observe",)
    assert describe("second").options == ()


@pytest.mark.usefixtures("here")
def test_an_object_of_a_class_that_is_exported_elsewhere_is_recognised() -> None:
    from acme_tools._impl import Hammer  # type: ignore[import-not-found]

    from libws_core.plugins import assemble

    class Wire(Hammer):  # type: ignore[misc]
        from libws_core import hookimpl

        @hookimpl
        async def dial(self, request: Any) -> None: ...

    parts = assemble(["-standard", Hammer(), "second", Wire()], environ={}).parts
    assert [part.name for part in parts] == ["tool", "second", "wire"]


def forge(folder: Path, name: str, version: str, entry_points: str) -> None:
    """Lay out the metadata of a distribution without a module."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.mark.usefixtures("here")
def test_metadata_of_many_kinds_in_this_process(tmp_path: Path) -> None:
    from libws_core import PluginError
    from libws_core.plugins import assemble, describe, installed

    forge(tmp_path, "rival-tools", "0.2", "[libws.v1]\ntool = rival:Tool\n[libws.vx]\ntool = rival:Tool\n")
    forge(tmp_path, "ages", "9", "[libws.v0]\nages = a:A\n[libws.v2]\nages = a:A\n")
    forge(tmp_path, "odd", "0.3", "[libws.v1]\nodd = !!\n")
    nameless = tmp_path / "nameless-1.dist-info"
    nameless.mkdir()
    (nameless / "entry_points.txt").write_text("[libws.v1]\nx = y:Z\n")
    with pytest.raises(PluginError) as caught:
        assemble(["-standard", "tool", "exiting", "odd", "ages"], environ={})
    assert [str(problem) for problem in caught.value.problems][:2] == [
        "'tool': claimed by acme-tools 2.0 and rival-tools 0.2; uninstall one, or pass the object itself",
        "'exiting': libws-exiting 0.5 could not be imported: SystemExit: good bye",
    ]
    assert caught.value.problems[2].text.startswith("odd 0.3 could not be imported: ValueError: ")
    assert str(caught.value.problems[3]) == (
        "'ages': ages 9 is written for libws.v2, this core speaks libws.v1; try: pip install -U libws-core"
    )
    table = [(each.name, each.distribution, each.state) for each in installed()]
    assert ("tool", "acme-tools", "conflict") in table
    assert ("?", "nameless-1.dist-info", "broken") in table
    with pytest.raises(PluginError, match="cannot describe the plugin"):
        describe("tool")


def test_the_interpreter_is_named_as_short_as_possible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from libws_core.plugins import _python

    monkeypatch.chdir(tmp_path)
    for executable, shown in [
        (str(tmp_path / "env" / "bin" / "python"), str(Path("env", "bin", "python"))),
        ("/opt/bin/python", "/opt/bin/python"),
        ("", "this Python"),
    ]:
        monkeypatch.setattr(sys, "executable", executable)
        assert _python() == shown
