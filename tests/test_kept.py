"""What is kept of the file system, and what is found in a process that runs while packages come and go."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from libws_core import PluginError, hookimpl, kept
from libws_core.kept import Kept, Watch
from libws_core.plugins import Shelf, assemble, installed

HOUR = 3600 * 10**9


@pytest.fixture(autouse=True)
def an_old_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tests ran an hour after they have written their files, so that these are settled."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + HOUR)


class Reader:
    """Reads the names in a folder and the text of its file `note`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.kept = Kept(self.read)

    def read(self, place: str, watch: Watch) -> str:
        self.calls.append(place)
        note = Path(place, "note")
        watch(str(note))
        return note.read_text() if note.exists() else "-"

    def __call__(self, *places: Path, readers: object = None) -> list[str]:
        return self.kept.of(map(str, places), readers)


def test_a_place_is_read_once_while_nothing_changes(tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "note").write_text("a")
    assert [reader(tmp_path) for _ in range(3)] == [["a"]] * 3
    assert len(reader.calls) == 1


def test_a_file_that_is_written_in_place_is_noticed(tmp_path: Path) -> None:
    reader = Reader()
    (tmp_path / "note").write_text("a")
    assert reader(tmp_path) == ["a"]
    before = os.stat(tmp_path)
    (tmp_path / "note").write_text("b")
    assert os.stat(tmp_path).st_mtime_ns == before.st_mtime_ns  # the folder does not show it
    assert reader(tmp_path) == ["b"]


def test_what_was_absent_is_noticed_when_it_comes_and_when_it_goes(tmp_path: Path) -> None:
    reader = Reader()
    place = tmp_path / "later"
    assert reader(place) == ["-"]
    assert reader(place) == ["-"]
    assert len(reader.calls) == 1
    place.mkdir()
    (place / "note").write_text("a")
    assert reader(place) == ["a"]
    shutil.rmtree(place)
    assert reader(place) == ["-"]


