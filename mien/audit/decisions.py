"""Decisions: what reviewers say of doubtful labels, in a file that is only ever added to, and what of it stands.

One line of JSON a decision. Each is written by one call under a lock and is on the disk before it is acknowledged. A line
carries a checksum, so that one that was cut off in the middle is known for what it is; the next starts on a line of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mien.data.table import SampleTable
from mien.errors import RunError
from mien.files import whole_file

if sys.platform == "win32":
    import msvcrt

    _ADD = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_BINARY
else:
    import fcntl

    _ADD = os.O_RDWR | os.O_APPEND | os.O_CREAT

How = Literal["sure", "unsure", "skip", "undo", "forget"]
_HOWS = ("sure", "unsure", "skip", "undo", "forget")
_SEAL = ', "check": "'


class Decision(NamedTuple):
    """What one person said of one face.

    Attributes:
        who: The reviewer.
        sample: The face; of `forget` a hash of it, by which no more than the face itself is recognised.
        label: What the face was labelled when it was shown; null without a label.
        to: Classes, or one other answer of the table, such as not-a-face; those that an unsure person leans to, or none.
        how: "undo" takes this person's last standing decision on the face back, "forget" all of everybody.
        why: In the reviewer's words.
        table: The fingerprint of the table that was shown.
        at: When, in UTC; empty until it is written.
    """

    who: str
    sample: str
    label: str | None = None
    to: tuple[str, ...] = ()
    how: How = "sure"
    why: str = ""
    table: str = ""
    at: str = ""

    def to_line(self) -> bytes:
        """Returns the line of the file, with its checksum and its end."""
        fields = {"at": self.at, "who": self.who, "sample": self.sample, "from": self.label, "to": self.to, "how": self.how}
        text = json.dumps(fields | {"why": self.why, "table": self.table}, ensure_ascii=False)
        return f'{text[:-1]}{_SEAL}{_check(text)}"}}\n'.encode("utf-8", "replace")

    @classmethod
    def from_line(cls, line: bytes) -> Decision | None:
        """Returns the decision of a line, with or without its end; null where the line is not whole."""
        try:
            text, _, seal = line.removesuffix(b"\n").decode().rpartition(_SEAL)
            text += "}"
            if seal != f'{_check(text)}"}}':
                return None
            fields = json.loads(text)
            if fields["how"] not in _HOWS:
                return None
            return cls(label=fields.pop("from"), to=tuple(fields.pop("to")), **fields)
        except (ValueError, KeyError, TypeError):
            return None


def _check(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()


def hashed(sample: str) -> str:
    """Returns what stands for a face that was forgotten."""
    return hashlib.blake2b(sample.encode("utf-8", "replace"), digest_size=8).hexdigest()


def fingerprint(table: SampleTable) -> str:
    """Returns 16 hexadecimal digits that change with the samples, classes, labels, votes and candidate sets of a table."""
    shown = hashlib.blake2b(json.dumps([table.samples, table.classes, table.vote_names]).encode(), digest_size=8)
    if "label" in table:
        shown.update(table.labels().tobytes())
    for counts in (table.votes, table.candidates):
        shown.update(b"-" if counts is None else counts.tobytes())
    return shown.hexdigest()


# ---------------------------------------------------------------------- the file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which lies beside it, since the file itself may be replaced."""
    with open(path.with_name(path.name + ".lock"), "ab") as file:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, as does the end of the process


