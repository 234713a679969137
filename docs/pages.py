"""What the site has beside the files of docs/: a page a plugin, the reference of the public names, the changes.

mkdocs calls the functions whose names begin with `on_` (`hooks` in mkdocs.yml). Each page keeps to one text: a plugin's
README and docstrings, the changelog; here they only get their place, and links between files of the repository become
links between pages.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify  # type: ignore[import-untyped]

import libws_core
import libws_core.testing
from libws_core.order import STANDARD
from libws_core.plugins import describe, installed

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent.name for path in (ROOT / "libws_plugins").glob("*/pyproject.toml"))
SHELF = {
    "client": ("The client", ("libws_core.client", "libws_core.machine")),
    "errors": ("Errors", ("libws_core.errors", "libws_core.verdicts")),
    "events": ("Events", ("libws_core.events",)),
    "types": ("Types", ()),
}
"""Pages of the reference: their titles, and the modules whose names stand there. The last one takes all others."""
ORIGINS = {
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "official/index.md": "README.md",
    **{f"official/{name}.md": f"libws_plugins/{name}/README.md" for name in PLUGINS},
}
"""Pages that are made of files outside docs/: where each has its text, and its links, from."""
WITHOUT_ARGUMENTS = "    options:\n      merge_init_into_class: false\n"
"""For a class whose arguments are its fields, which are listed below it anyway."""
BARE = {"index.md": ["navigation", "toc"], "migrating.md": ["navigation"], "performance.md": ["navigation"]}
"""What pages do without, at the sides: these need the room, or have nothing to list."""
WIDE = 4
"""Columns above which a table stays one on a phone, and is scrolled."""
FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)
COMMENT = re.compile(r"^<!--.*?-->\n", re.M | re.S)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)\s#]+)")


def plugin_page(name: str) -> str:
    """A distribution's README, what its plugin answers, and the classes of all of its plugins."""
    title, text = (ROOT / ORIGINS[f"official/{name}.md"]).read_text("utf-8").split("\n", 1)
    package = f"libws_{name.replace('-', '_')}"
    classes = {each.name: each.cls for each in installed() if each.cls and each.cls.__module__.split(".")[0] == package}
    assert name in classes, f"{name}: {title}"
    hooks = ", ".join(f"[`{hook}`](../../docs/hooks.md#{hook})" for hook in describe(name).hooks)
    enabled = "Belongs to `standard`: enabled unless removed." if name in STANDARD else "Enabled where it is named."
    facts = f"Answers the hooks {hooks}. {enabled} How: [Enabling plugins](../../docs/plugins.md)."
    shown = [f"::: {cls.__module__}.{cls.__qualname__}\n{WITHOUT_ARGUMENTS}" for cls in classes.values()]
    return "\n".join([f"# {name}\n\n{facts}\n{text}", *shown])


def shelf_of(name: str) -> str:
    """The page of the reference where a name of libws_core stands."""
    module = getattr(getattr(libws_core, name), "__module__", "")
    return next((page for page, (_, modules) in SHELF.items() if module in modules), [*SHELF][-1])


def reference_page(title: str, package: str, names: list[str]) -> str:
    blocks = [f"::: {package}.{name}\n" for name in names]
    return "\n".join([f"# {title}\n", f"Imported from `{package}`.\n", *blocks])


def made_pages() -> Iterator[tuple[str, str]]:
    """Every page that is no file of docs/, with its text."""
    yield "changes.md", (ROOT / "CHANGELOG.md").read_text("utf-8")
    yield "contributing.md", (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    found = re.search(r"^## (Official plugins\n.*?)(?=^## )", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    assert found, "README.md has no section 'Official plugins'"
    yield "official/index.md", f"# {found[1]}"
    for name in PLUGINS:
        yield f"official/{name}.md", plugin_page(name)
    public = [name for name in libws_core.__all__ if name != "__version__"]
    for page, (title, _) in SHELF.items():
        names = [name for name in public if shelf_of(name) == page]
        yield f"reference/{page}.md", reference_page(title, "libws_core", names)
    yield "reference/testing.md", reference_page("Testing", "libws_core.testing", [*libws_core.testing.__all__])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the lists of the nav, and name anchors as GitHub does, so that a link leads to the same place in both."""
    pages: dict[str, list[dict[str, str] | str]] = {
        "Plugins": ["official/index.md", *({name: f"official/{name}.md"} for name in PLUGINS)],
        "Reference": [f"reference/{page}.md" for page in (*SHELF, "testing")],
    }
    for entry in config.nav or []:
        for title in entry.keys() & pages.keys():
            entry[title] = pages[title]
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, text in made_pages():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take out what is said to the tests, and lead links to pages."""
    here = page.file.src_uri
    page.meta["hide"] = BARE.get(here, [])
    said = ""
    parts = []
    for part in FENCE.split(markdown):
        if part.startswith("```"):
            parts.append(titled(part, said))
        else:
            last = re.search(r"^<!-- (.*) -->\n\Z", part, re.M)
            said = last[1] if last else ""
            prose = COMMENT.sub("", part)
            parts.append(LINK.sub(lambda found: page_of(found[1], here), prose))
    return "".join(parts)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark the tables of words, and name each cell after its column, for screens that have no room beside it."""
    return re.sub(r"<table>.*?</table>", lambda found: labelled(found[0]), html, flags=re.S)


def labelled(table: str) -> str:
    names = [re.sub(r"<[^>]*>", "", name) for name in re.findall(r"<th>(.*?)</th>", table)]
    if not 1 < len(names) <= WIDE or "<th style" in table:  # figures are aligned, and compared from row to row
        return table
    columns = itertools.cycle(names)
    table = re.sub("<td>", lambda _: f'<td data-label="{next(columns)}">', table)
    return table.replace("<table>", "<table data-cards>")


def titled(block: str, said: str) -> str:
    """A block of code with a line above it that names the file it is, or says that it is what was printed."""
    verb, _, name = said.partition(":")
    title = "Output" if verb == "output" else name.strip() if verb in ("file", "profile") else ""
    return block.replace("\n", f' title="{title}"\n', 1) if title else block


def page_of(link: str, here: str) -> str:
    """A link of a file of the repository, as the page `here` has it."""
    origin = ORIGINS.get(here, f"docs/{here}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    pages = {origin: page for page, origin in ORIGINS.items() if origin != "README.md"} | {"README.md": "index.md"}
    return posixpath.relpath(pages.get(path, path.removeprefix("docs/")), posixpath.dirname(here) or ".")
