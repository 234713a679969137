"""The documentation site as `make docs` builds it: strictly, whole, and with nothing that comes from elsewhere."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import libws_core
import libws_core.testing
from libws_core import hookspecs
from libws_core.plugins import installed

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent.name for path in (ROOT / "libws_plugins").glob("*/pyproject.toml"))
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there."""

pytestmark = [
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is missing; try: make docs"),
    pytest.mark.xdist_group("site"),
]


class Built(HTMLParser):
    """What a page of the site has: anchors, links, what the browser loads for it, and what it hides."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.classes: set[str] = set()
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.classes |= {*given.get("class", "").split()}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "href" in given and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(given["href"])
        self.loaded += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a network."""
    folder = tmp_path_factory.mktemp("site")
    proxies = dict.fromkeys(["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"], NOWHERE)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, **proxies, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Built]:
    return {path: Built(path.read_text("utf-8")) for path in site.rglob("*.html")}


def is_elsewhere(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def test_no_page_loads_anything_from_elsewhere(site: Path, pages: dict[Path, Built]) -> None:
    for path, page in pages.items():
        assert page.loaded, path
        assert [link for link in page.loaded if is_elsewhere(link)] == [], path
        # What the theme's script would fetch for these: mermaid from a CDN, a repository's stars from its host.
        assert page.classes & {"mermaid", "md-source"} == set(), path
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        loaded = re.findall(r"url\(\s*[\"']?([^)\"']+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)
        assert [link for link in loaded if is_elsewhere(link)] == [], sheet


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Built]) -> None:
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if is_elsewhere(link) or parts.scheme:
                continue
            below = unquote(parts.path)
            target = path if not below else site / below[1:] if below.startswith("/") else path.parent / below
            target = target.resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.relative_to(site)}: {link}"


def test_what_is_said_to_the_tests_stays_out_of_the_site(site: Path, pages: dict[Path, Built]) -> None:
    for path, page in pages.items():
        assert [comment for comment in page.comments if re.match(r" (run|file|output|profile|no-run)", comment)] == []
        assert "&lt;!-- " not in path.read_text("utf-8"), path.relative_to(site)


def test_every_hook_plugin_and_public_name_has_its_place(site: Path, pages: dict[Path, Built]) -> None:
    at = {path.parent.relative_to(site).as_posix(): page.anchors for path, page in pages.items()}
    assert {name for name, spec in vars(hookspecs).items() if hasattr(spec, "libws_spec")} <= at["hooks"]
    classes = {each.name: each.cls for each in installed() if each.name in PLUGINS}
    assert sorted(classes) == PLUGINS
    for name, cls in classes.items():
        assert cls is not None, name
        assert f"{cls.__module__}.{cls.__qualname__}" in at[f"official/{name}"]
    for each in installed():
        home = each.cls.__module__.partition(".")[0].removeprefix("libws_").replace("_", "-") if each.cls else None
        if home in PLUGINS and each.cls is not None:  # several plugins may come with one distribution
            assert f"{each.cls.__module__}.{each.cls.__qualname__}" in at[f"official/{home}"]
    reference = set[str]().union(*(anchors for page, anchors in at.items() if page.startswith("reference/")))
    names = {f"libws_core.{name}" for name in libws_core.__all__ if name != "__version__"}
    assert names | {f"libws_core.testing.{name}" for name in libws_core.testing.__all__} <= reference


def test_every_distribution_that_builds_the_site_has_its_version_constrained() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    needed = re.findall(r"^[\w-]+$", (ROOT / "docs" / "requirements.txt").read_text("utf-8"), re.M)
    for name in needed:
        assert pinned[name] == importlib.metadata.version(name), name
        for need in map(Requirement, importlib.metadata.requires(name) or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in pinned, f"{name} needs {need.name}"
