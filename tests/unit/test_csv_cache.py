"""Kept indexes: used for the very file they were made of, from a folder that is ours alone, and for nothing else."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from telemetry.streamer.sources import indexfile
from telemetry.streamer.sources.csvfile import CsvSource
from telemetry.streamer.sources.index import Index, build
from telemetry.streamer.sources.indexcache import ENTRIES, IndexCache, Stamp, check_times
from telemetry.streamer.sources.indexfile import MOST_BYTES, decode, encode
from tests.fixtures.clock import ManualClock
from tests.fixtures.exports import export, row
from tests.fixtures.process import clean_env

ROOT = Path(__file__).parents[2]
BODY, FIELDS = len(export()), 12
LINE = export(row())[BODY:]
CONTENT = export() + LINE * 2_000
LEAST = len(CONTENT) - 1
NOBODY = 65_534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "export.csv"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


class Use:
    """The index of a file, looked at by a clock that is ten seconds ahead, so that no file has just changed."""

    def __init__(
        self, path: Path, folder: Path, ahead: float = 10, during: Callable[[], object] = lambda: None
    ) -> None:
        self.made = False
        self.told: list[int] = []
        cache = IndexCache(folder=folder, least_bytes=LEAST, clock=ManualClock(time.time() + ahead))
        with path.open("rb") as file:
            read = partial(read_of, file.fileno())

            def make(progress: Callable[[int], None] | None) -> Index:
                self.made = True
                during()
                return build(read, BODY, FIELDS, progress)

            self.index = cache.index(file.fileno(), (BODY, FIELDS), make, self.told.append)
            self.right = same(self.index, build(read, BODY, FIELDS))


def read_of(file: int, offset: int, size: int) -> bytes:
    return os.pread(file, size, offset)


def same(one: Index, other: Index) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Index)]
    return all(type(a) is type(b) and np.array_equal(a, b) for a, b in pairs)


def entry_in(folder: Path) -> Path:
    [entry] = folder.iterdir()
    return entry


def test_an_index_is_made_once_and_is_the_same_from_then_on(path: Path, folder: Path) -> None:
    first, second = Use(path, folder), Use(path, folder)
    assert (first.made, second.made) == (True, False)
    assert first.right
    assert second.right
    assert first.told == [len(CONTENT)]
    assert second.told == [len(CONTENT)]


def test_every_field_of_an_index_is_kept_as_it_is(path: Path) -> None:
    made = build(lambda offset, size: CONTENT[offset : offset + size], BODY, FIELDS)
    kept = indexfile.decode(indexfile.encode(made))
    assert same(kept, made)
    for field in fields(Index):
        value = getattr(made, field.name)
        if isinstance(value, np.ndarray):
            assert getattr(kept, field.name).dtype == value.dtype
    with pytest.raises(TypeError):
        indexfile.decode(b'{"digest": "and nothing else"}')


def test_an_index_of_the_same_bytes_read_in_another_way_is_another(path: Path, folder: Path) -> None:
    shapes, made = [(BODY, FIELDS), (BODY, FIELDS + 1), (0, FIELDS)], []
    with path.open("rb") as file:
        for shape in shapes * 2:

            def make(progress: Callable[[int], None] | None, shape: tuple[int, int] = shape) -> Index:
                made.append(shape)
                return build(partial(read_of, file.fileno()), *shape, progress)

            cache = IndexCache(folder=folder, least_bytes=LEAST, clock=ManualClock(time.time() + 10))
            assert int(cache.index(file.fileno(), shape, make, None).marks[0]) == shape[0]
    assert made == shapes


def test_a_source_from_a_kept_index_gives_the_same_blocks(path: Path, folder: Path) -> None:
    def opened(cache: IndexCache | None) -> tuple[str, int, bytes]:
        source = CsvSource(path=path, times=False, cache=cache).open()
        try:
            return source.digest, source.length, source.block("s", source.length - 200, 200, 0).encode()
        finally:
            source.close()

    later = ManualClock(time.time() + 10)
    found = [
        opened(None),
        opened(IndexCache(folder=folder, least_bytes=LEAST, clock=later)),
        opened(IndexCache(folder=folder, least_bytes=LEAST, clock=later)),
    ]
    assert found[0] == found[1] == found[2]
    assert entry_in(folder).stat().st_size > 100


def test_folder_and_entry_are_private_whatever_the_umask(path: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Use(path, tmp_path / "home" / "cache")
    finally:
        os.umask(before)
    entry = entry_in(tmp_path / "home" / "cache")
    modes = [place.stat().st_mode & 0o777 for place in (entry, entry.parent, entry.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(LINE)


def _overwrite(path: Path) -> None:
    """Another byte, and the time of change set back: the inode tells."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(BODY + 1)
        file.write(b"9")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    status, other = path.stat(), path.with_suffix(".new")
    other.write_bytes(CONTENT[:-2] + b"9\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _touch(path: Path) -> None:
    os.utime(path)


CHANGES = [_append, _overwrite, _replace, _touch]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_indexed_anew(path: Path, folder: Path, change: Callable[[Path], None]) -> None:
    Use(path, folder)
    change(path)
    after = Use(path, folder)
    assert after.made
    assert after.right


@pytest.mark.parametrize("change", CHANGES[:2])
def test_the_index_of_a_file_that_changes_meanwhile_is_not_kept(
    path: Path, folder: Path, change: Callable[[Path], None]
) -> None:
    assert Use(path, folder, during=lambda: change(path)).made
    assert entry_in(folder).stat().st_size < 100
    assert Use(path, folder).made


def test_an_index_of_less_than_the_file_is_neither_kept_nor_used(path: Path, folder: Path) -> None:
    cache = IndexCache(folder=folder, least_bytes=LEAST, clock=ManualClock(time.time() + 10))
    seen = len(CONTENT) - len(LINE)  # whoever opened the file did so before its last row was written
    with path.open("rb") as file:

        def make(_progress: object) -> Index:
            return build(lambda at, size: read_of(file.fileno(), at, max(0, min(size, seen - at))), BODY, FIELDS)

        assert cache.index(file.fileno(), (BODY, FIELDS), make, None).size == seen
    use = Use(path, folder)
    assert (use.made, use.right) == (True, True)


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'{"digest":1}'])
def test_what_is_no_index_is_none_whatever_its_checksum(path: Path, folder: Path, body: bytes) -> None:
    Use(path, folder)
    [entry] = folder.iterdir()
    checksum = hashlib.sha256(entry.name.encode() + body).hexdigest().encode()
    entry.write_bytes(checksum + b"\n" + body)
    use = Use(path, folder)
    assert (use.made, use.right) == (True, True)


