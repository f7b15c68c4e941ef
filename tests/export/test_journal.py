"""The journal keeps all that it says it keeps, through any end, and gives each row once."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devskin_async import ConfigurationError, DecodeError
from devskin_async.export.journal import FOLDER, Journal
from devskin_async.export.rows import Row, RowId
from devskin_async.export.units import Unit, is_later_pass

from .support import GOOD, decoded, ids_of, row, unit


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path) as opened:
        yield opened


def rejected(row_id: RowId, line: bytes = b"{}") -> Row:
    return Row(row_id, line, None, DecodeError("$.total", "a number", "null"))


def test_what_is_kept_is_read_unit_by_unit_in_the_order_of_their_numbers(journal: Journal) -> None:
    assert journal.keep([unit("orders", 30, 5, 6), unit("orders", 10, 9)]) == [0, 0]
    assert journal.keep([unit("orders", 20, 7)]) == [0]
    assert [ids_of([lines]) for lines in journal.batches("orders")] == [[9], [7], [5, 6]]


def test_lines_come_back_byte_for_byte(journal: Journal) -> None:
    lines = [b'{"id": 1,  "x":1.50}', '{"id":2,"x":"\u2028ü"}'.encode(), b'{ "id":3 }']
    rows = [Row(n, line, GOOD) for n, line in enumerate(lines, 1)]
    journal.keep([Unit(scope="orders", number=0, rows=rows, at=0)])
    assert list(journal.batches("orders")) == [lines]


def test_a_unit_without_rows_is_kept_too(journal: Journal) -> None:
    journal.keep([unit("orders", 5, about=b'{"a": 1}', at=12.5)])
    (kept,) = journal.units("orders")
    assert (kept.scope, kept.number, kept.at, kept.about) == ("orders", 5, 12.5, b'{"a": 1}')
    assert journal.lines(kept) == []
    assert journal.unit("orders", 5) == kept
    assert journal.unit("orders", 6) is None


def test_scopes_do_not_see_each_other(journal: Journal) -> None:
    journal.keep([unit("products", 1, 1, 2), unit("customers", 1, 2, 3)])
    assert ids_of(journal.batches("products")) == [1, 2]
    assert sorted(map(str, journal.ids("customers"))) == ["2", "3"]
    assert journal.distinct("products") == 2
    assert journal.distinct("orders") == 0
    assert journal.shared_ids("products", "customers") == 1


def test_only_rows_of_the_status_are_kept_but_the_ids_of_all(journal: Journal) -> None:
    rows = [row(1, status="paid"), row(2, status="pending"), row(3, status="paid")]
    journal.keep([Unit(scope="orders", number=0, rows=rows, status="paid", at=0)])
    assert ids_of(journal.batches("orders")) == [1, 3]
    assert journal.distinct("orders") == 3


def test_a_row_that_came_before_is_counted_and_not_given_again(journal: Journal) -> None:
    assert journal.keep([unit("orders", 2, 1, 2, 3, text="first")]) == [0]
    assert journal.keep([unit("orders", 1, 3, 4, text="then")]) == [1]
    assert [ids_of([lines]) for lines in journal.batches("orders")] == [[4], [1, 2, 3]]
    assert (journal.distinct("orders"), journal.repeated_in("orders")) == (4, 1)


def test_ids_that_are_numbers_are_not_those_that_are_texts(journal: Journal) -> None:
    assert journal.keep([unit("orders", 1, 1, "1.5", "a")]) == [0]
    assert journal.keep([unit("orders", 2, "1.5", 2)]) == [1]
    assert sorted(map(repr, journal.ids("orders"))) == ["'1.5'", "'a'", "1", "2"]
    assert ids_of(journal.batches("orders")) == [1, "1.5", "a", 2]


def test_rejected_rows_are_told_apart_from_the_others(journal: Journal) -> None:
    rows = [row(1), rejected(2, b'{"id":2,"x":1.50}')]
    journal.keep([Unit(scope="orders", number=0, rows=rows, at=0), unit("orders", 1, 2)])
    assert [decoded(entry) for entry in journal.rejected("orders")] == [
        {"path": "$.total", "expected": "a number", "received": "null", "row": {"id": 2, "x": 1.5}}
    ]
    assert journal.rejected_in("orders") == 1
    assert journal.rejected_in("products") == 0
    assert next(journal.batches("orders")) == [row(1).line]


def test_what_adopts_a_scope_has_its_rows_as_its_own(journal: Journal) -> None:
    journal.keep([unit("p#1", 1, 1, 2), unit("p#1", 2, 2, 3)])
    journal.keep([unit("p", 0, adopts="p#1")])
    assert ids_of(journal.batches("p")) == [1, 2, 3]
    assert sorted(map(str, journal.ids("p"))) == ["1", "2", "3"]
    assert (journal.distinct("p"), journal.repeated_in("p")) == (3, 1)
    (kept,) = journal.units("p")
    assert sorted(map(str, journal.unit_ids(kept))) == ["1", "2", "3"]


def test_of_several_scopes_that_are_adopted_the_first_gives_a_row(journal: Journal) -> None:
    journal.keep([unit("p#1", 1, 1, 2, text="old"), unit("p#2", 1, 2, 3, text="new")])
    kept = journal.keep([unit("p", 0, adopts="p#2"), unit("p", 1, adopts="p#1")])
    assert kept == [0, 1]
    lines = [line for lines in journal.batches("p") for line in lines]
    assert lines == [row(2, "new").line, row(3, "new").line, row(1, "old").line]


def test_rejected_rows_of_an_adopted_scope_are_the_adopters(journal: Journal) -> None:
    journal.keep([Unit(scope="p#1", number=1, rows=[rejected(1)], at=0)])
    journal.keep([unit("p", 0, adopts="p#1")])
    assert journal.rejected_in("p") == 1


def test_scopes_are_listed_but_those_that_were_adopted(journal: Journal) -> None:
    journal.keep([unit("p#1", 1, 1), unit("p#2", 1, 1), unit("p", 0, adopts="p#2")])
    assert sorted(journal.scopes()) == ["p", "p#1"]


def test_units_are_counted_by_what_is_known_of_them(journal: Journal) -> None:
    journal.keep([unit("d", 1, about=b"1"), unit("d", 2, about=b"2"), unit("d", 3, about=b"1")])
    assert (journal.count("d"), journal.count("d", b"1"), journal.count("x")) == (3, 2, 0)


def test_notes_are_kept_replaced_and_forgotten(journal: Journal) -> None:
    assert journal.note("key") is None
    journal.keep([], {"key": b"1", "other": b"2"})
    journal.keep([unit("orders", 1)], {"key": b"3"})
    assert (journal.note("key"), journal.note("other")) == (b"3", b"2")
    journal.forget("key")
    assert (journal.note("key"), journal.note("other")) == (None, b"2")


def test_what_is_dropped_is_gone_with_its_ids(journal: Journal) -> None:
    journal.keep([unit("orders", 1, 1, 2), unit("products", 1, 1)])
    assert journal.drop("orders") == 1
    assert list(journal.batches("orders")) == []
    assert journal.distinct("orders") == 0
    assert ids_of(journal.batches("products")) == [1]
    assert journal.keep([unit("orders", 1, 2)]) == [0]
    assert ids_of(journal.batches("orders")) == [2]


def test_what_is_dropped_takes_along_what_it_adopted(journal: Journal) -> None:
    journal.keep([unit("p#1", 1, 1), unit("p#2", 1, 1), unit("p", 0, adopts="p#2")])
    assert journal.drop("p") == 2
    assert journal.scopes() == ["p#1"]
    assert journal.units("p#2") == []
    assert journal.distinct("p") == journal.distinct("p#2") == 0


def test_only_what_was_read_outside_of_a_time_is_dropped(journal: Journal) -> None:
    journal.keep(
        [unit("orders", n, n, at=at) for n, at in enumerate([5.0, 10.0, 15.0, 20.0, 25.0])]
    )
    assert journal.drop("orders", (10.0, 20.0)) == 2
    assert [kept.number for kept in journal.units("orders")] == [1, 2, 3]


def test_a_row_that_came_first_in_what_is_dropped_is_not_lost(journal: Journal) -> None:
    journal.keep([unit("orders", 1, 1, 2, at=0), unit("orders", 2, 2, 3, at=9)])
    journal.drop("orders", (5.0, 20.0))
    # Its other place is read again, as it may be the only one that is left.
    assert journal.unit("orders", 2) is None
    journal.keep([unit("orders", 2, 2, 3, at=10)])
    assert ids_of(journal.batches("orders")) == [2, 3]


def test_a_row_that_came_first_in_what_is_dropped_is_not_lost_where_a_scope_was_adopted(
    journal: Journal,
) -> None:
    journal.keep([unit("orders", 1, 1, 2, at=0), unit("orders@2#1", 1, 2, 3, at=9)])
    journal.keep([unit("orders", 2, adopts="orders@2#1", at=9)])
    journal.drop("orders", (5.0, 20.0))
    if journal.unit("orders", 2) is None:
        journal.keep([unit("orders@2#1", 1, 2, 3, at=10)])
        journal.keep([unit("orders", 2, adopts="orders@2#1", at=10)])
    assert ids_of(journal.batches("orders")) == [2, 3]


def test_clearing_forgets_everything(journal: Journal) -> None:
    journal.keep([unit("orders", 1, 1), unit("p#1", 1, 1)], {"key": b"1"})
    journal.clear()
    assert (journal.scopes(), journal.note("key"), journal.distinct("orders")) == ([], None, 0)
    journal.keep([unit("orders", 1, 2)])
    assert ids_of(journal.batches("orders")) == [2]


def test_what_was_kept_is_there_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 1, 1, 2)], {"key": b"1"})
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [1, 2]
        assert journal.note("key") == b"1"
        assert journal.keep([unit("orders", 2, 2, 3)]) == [1]
        assert ids_of(journal.batches("orders")) == [1, 2, 3]


def test_beginning_anew_forgets_what_was_there(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 1, 1, 2)], {"key": b"1"})
    with Journal(tmp_path, fresh=True) as journal:
        assert (journal.scopes(), journal.note("key")) == ([], None)


def test_a_removed_journal_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.keep([unit("orders", 1, 1)])
    (journal.folder / "files").mkdir()
    (journal.folder / "files" / "orders.jsonl").touch()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_two_units_of_one_place_are_kept_neither(journal: Journal) -> None:
    journal.keep([unit("orders", 1, 1)])
    with pytest.raises(OSError, match="UNIQUE"):
        journal.keep([unit("orders", 2, 2), unit("orders", 1, 3)], {"key": b"1"})
    assert ids_of(journal.batches("orders")) == [1]
    assert journal.note("key") is None
    journal.keep([unit("orders", 2, 4)])
    assert ids_of(journal.batches("orders")) == [1, 4]


# One export at a time


def test_a_second_journal_of_a_folder_is_refused(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(ConfigurationError, match="another export is writing"):
        Journal(tmp_path)
    with pytest.raises(ConfigurationError, match="another export is writing"):
        Journal(tmp_path, fresh=True)
    journal.keep([unit("orders", 1, 1)])
    assert ids_of(journal.batches("orders")) == [1]


def test_a_closed_journal_lets_the_next_one_in(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    with Journal(tmp_path) as journal:
        assert journal.scopes() == []


def program(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program that has the helpers of these tests."""
    head = "from tests.export.support import *\nfrom devskin_async.export.journal import *\n"
    head += "import sys, os, signal\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
    return subprocess.run(
        [sys.executable, "-c", head + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_another_process_is_refused_while_a_journal_is_open(
    tmp_path: Path, journal: Journal
) -> None:
    journal.keep([unit("orders", 1, 1)])
    done = program("Journal(folder)", tmp_path)
    assert "another export is writing" in done.stderr
    assert done.returncode == 1


# Whatever ends it


KILLED = """
journal = Journal(folder)
journal.keep([unit("orders", 1, 1, 2)])
{0}
journal.keep([unit("orders", 2, *range(3, 3000))])
"""


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)", id="rows"),
        pytest.param(
            "journal._insert = lambda *_: os.kill(os.getpid(), signal.SIGKILL)", id="insert"
        ),
        pytest.param(
            "journal._connection.set_trace_callback("
            "lambda sql: sql == 'COMMIT' and os.kill(os.getpid(), signal.SIGKILL))",
            id="commit",
        ),
    ],
)
def test_a_killed_process_leaves_what_was_kept_and_its_remains_are_written_over(
    tmp_path: Path, moment: str
) -> None:
    done = program(KILLED.format(moment), tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [1, 2]
        journal.keep([unit("orders", 2, 3), unit("orders", 3, 4)])
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [1, 2, 3, 4]
        assert journal.repeated_in("orders") == 0


def test_a_copy_that_is_made_at_any_time_is_a_whole_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "0") as journal:
        for number in range(1, 6):
            journal.keep([unit("orders", number, number)])
            shutil.copytree(tmp_path / "0", tmp_path / str(number))
        journal.drop("orders", (1.0, 2.0))
        shutil.copytree(tmp_path / "0", tmp_path / "6")
    for number in range(1, 6):
        with Journal(tmp_path / str(number)) as copy:
            assert ids_of(copy.batches("orders")) == list(range(1, number + 1))
    with Journal(tmp_path / "6") as copy:
        assert ids_of(copy.batches("orders")) == []


