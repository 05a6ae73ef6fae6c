"""Folders are there whole or not at all, and know when they are not as they were written."""

import json
import os
import shutil
import threading

import pytest

from pairft import disk
from pairft.errors import UserError


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "sealed"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(256)))
    (folder / "inner" / "b.txt").write_text("text")
    disk.write_checksums(folder)
    return folder


def only(damage):
    [what] = damage.values()
    return what


def test_a_sealed_folder_is_whole(sealed):
    assert disk.verify(sealed) == {}
    listed = json.loads((sealed / disk.CHECKSUMS).read_text())
    assert listed["inner/b.txt"] == {
        "bytes": 4,
        "sha256": "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1",
    }
    assert set(listed) == {"a.bin", "inner/b.txt"}


@pytest.mark.parametrize("bit", [0, 7, 255 * 8 + 3])
def test_a_flipped_bit_is_found(sealed, bit):
    content = bytearray((sealed / "a.bin").read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    (sealed / "a.bin").write_bytes(content)
    assert "a.bin has changed" in only(disk.verify(sealed))


def test_what_is_cut_short_or_missing_is_found(sealed):
    os.truncate(sealed / "a.bin", 100)
    assert "a.bin has 100 bytes instead of 256" in only(disk.verify(sealed))
    (sealed / "a.bin").unlink()
    assert "a.bin is missing" in only(disk.verify(sealed))
    (sealed / disk.CHECKSUMS).write_text('{"a.bin": ')
    assert "not what was written" in only(disk.verify(sealed))
    (sealed / disk.CHECKSUMS).unlink()
    assert "is missing" in only(disk.verify(sealed))


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "inner/../../outside"])
def test_a_list_can_not_lead_out_of_the_folder(sealed, name):
    (sealed.parent / "outside").write_text("x")
    (sealed / disk.CHECKSUMS).write_text(json.dumps({name: {"bytes": 1, "sha256": "0"}}))
    assert "leads out" in only(disk.verify(sealed))


def test_a_link_in_the_place_of_a_file_is_refused(sealed):
    content = (sealed / "a.bin").read_bytes()
    (sealed / "a.bin").unlink()
    (sealed.parent / "elsewhere").write_bytes(content)
    (sealed / "a.bin").symlink_to(sealed.parent / "elsewhere")
    assert "leads out" in only(disk.verify(sealed))


def write(folder, content):
    folder.mkdir()
    (folder / "content").write_text(content)


def test_put_never_leaves_a_moment_without_the_folder(tmp_path):
    write(tmp_path / "a", "a")
    write(tmp_path / "b", "b")
    if not disk.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system can't swap two names in one step")
    assert (tmp_path / "a" / "content").read_text() == "b"
    folder, missing, done = tmp_path / "best", [], threading.Event()
    write(folder, "0")

    def watch():
        while not done.is_set():
            try:
                folder.stat()
            except FileNotFoundError:
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1, 300):
        write(tmp_path / ".part", str(number))
        disk.replace_atomically(tmp_path / ".part", folder)
    done.set()
    watcher.join()
    assert not missing
    assert (folder / "content").read_text() == "299"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "best"}


def test_put_where_names_can_not_be_swapped(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "exchange", lambda *_: False)
    write(tmp_path / "best", "old")
    write(tmp_path / ".part", "new")
    disk.replace_atomically(tmp_path / ".part", tmp_path / "best")
    assert (tmp_path / "best" / "content").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    (tmp_path / "best").rename(tmp_path / ".best.old")  # as a kill between the two renames leaves it
    disk.undo_replace(tmp_path / "best")
    assert (tmp_path / "best" / "content").read_text() == "new"


def test_a_link_outlives_what_it_is_of(tmp_path):
    write(tmp_path / "best", "old")
    disk.link_tree(tmp_path / "best", tmp_path / "kept")
    assert (tmp_path / "kept" / "content").stat().st_nlink == 2
    write(tmp_path / ".part", "new")
    disk.replace_atomically(tmp_path / ".part", tmp_path / "best")
    assert (tmp_path / "kept" / "content").read_text() == "old"


def test_a_link_is_a_copy_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "best", "old")
    disk.link_tree(tmp_path / "best", tmp_path / "kept")
    assert (tmp_path / "kept" / "content").read_text() == "old"


def test_one_process_at_a_time(tmp_path):
    taken = disk.lock(tmp_path)
    with pytest.raises(UserError, match="another process is writing to"):
        disk.lock(tmp_path)
    del taken
    disk.lock(tmp_path)


def test_space_is_counted_with_what_is_there(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    disk.check_space(tmp_path, free // 2)
    disk.check_space(tmp_path, free + 10**9, held=4 * 10**9)
    with pytest.raises(UserError, match="GB for checkpoints and models, and there are"):
        disk.check_space(tmp_path, 2 * free)


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path, monkeypatch, swaps):
    if not swaps:
        monkeypatch.setattr(disk, "exchange", lambda *_: False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "best").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "part").mkdir()
    disk.replace_atomically(tmp_path / "part", tmp_path / "best")
    assert not (tmp_path / "best").is_symlink() and (tmp_path / "best").is_dir()
    assert {path.name for path in tmp_path.rglob("*")} == {"best", "elsewhere", "kept"}