def test_a_field_of_another_type_makes_no_index(path: Path) -> None:
    with path.open("rb") as file:
        index = build(partial(read_of, file.fileno()), BODY, FIELDS)
    with pytest.raises(TypeError, match="records"):
        decode(encode(replace(index, records="x")))  # type: ignore[arg-type]


def test_a_file_that_has_just_changed_is_neither_kept_nor_looked_up(path: Path, folder: Path) -> None:
    just = -60  # by a clock that is behind, so that it is just now however long this takes
    assert Use(path, folder, ahead=just).made
    assert not folder.exists()
    Use(path, folder)
    assert Use(path, folder, ahead=just).made
    assert not Use(path, folder).made


LONG_AGO, NOW = 1_000_000_001, 10_000_000_000


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        (Stamp(1, 1, 1, LONG_AGO, NOW - 1_999_999_999), "the file has just changed"),
        (Stamp(1, 1, 1, NOW - 1_999_999_999, LONG_AGO), "the file has just changed"),
        (Stamp(1, 1, 1, NOW + 1_000_000_000, LONG_AGO), "the file has just changed"),
        (Stamp(1, 1, 1, LONG_AGO, 3_000_000_000), "its file system seems to know whole seconds only"),
    ],
)
def test_times_that_might_hide_a_change_are_not_trusted(stamp: Stamp, why: str) -> None:
    with pytest.raises(OSError, match=why):
        check_times(stamp, NOW)
    check_times(Stamp(1, 1, 1, LONG_AGO, NOW - 2_000_000_000 - 1), NOW)


def test_a_small_file_is_not_kept(path: Path, folder: Path) -> None:
    os.truncate(path, LEAST - 1)
    assert Use(path, folder).made
    assert not folder.exists()


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda kept: kept[: int(len(kept) * share)]


def _flip(place: int) -> Callable[[bytes], bytes]:
    return lambda kept: kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        *map(_cut, (0, 0.001, 0.01, 0.5, 0.99)),
        *map(_flip, (0, 64, 65, 100, -2)),
        lambda kept: kept + b" ",
        lambda kept: b"\0" * len(kept),
        lambda kept: os.urandom(len(kept)),
        lambda kept: b"9" * 300,
        lambda kept: kept * (MOST_BYTES // len(kept) + 1),
    ],
)
def test_a_damaged_entry_is_made_anew_and_mended(path: Path, folder: Path, damage: Callable[[bytes], bytes]) -> None:
    Use(path, folder)
    entry = entry_in(folder)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    after = Use(path, folder)
    assert after.made
    assert after.right
    assert entry.read_bytes() == whole
    assert not Use(path, folder).made


