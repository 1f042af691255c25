"""FileTarget: lines that are whole, durable, and not repeated."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from flytelineage.entities import Dataset, ExecutionId, Lineage, Properties, Run
from flytelineage.errors import ConfigError, TargetUnavailable, TransientTargetError
from flytelineage.targets.file import FileTarget


def lineage(name: str = "f1", *, revision: int = 1, note: str = "", **fields: Any) -> Lineage:
    execution = ExecutionId(project="shop", domain="production", name=name)
    orders = Dataset(platform="s3", name="orders", properties=Properties(description=note or None))
    run = Run(execution=execution, started_at=datetime(2026, 1, 1, tzinfo=timezone.utc))
    fields = {"phase": "SUCCEEDED", "datasets": (orders,), "runs": (run,), **fields}
    return Lineage(execution=execution, revision=revision, **fields)


def written(path: Path) -> list[Lineage]:
    return [Lineage.model_validate_json(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lineage.jsonl"


@pytest.fixture
def target(path: Path) -> Iterator[FileTarget]:
    target = FileTarget(path=str(path))
    yield target
    target.close()


def reopened(target: FileTarget) -> FileTarget:
    """The target as the next process finds it."""
    target.close()
    return FileTarget(path=target.path)


class TestLines:
    """What is written."""

    def test_one_line_per_delivery(self, target: FileTarget, path: Path) -> None:
        """Each delivery is a line that reads back as the lineage it was."""
        told = [lineage("f1"), lineage("f2", revision=7)]

        rejections = [target.emit(one) for one in told]

        assert rejections == [[], []]
        assert written(path) == told

    def test_unknown_fields_are_left_out(self, target: FileTarget, path: Path) -> None:
        """A field that is not known does not appear, rather than as null."""
        target.emit(lineage())

        assert "null" not in path.read_text()
        assert '"description"' not in path.read_text()

    def test_late_event_gives_another_line(self, target: FileTarget, path: Path) -> None:
        """The last line of an execution is the valid one."""
        target.emit(lineage(revision=1))
        target.emit(lineage(revision=2, note="late"))

        assert [line.revision for line in written(path)] == [1, 2]

    def test_entities_alone(self, target: FileTarget, path: Path) -> None:
        """What a library emits is written without an execution."""
        target.emit([Dataset(platform="s3", name="orders")])

        (line,) = written(path)
        assert line.execution is None
        assert [dataset.name for dataset in line.datasets] == ["orders"]

    def test_text_of_any_language(self, target: FileTarget, path: Path) -> None:
        """A line separator inside a text does not split the line."""
        target.emit(lineage(note="größe \u2028\n 注文"))

        assert path.read_bytes().count(b"\n") == 1
        assert written(path)[0].datasets[0].properties.description == "größe \u2028\n 注文"


class TestRepeats:
    """What was said is not said again."""

    def test_repeat_is_skipped(self, target: FileTarget, path: Path) -> None:
        """Emitting the same twice changes nothing, whatever its revision."""
        target.emit(lineage(revision=1))
        target.emit(lineage(revision=2))

        assert len(written(path)) == 1

    def test_repeat_after_a_restart_is_skipped(self, target: FileTarget, path: Path) -> None:
        """A process that died before settling does not write its line again."""
        target.emit(lineage("f1"))
        target.emit(lineage("f2"))
        target = reopened(target)

        target.emit(lineage("f1"))
        target.close()

        assert len(written(path)) == 2

    def test_return_to_an_earlier_state_is_written(self, target: FileTarget, path: Path) -> None:
        """Only the execution's last line counts as said."""
        for note in ("one", "two", "one"):
            target.emit(lineage(note=note))

        assert len(written(path)) == 3

    def test_entities_alone_are_not_repeated(self, target: FileTarget, path: Path) -> None:
        """Emitting the same entities twice in a row changes nothing."""
        for _ in range(2):
            target.emit([Dataset(platform="s3", name="orders")])

        assert len(written(path)) == 1

    def test_memory_is_bounded(
        self, target: FileTarget, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Executions of long ago are forgotten; their repeat costs a line."""
        monkeypatch.setattr("flytelineage.targets.file._REMEMBERED_EXECUTIONS", 2)
        for name in ("f1", "f2", "f3", "f3", "f1"):
            target.emit(lineage(name))

        assert [line.execution.name for line in written(path)] == ["f1", "f2", "f3", "f1"]

    def test_only_the_end_of_a_large_file_is_read(
        self, target: FileTarget, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Opening a file of any size takes a bounded time."""
        target.emit(lineage("f1"))
        first = path.stat().st_size
        target.emit(lineage("f2"))
        monkeypatch.setattr(
            "flytelineage.targets.file._LOOK_BACK_BYTES", path.stat().st_size - first // 2
        )
        target = reopened(target)

        for name in ("f2", "f1"):
            target.emit(lineage(name))
        target.close()

        assert [line.execution.name for line in written(path)] == ["f1", "f2", "f1"]


class TestDurability:
    """A line is whole or not there."""

    @pytest.mark.parametrize("torn", [b'{"execution":{"project":"sh', b'{"exec', b'{"execution":'])
    def test_torn_tail_is_cut(self, target: FileTarget, path: Path, torn: bytes) -> None:
        """What a crash left of a line is cut off before the next one."""
        target.emit(lineage("f1"))
        target = reopened(target)
        with path.open("ab") as file:
            file.write(torn)

        target.emit(lineage("f2"))
        target.close()

        assert [line.execution.name for line in written(path)] == ["f1", "f2"]

    def test_torn_first_line_is_cut(self, target: FileTarget, path: Path) -> None:
        """A file that holds nothing but a part of a line begins anew."""
        path.write_bytes(b'{"execution":' + b"x" * 200_000)

        target.emit(lineage())

        assert len(written(path)) == 1

    def test_line_that_did_not_fit_leaves_nothing(self, target: FileTarget, path: Path) -> None:
        """A write that stops half-way is undone, and works once there is room."""
        target.emit(lineage("f1"))
        size = path.stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            with pytest.raises(TransientTargetError, match="cannot be written"):
                target.emit(lineage("f2"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        assert path.stat().st_size == size
        target.emit(lineage("f2"))
        assert len(written(path)) == 2

    def test_full_disk_passes(
        self, target: FileTarget, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk is tried again later; what was not durable is not there."""

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        target.emit(lineage("f1"))
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(TransientTargetError, match="No space left on device"):
                target.emit(lineage("f2"))

        assert len(written(path)) == 1

    def test_renamed_file_is_followed(self, target: FileTarget, path: Path) -> None:
        """After a rotation the next line begins a new file."""
        target.emit(lineage("f1"))
        path.rename(path.with_suffix(".1"))

        target.emit(lineage("f2"))

        assert [line.execution.name for line in written(path)] == ["f2"]

    def test_rotation_forgets_nothing(self, target: FileTarget, path: Path) -> None:
        """A repeat of a line in the renamed file is not written."""
        target.emit(lineage("f1"))
        path.rename(path.with_suffix(".1"))

        target.emit(lineage("f1"))

        assert written(path) == []


class TestRefusals:
    """What is wrong is said with what to do."""

    def test_second_writer(self, target: FileTarget, path: Path) -> None:
        """Two that write to one file would tear each other's lines."""
        target.emit(lineage())

        with pytest.raises(ConfigError, match=r"another flytelineage; .* its own path"):
            FileTarget(path=str(path)).emit(lineage("f2"))

    def test_lock_ends_with_close(self, target: FileTarget, path: Path) -> None:
        """Who stops makes room for the next."""
        target.emit(lineage())

        next_one = reopened(target)
        next_one.emit(lineage("f2"))
        next_one.close()

        assert len(written(path)) == 2

    @pytest.mark.parametrize("content", [b"c.FlyteLineage.emit = True", b'{"other": 1}\n'])
    def test_file_of_somebody_else(self, target: FileTarget, path: Path, content: bytes) -> None:
        """A path that was mistyped does not cost the file it names."""
        path.write_bytes(content)

        with pytest.raises(ConfigError, match="something else than lineage"):
            target.emit(lineage())
        assert path.read_bytes() == content

    def test_not_a_file(self) -> None:
        """A device is refused, with the spelling of standard output."""
        with pytest.raises(ConfigError, match="use '-'"):
            FileTarget(path="/dev/null").emit(lineage())

    def test_missing_directory(self, tmp_path: Path) -> None:
        """A directory is not invented."""
        target = FileTarget(path=str(tmp_path / "missing" / "lineage.jsonl"))

        with pytest.raises(TargetUnavailable, match=f"create the directory {tmp_path}/missing"):
            target.emit(lineage())

    def test_denied(self, target: FileTarget, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who lacks the right is told for whom to grant it."""

        def denied(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr("flytelineage.targets.file.FileIO", denied)

        with pytest.raises(TargetUnavailable, match=f"allow user id {os.getuid()}"):
            target.emit(lineage())

    def test_directory_instead_of_a_file(self, tmp_path: Path) -> None:
        """A directory needs a file's name in it."""
        with pytest.raises(TargetUnavailable, match="name a file in it"):
            FileTarget(path=str(tmp_path)).emit(lineage())


class TestCheck:
    """`check` finds what emitting would."""

    def test_nothing_is_created(self, target: FileTarget, path: Path) -> None:
        """Looking changes nothing."""
        target.check()

        assert not path.exists()

    def test_open_target(self, target: FileTarget) -> None:
        """A target does not stand in its own way."""
        target.emit(lineage())

        target.check()

    def test_problems(self, target: FileTarget, path: Path) -> None:
        """Each problem of emitting is a wrong configuration."""
        target.emit(lineage())

        for wrong in (path, path / "below", path.parent / "missing" / "file", path.parent):
            with pytest.raises(ConfigError, match=r"^FileTarget\.path: "):
                FileTarget(path=str(wrong)).check()


class TestStandardOutput:
    """The path `-`."""

    def test_lines(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        """Lines go to standard output at once, repeats are left out."""
        target = FileTarget(path="-")
        target.check()
        for name in ("f1", "f1", "f2"):
            target.emit(lineage(name))
        target.close()

        lines = capfdbinary.readouterr().out.splitlines()
        assert [Lineage.model_validate_json(line).execution.name for line in lines] == ["f1", "f2"]

    def test_reader_has_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pipe that nobody reads stops the target, not the execution."""
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w", closefd=False) as pipe:
            monkeypatch.setattr("sys.stdout", pipe)
            with pytest.raises(TargetUnavailable, match="standard output cannot be written"):
                FileTarget(path="-").emit(lineage())
            os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
        os.close(writer)


def test_constructing_touches_nothing(path: Path) -> None:
    """A target that is only described opens nothing."""
    FileTarget(path=str(path))

    assert not path.exists()