def test_garbage_behind_what_is_known_is_written_over(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 1, 1)])
    with (tmp_path / FOLDER / "orders.rows").open("ab") as file:
        file.write(b"garbage" * 1000)
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 2, 2)])
        assert ids_of(journal.batches("orders")) == [1, 2]


@pytest.mark.parametrize("harm", ["changed", "shortened"])
def test_rows_that_are_not_as_they_were_written_are_noticed(tmp_path: Path, harm: str) -> None:
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 1, 1), unit("orders", 2, 2)])
    path = tmp_path / FOLDER / "orders.rows"
    rows = path.read_bytes()
    path.write_bytes(rows[:-2] if harm == "shortened" else rows.replace(b'"id":2', b'"id":3'))
    with Journal(tmp_path) as journal:
        batches = journal.batches("orders")
        assert ids_of([next(batches)]) == [1]
        with pytest.raises(ConfigurationError, match="damaged: --fresh"):
            next(batches)


def test_rows_that_are_gone_are_named(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 1, 1)])
    path = tmp_path / FOLDER / "orders.rows"
    path.unlink()
    with Journal(tmp_path) as journal, pytest.raises(FileNotFoundError) as caught:
        list(journal.batches("orders"))
    assert caught.value.filename == str(path)


def test_what_was_forgotten_stays_so_when_the_power_goes(tmp_path: Path) -> None:
    # Its place in the file of rows is written anew, so each transaction must be on the disk.
    with Journal(tmp_path) as journal:
        (level,) = journal._connection.execute("PRAGMA synchronous").fetchone()
    assert level == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"no database at all, but a text" * 100),
        lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(),
    ],
    ids=["a text", "another version"],
)
def test_what_is_no_journal_of_this_version_is_refused_until_it_may_go(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    with Journal(tmp_path) as journal:
        journal.keep([unit("orders", 1, 1)])
    spoil(tmp_path / FOLDER / "journal.sqlite")
    with pytest.raises(ConfigurationError, match="can't be used") as caught:
        Journal(tmp_path)
    assert caught.value.__notes__ == ["pass fresh=True to start over"]
    with Journal(tmp_path, fresh=True) as journal:
        assert journal.scopes() == []


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    with pytest.raises(NotADirectoryError) as caught:
        Journal(tmp_path)
    assert caught.value.filename == str(tmp_path / FOLDER)


def test_a_disk_that_is_full_from_the_first_is_an_os_error_that_names_the_journal(
    tmp_path: Path,
) -> None:
    done = program(LIMITED + "limit(0)\n" + OPENED, tmp_path)
    assert done.stdout.split() == ["OSError", str(tmp_path / FOLDER / "journal.sqlite")]


# A disk that is full


LIMITED = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""
OPENED = """
try:
    Journal(folder)
except Exception as error:
    print(type(error).__name__, getattr(error, "filename", None))
"""
FILLED = """
journal = Journal(folder)
number = 0
while True:
    number += 1
    try:
        journal.keep([unit("orders", number, *range(number * 10, number * 10 + 10), text="x" * 50)])
    except OSError as error:
        print(number, Path(error.filename).name)
        break
    if number == 3:
        limit({0})
kept = ids_of(journal.batches("orders"))
assert kept == list(range(10, number * 10)), kept
limit(resource.RLIM_INFINITY)
journal.keep([unit("orders", number, *range(number * 10, number * 10 + 10))])
assert ids_of(journal.batches("orders")) == list(range(10, number * 10 + 10))
journal.close()
with Journal(folder) as journal:
    assert ids_of(journal.batches("orders")) == list(range(10, number * 10 + 10))
"""


@pytest.mark.parametrize("size", [3_000, 60_000, 300_000])
def test_a_full_disk_leaves_what_was_kept_and_the_journal_goes_on_when_there_is_room(
    tmp_path: Path, size: int
) -> None:
    done = program(LIMITED + FILLED.format(size), tmp_path)
    assert done.returncode == 0, done.stderr
    number, name = done.stdout.split()
    assert int(number) > 3
    assert name in {FOLDER, "orders.rows", "journal.sqlite"}


def test_a_write_that_ends_in_the_middle_leaves_what_was_kept(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.keep([unit("orders", 1, 1)])
    write = os.write

    def failing(file: int, data: bytes) -> int:
        if len(data) > 10:
            return write(file, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing)
        with pytest.raises(OSError, match="No space left") as caught:
            journal.keep([unit("orders", 2, 2, 3)], {"key": b"1"})
    assert caught.value.filename == str(journal.folder / "orders.rows")
    assert ids_of(journal.batches("orders")) == [1]
    assert journal.note("key") is None
    journal.keep([unit("orders", 2, 4)])
    assert ids_of(journal.batches("orders")) == [1, 4]


# Anything, in any order


class Kept(RuleBasedStateMachine):
    """A journal against dicts: units by scope and number, and who brought an id first."""

    SCOPES = ("orders", "orders@1#1", "orders@1#2", "products")

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name)
        self.journal = Journal(self.folder)
        self.units: dict[str, dict[int, tuple[list[int], float]]] = {}
        self.first: dict[str, dict[int, int]] = {}
        self.notes: dict[str, bytes] = {}
        self.adopted: dict[int, str] = {}

    @rule(
        scope=st.sampled_from(SCOPES),
        number=st.integers(0, 6),
        ids=st.lists(st.integers(0, 12), unique=True, max_size=5),
        at=st.integers(0, 9),
        note=st.binary(max_size=3),
    )
    def keep(self, scope: str, number: int, ids: list[int], at: int, note: bytes) -> None:
        kept = self.units.setdefault(scope, {})
        if scope in self.adopted.values():
            return  # it is read to its end then
        if number in kept:
            with pytest.raises(OSError, match="UNIQUE"):
                self.journal.keep([unit(scope, number, *ids)], {"note": b"never"})
            return
        first = self.first.setdefault(scope, {})
        repeated = self.journal.keep([unit(scope, number, *ids, at=at)], {"note": note})
        assert repeated == [sum(each in first for each in ids)]
        for each in ids:
            first.setdefault(each, number)
        kept[number] = (ids, at)
        self.notes["note"] = note

    @precondition(lambda self: len(self.adopted) < 2)
    @rule(part=st.integers(1, 2), at=st.integers(0, 9))
    def adopt(self, part: int, at: int) -> None:
        scope, number = f"orders@1#{part}", 100 + part
        if scope in self.adopted.values() or not self.units.get(scope):
            return
        first = self.first.setdefault("orders", {})
        for each in self.first[scope]:
            first.setdefault(each, number)
        self.journal.keep([unit("orders", number, adopts=scope, at=at)])
        self.units.setdefault("orders", {})[number] = ([], at)
        self.adopted[number] = scope

    @rule(scope=st.sampled_from(["orders", "products"]))
    def drop(self, scope: str) -> None:
        self.journal.drop(scope)
        self._forget(scope)

    @precondition(lambda self: not self.adopted)  # see the test that is expected to fail
    @rule(scope=st.sampled_from(SCOPES), first=st.integers(0, 9), last=st.integers(0, 9))
    def drop_old(self, scope: str, first: int, last: int) -> None:
        before = self.units.get(scope, {})
        ids_before = self.first.get(scope, {})
        left = {
            number: (ids, at)
            for number, (ids, at) in before.items()
            if first <= at <= last and all(ids_before[each] == number for each in ids)
        }
        dropped = len(before) - len(left)
        # What is read again of a pass must not be newer than what the next pass has read.
        for later in self.SCOPES if dropped else ():
            if is_later_pass(later, scope):
                dropped += len(self.units.get(later, {}))
                self._forget(later)
        assert self.journal.drop(scope, (first, last)) == dropped
        self.units[scope] = left
        self.first[scope] = {each: number for number, (ids, _) in left.items() for each in ids}

    @rule()
    def open_again(self) -> None:
        self.journal.close()
        self.journal = Journal(self.folder)

    @rule(garbage=st.binary(max_size=200))
    def die(self, garbage: bytes) -> None:
        """Go on with a copy, as if the process had been killed while it wrote rows."""
        copy = tempfile.TemporaryDirectory()
        shutil.copytree(self.folder, copy.name, dirs_exist_ok=True)
        self.journal.close()
        self.place.cleanup()
        self.place, self.folder = copy, Path(copy.name)
        for path in (self.folder / FOLDER).glob("*.rows"):
            with path.open("ab") as file:
                file.write(garbage)
        self.journal = Journal(self.folder)

    @rule()
    def clear(self) -> None:
        self.journal.clear()
        for scope in self.SCOPES:
            self._forget(scope)
        self.notes = {}

    def _forget(self, scope: str) -> None:
        self.units[scope] = {}
        self.first[scope] = {}
        if scope == "orders":
            for adopted in self.adopted.values():
                self._forget(adopted)
            self.adopted = {}

    @invariant()
    def all_is_there_once(self) -> None:
        if not hasattr(self, "journal"):
            return
        for scope in self.SCOPES:
            first = self.first.get(scope, {})
            kept = self.units.get(scope, {})
            if scope not in self.adopted.values():  # who adopts it tells what is repeated in it
                assert sorted(map(int, ids_of(self.journal.batches(scope)))) == sorted(first)
            assert sorted(map(int, self.journal.ids(scope))) == sorted(first)
            assert self.journal.distinct(scope) == len(first)
            assert [each.number for each in self.journal.units(scope)] == sorted(kept)
            assert self.journal.count(scope) == len(kept)
        assert self.journal.note("note") == self.notes.get("note")
        listed = {scope for scope, kept in self.units.items() if kept}
        assert set(self.journal.scopes()) == listed - set(self.adopted.values())

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.place.cleanup()


TestKept = Kept.TestCase
TestKept.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
