"""Memory of the machine and of control groups."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fastreid_ext.utils.memory import available_memory, gibibytes

MIB, GIB = 2**20, 2**30


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=8 * GIB))


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{value}\n")


def member(root: Path, lines: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    return root / "sys/fs/cgroup"


def test_without_control_groups(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 8 * GIB


def test_this_machine() -> None:
    assert 0 < available_memory() <= 8 * GIB


def test_version_2(tmp_path: Path) -> None:
    mount = member(tmp_path, "0::/\n")
    group(mount, memory_max=3 * GIB, memory_current=2 * GIB, memory_stat=f"anon 5\ninactive_file {512 * MIB}")
    assert available_memory(tmp_path) == GIB + 512 * MIB


def test_the_narrowest_group_counts(tmp_path: Path) -> None:
    mount = member(tmp_path, "0::/outer/inner\n")
    group(mount / "outer", memory_max=2 * GIB, memory_current=GIB, memory_stat="anon 1")
    group(mount / "outer/inner", memory_max="max", memory_current=GIB, memory_stat="anon 1")
    assert available_memory(tmp_path) == GIB


def test_version_1(tmp_path: Path) -> None:
    mount = member(tmp_path, "9:cpu:/\n4:memory:/box\n0::/\n")
    (mount / "memory/box").mkdir(parents=True)
    (mount / "memory/box/memory.limit_in_bytes").write_text(str(GIB))
    (mount / "memory/box/memory.usage_in_bytes").write_text(str(900 * MIB))
    (mount / "memory/box/memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n")
    assert available_memory(tmp_path) == 224 * MIB


def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    mount = member(tmp_path, "4:memory:/docker/of-the-host\n")
    (mount / "memory").mkdir(parents=True)
    (mount / "memory/memory.limit_in_bytes").write_text(str(GIB))
    (mount / "memory/memory.usage_in_bytes").write_text(str(2 * GIB))
    (mount / "memory/memory.stat").write_text("")
    assert available_memory(tmp_path) == 0


def test_bytes_for_people() -> None:
    assert [gibibytes(count) for count in (1.25 * GIB, 2000 * GIB, 12 * MIB)] == ["1.2 GiB", "2,000.0 GiB", "12.0 MiB"]