def append(path: Path, decision: Decision) -> Decision:
    """Returns the decision with its time, once it is on the disk.

    Raises:
        RunError: If it could not be written.
    """
    decision = decision._replace(at=datetime.now(UTC).isoformat(timespec="milliseconds"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            is_new = not path.exists()
            number = os.open(path, _ADD, 0o666)
            try:
                line = (b"" if _ends_well(number) else b"\n") + decision.to_line()
                written = os.write(number, line)
                os.fsync(number)
            finally:
                os.close(number)
            if is_new:
                _sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"decisions {path}: {error.strerror or error}. This decision was not kept; decide again.") from None
    if written < len(line):
        raise RunError(f"decisions {path}: the disk is full. This decision was not kept; make room and decide again.")
    return decision


def _ends_well(number: int) -> bool:
    """Returns whether what is written next stands on a line of its own."""
    size = os.lseek(number, 0, os.SEEK_END)
    if not size:
        return True
    os.lseek(number, size - 1, os.SEEK_SET)
    return os.read(number, 1) == b"\n"


def _sync_folder(folder: Path) -> None:
    """Puts a new file's name on the disk too; Windows knows no such thing."""
    if sys.platform != "win32":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def read(path: Path) -> tuple[list[Decision], list[str]]:
    """Returns all decisions of a file, and a sentence about each line that is none.

    Raises:
        RunError: If there is no such file.
    """
    if not path.is_file():
        raise RunError(f"decisions {path}: no such file. Make one with: mien audit review TABLE --decisions FILE …")
    return parse(path.read_bytes(), str(path))


def parse(content: bytes, name: str) -> tuple[list[Decision], list[str]]:
    """Returns the decisions in the bytes of a file that is called `name`, and a sentence about each line that is none."""
    found, problems = [], []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if (decision := Decision.from_line(line)) is not None:
            found.append(decision)
        elif number == len(lines) and line:
            problems.append(f"decisions {name}: the last line was cut off while it was written, and is left out.")
        elif line:
            problems.append(f"decisions {name}, line {number}: not whole, and left out; the lines around it are.")
    return found, problems


def forget(path: Path, samples: Iterable[str]) -> tuple[int, int]:
    """Writes the file anew without some faces, and returns how many decisions went, and how many lines that were not whole.

    These go too, since nobody can say whose they are. A hash stays of each face, by which a page that is open and
    `apply` know what to leave out.

    Args:
        path: The file; one that is missing is made.
        samples: To forget.
    """
    gone = set(samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        parsed = [(line, Decision.from_line(line)) for line in lines if line]
        kept = [line + b"\n" for line, decision in parsed if decision is not None and decision.sample not in gone]
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        traces = [Decision("", hashed(sample), how="forget", at=at).to_line() for sample in sorted(gone)]
        with whole_file(path) as partial, partial.open("wb") as file:
            file.writelines([*kept, *traces])
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    broken = sum(decision is None for _, decision in parsed)
    return len(parsed) - len(kept) - broken, broken


# ---------------------------------------------------------------------- what stands


class States:
    """What stands of decisions that were taken in the order of their lines.

    Attributes:
        standing: For each sample the present decision of each reviewer.
        forgotten: Hashes of faces to leave out.
    """

    def __init__(self) -> None:
        self.standing: dict[str, dict[str, Decision]] = {}
        self.forgotten: set[str] = set()
        self._made: dict[str, list[Decision]] = {}  # of each reviewer what is not taken back, in order

    def add(self, decision: Decision) -> None:
        """Takes one more decision."""
        who, sample = decision.who, decision.sample
        made = self._made.setdefault(who, [])
        if decision.how == "forget":
            self.forgotten.add(sample)
        elif decision.how != "undo":
            made.append(decision)
            self.standing.setdefault(sample, {})[who] = decision
        elif (last := _last(made, sample)) is not None:
            del made[last]
            before, by_person = _last(made, sample), self.standing[sample]
            if before is None:
                del by_person[who]
            else:
                by_person[who] = made[before]
            if not by_person:
                del self.standing[sample]

    def last(self, who: str, among: Container[str]) -> Decision | None:
        """Returns the decision on one of these samples that this reviewer would take back next."""
        return next((decision for decision in reversed(self._made.get(who, [])) if decision.sample in among), None)

    def conflicts(self) -> list[str]:
        """Returns the samples on which two who are sure differ."""
        return [sample for sample, by_person in self.standing.items() if differ(by_person.values())]


def _last(made: list[Decision], sample: str) -> int | None:
    return next((place for place in reversed(range(len(made))) if made[place].sample == sample), None)


def differ(decisions: Iterable[Decision]) -> bool:
    """Returns whether two who are sure name different answers."""
    return len({frozenset(decision.to) for decision in decisions if decision.how == "sure"}) > 1


def states(decisions: Iterable[Decision]) -> States:
    """Returns what stands of decisions, the first line first."""
    found = States()
    for decision in decisions:
        found.add(decision)
    return found


class Followed:
    """A file of decisions that others write to as well: `now` reads what is new, or all of it where it was written anew.

    Attributes:
        path: The file; it may not be there yet.
        version: Counts how often the file was read from its start: after `forget`, what was kept of faces must go.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.version = path, 0
        self._states, self._read, self._tail = States(), 0, b""
        self._seen: Any = None

    def now(self) -> States:
        """Returns what stands now."""
        try:
            about = self.path.stat()
        except FileNotFoundError:
            return self._states
        seen = (about.st_mtime_ns, about.st_size, about.st_ino)
        if seen == self._seen:
            return self._states
        self._seen = seen
        with self.path.open("rb") as file:
            file.seek(self._read - len(self._tail))
            content = file.read()
            if not content.startswith(self._tail) or not self._tail:  # written anew, or never read
                self._states, self._read, self._tail = States(), 0, b""
                self.version += 1
                file.seek(0)
                content = file.read()
        end = content.rfind(b"\n") + 1  # what follows may still be under way
        for line in content[len(self._tail) : end].split(b"\n"):
            if (decision := Decision.from_line(line)) is not None:
                self._states.add(decision)
        self._read += end - len(self._tail)
        self._tail = content[max(0, end - 100) : end]  # with a time and a checksum in it: no other line has it
        return self._states