def test_a_change_that_leaves_the_times_as_they_were_is_noticed_while_they_are_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a file system is coarse: two changes within one step of it have the same time."""
    monkeypatch.undo()
    frozen = time.time_ns()
    monkeypatch.setattr(kept, "_mark", lambda path: (1, frozen, frozen))
    reader = Reader()
    (tmp_path / "note").write_text("a")
    assert reader(tmp_path) == ["a"]
    (tmp_path / "note").write_text("b")
    assert reader(tmp_path) == ["b"]


def test_one_place_that_changes_all_the_time_does_not_cost_the_others(tmp_path: Path) -> None:
    reader = Reader()
    still, busy = tmp_path / "still", tmp_path / "busy"
    still.mkdir()
    busy.mkdir()
    for turn in range(3):
        (busy / f"log-{turn}").touch()
        reader(still, busy)
    assert reader.calls.count(str(still)) == 1
    assert reader.calls.count(str(busy)) == 3


def test_what_cannot_be_watched_is_read_each_time(tmp_path: Path) -> None:
    calls = []

    def read(place: str, watch: Watch) -> None:
        calls.append(place)
        watch(None)

    each = Kept(read)
    for _ in range(3):
        each.of([str(tmp_path)])
    assert len(calls) == 3


def test_other_readers_read_everything_again(tmp_path: Path) -> None:
    reader = Reader()
    for readers in ([1], [1], [1, 2]):
        reader(tmp_path, readers=readers)
    assert len(reader.calls) == 2


def test_places_that_are_not_asked_for_any_more_are_forgotten(tmp_path: Path) -> None:
    reader = Reader()
    one, two = tmp_path / "one", tmp_path / "two"
    reader(one, two)
    reader(two)
    reader(one, two)
    assert reader.calls == [str(one), str(two), str(one)]


# Packages that come and go


class Wire:
    @hookimpl
    async def dial(self, request: Any) -> None: ...


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for packages, on the path of this process."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(site: Path, version: str = "1.0", name: str = "acme", plugin: str | None = None) -> Path:
    """Lay out a package and its metadata, as an installer does."""
    (site / f"{name}_package.py").write_text(
        "from libws_core import hookimpl\n\nclass Acme:\n    @hookimpl\n    def observe(self, event): ...\n"
    )
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[libws.v1]\n{plugin or name} = {name}_package:Acme\n")
    return info


def plugins() -> list[tuple[str, str | None]]:
    parts = assemble(["-standard", "acme", Wire()], environ={}).parts
    return [(part.name, part.distribution) for part in parts if part.name != "wire"]


def test_a_package_installed_in_a_running_process_is_found(site: Path) -> None:
    for _ in range(2):
        with pytest.raises(PluginError, match="'acme': not installed"):
            plugins()
    install(site)
    for _ in range(2):
        assert plugins() == [("acme", "acme 1.0")]


def test_a_package_removed_from_a_running_process_is_gone(site: Path) -> None:
    info = install(site)
    assert plugins() == [("acme", "acme 1.0")]
    shutil.rmtree(info)
    with pytest.raises(PluginError, match="'acme': not installed"):
        plugins()


def test_a_package_upgraded_in_a_running_process_has_its_new_version(site: Path) -> None:
    info = install(site)
    assert plugins() == [("acme", "acme 1.0")]
    shutil.rmtree(info)
    install(site, "2.0")
    assert plugins() == [("acme", "acme 2.0")]


def test_a_second_package_that_claims_the_name_is_a_conflict(site: Path) -> None:
    install(site)
    assert plugins() == [("acme", "acme 1.0")]
    rival = install(site, name="rival", plugin="acme")
    with pytest.raises(PluginError, match=r"claimed by acme 1\.0 and rival 1\.0"):
        plugins()
    shutil.rmtree(rival)
    assert plugins() == [("acme", "acme 1.0")]


@pytest.mark.parametrize("file", ["entry_points.txt", "METADATA"])
def test_metadata_that_is_written_in_place_is_read_again(site: Path, file: str) -> None:
    """As setuptools does it with the .egg-info folder of a package that is being worked on."""
    info = install(site)
    assert plugins() == [("acme", "acme 1.0")]
    text = (info / file).read_text()
    (info / file).write_text(text.replace("1.0", "1.5").replace("acme = ", "other = "))
    if file == "METADATA":
        assert plugins() == [("acme", "acme 1.5")]
    else:
        assert "other" in Shelf().entries
        with pytest.raises(PluginError, match="'acme': not installed"):
            plugins()


def test_a_folder_that_is_put_on_the_path_counts_at_once(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "acme" not in Shelf().entries
    other = tmp_path / "other"
    other.mkdir()
    install(other)
    assert "acme" not in Shelf().entries
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    assert "acme" in Shelf().entries
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(other)])
    assert "acme" not in Shelf().entries


def test_a_relative_entry_of_the_path_follows_the_working_directory(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site)
    monkeypatch.setattr(sys, "path", ["", *[place for place in sys.path if place != str(site)]])
    for folder, found in ((tmp_path, False), (site, True), (tmp_path, False)):
        monkeypatch.chdir(folder)
        assert ("acme" in Shelf().entries) is found


def test_a_working_directory_that_is_gone_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    try:
        gone.rmdir()
    except OSError:
        pytest.skip("a working directory cannot be removed here")
    assert "backoff" in Shelf().entries


@pytest.mark.usefixtures("site")
def test_other_finders_of_packages_are_asked_as_soon_as_they_are_there() -> None:
    import importlib_metadata

    class Distribution(importlib_metadata.Distribution):
        def read_text(self, filename: Any) -> str | None:
            return {
                "METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 7\n",
                "entry_points.txt": "[libws.v1]\nacme = acme:Acme\n",
            }.get(str(filename))

        def locate_file(self, path: Any) -> Any:
            raise NotImplementedError

    class Finder(importlib_metadata.DistributionFinder):
        def find_spec(self, *arguments: Any) -> None: ...

        def find_distributions(self, context: Any = None) -> list[Distribution]:
            return [Distribution()]

    assert "acme" not in Shelf().entries
    finder: Any = Finder()
    sys.meta_path.append(finder)
    try:
        assert [str(entry) for entry in Shelf().entries["acme"]] == ["acme 7"]
    finally:
        sys.meta_path.remove(finder)
    assert "acme" not in Shelf().entries


def test_the_table_of_what_is_installed_follows_too(site: Path) -> None:
    row: Callable[[], list[str]] = lambda: [each.version for each in installed() if each.name == "acme"]  # noqa: E731
    assert row() == []
    info = install(site)
    assert row() == ["1.0"]
    shutil.rmtree(info)
    assert row() == []