def test_an_entry_under_the_name_of_another_file_is_none(path: Path, folder: Path) -> None:
    Use(path, folder)
    first = entry_in(folder)
    _append(path)
    Use(path, folder)
    [second] = set(folder.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    after = Use(path, folder)
    assert after.made
    assert after.right


def _group_may_write(entry: Path) -> None:
    entry.chmod(0o620)


def _all_may_write_the_folder(entry: Path) -> None:
    entry.parent.chmod(0o777)


def _anothers(entry: Path) -> None:
    os.chown(entry, NOBODY, NOBODY)


def _anothers_folder(entry: Path) -> None:
    os.chown(entry.parent, NOBODY, NOBODY)


def _link(entry: Path) -> None:
    real = entry.rename(entry.parent.with_name("elsewhere"))
    entry.symlink_to(real)


def _hard_link(entry: Path) -> None:
    entry.parent.with_name("elsewhere").hardlink_to(entry)


def _link_to_the_folder(entry: Path) -> None:
    real = entry.parent.rename(entry.parent.with_name("elsewhere"))
    entry.parent.symlink_to(real)


def _pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def _folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        _group_may_write,
        _all_may_write_the_folder,
        pytest.param(_anothers, marks=only_root),
        pytest.param(_anothers_folder, marks=only_root),
        _link,
        _hard_link,
        _link_to_the_folder,
        _pipe,
        _folder,
    ],
)
def test_what_somebody_else_may_have_written_is_neither_read_nor_written(
    path: Path, folder: Path, spoil: Callable[[Path], None]
) -> None:
    Use(path, folder)
    entry = entry_in(folder)
    spoil(entry)
    before = contents(folder.parent)
    after = Use(path, folder)
    assert after.made
    assert after.right
    assert contents(folder.parent) == before


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("place", ["/proc/telemetry", "/dev/null/telemetry", "export.csv/telemetry"])
def test_without_a_folder_that_can_be_made_there_is_no_cache(path: Path, tmp_path: Path, place: str) -> None:
    use = Use(path, tmp_path / place)
    assert use.made
    assert use.right


@only_root
def test_root_leaves_nothing_in_another_users_home(path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    assert Use(path, home / ".cache" / "telemetry").made
    assert not list(home.iterdir())


def test_the_oldest_go_and_strangers_stay(path: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for number in range(ENTRIES + 3):
        entry = folder / f"{number:040x}.index"
        entry.write_bytes(b"old")
        os.utime(entry, (number, number))
    (folder / "notes.txt").touch()
    Use(path, folder)
    left = {entry.name for entry in folder.iterdir()}
    assert len(left) == ENTRIES + 1
    assert {"notes.txt", f"{ENTRIES + 2:040x}.index", f"{4:040x}.index"} < left
    assert f"{3:040x}.index" not in left
    assert not Use(path, folder).made


def test_what_is_used_is_not_the_oldest(path: Path, folder: Path) -> None:
    Use(path, folder)
    entry = entry_in(folder)
    os.utime(entry, (1, 1))
    Use(path, folder)
    assert entry.stat().st_mtime > 1


MAKE = """
import os, sys, time
from pathlib import Path
from telemetry.streamer.sources.index import build
from telemetry.streamer.sources.indexcache import IndexCache
from tests.fixtures.clock import ManualClock

file, body = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[3])

def make(progress):
    print("made")
    return build(lambda offset, size: os.pread(file, size, offset), body, 12, progress)

cache = IndexCache(folder=Path(sys.argv[2]), least_bytes=1, clock=ManualClock(time.time() + 10))
cache.index(file, (body, 12), make, None)
"""


def test_another_version_of_the_program_makes_its_own(path: Path, folder: Path, tmp_path: Path) -> None:
    copytree(ROOT / "telemetry", tmp_path / "telemetry")
    with (tmp_path / "telemetry/streamer/sources/records.py").open("a") as file:
        file.write("# Changed.\n")

    def says(*places: Path) -> str:
        env = clean_env({"PYTHONPATH": os.pathsep.join(map(str, places))})
        words = [sys.executable, "-P", "-c", MAKE, str(path), str(folder), str(BODY)]
        return subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout

    Use(path, folder)
    assert says(ROOT) == ""
    assert says(tmp_path, ROOT) == "made\n"
    assert says(tmp_path, ROOT) == ""
