"""Writing of files: whole or not at all, and never over a device, a FIFO or a link."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system import files
from edgeproof_runtime.system.documents import read_document
from edgeproof_runtime.system.files import cache_folder, is_standard_output, is_stream, write_atomically, write_json
from edgeproof_runtime.system.text import csv_cell, csv_value, json_text, printable


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A node like /dev/null; never the machine's own, which a fault would destroy."""
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (tmp_path / "null").write_bytes(b"")
    except OSError:
        pytest.skip("device nodes cannot be made here")
    return tmp_path / "null"


def test_a_device_stays_a_device(device: Path) -> None:
    write_atomically(device, b"content")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert list(device.parent.iterdir()) == [device]


def test_a_link_to_a_device_stays_a_link(device: Path) -> None:
    link = device.with_name("link")
    link.symlink_to("null")
    write_atomically(link, b"content")
    assert link.is_symlink()
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_full_device_is_an_error(tmp_path: Path) -> None:
    full = tmp_path / "full"
    try:
        os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        full.open("wb").close()
    except OSError:
        pytest.skip("device nodes cannot be made here")
    with pytest.raises(InputError, match="No space left"):
        write_atomically(full, b"content")
    assert stat.S_ISCHR(full.stat().st_mode)


def test_a_fifo_gets_the_content_and_stays_a_fifo(tmp_path: Path) -> None:
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    content = os.urandom(1 << 18)  # more than a FIFO holds
    write_atomically(fifo, content)
    reader.join(20)
    assert got == [content]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_fifo_without_a_reader_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_FIFO_WAIT_S", 0.2)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="no process has opened this FIFO"):
        write_atomically(tmp_path / "fifo", b"x")


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("folder/file")
    for content in (b"one", b"two"):  # first the link dangles
        write_atomically(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder/file").read_bytes() == content
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["file"]


def test_links_in_a_circle_and_other_impossible_names(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "file").write_bytes(b"")
    for name in ("a", "file/below", "x" * 300, "nul\0"):
        with pytest.raises(InputError, match="cannot be written"):
            write_atomically(tmp_path / name, b"x")
    assert (tmp_path / "a").is_symlink()


def test_the_mode_of_a_replaced_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"one")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    file.chmod(0o600)
    write_atomically(file, b"two")
    assert (stat.S_IMODE(file.stat().st_mode), file.read_bytes()) == (0o600, b"two")


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_standard_output_is_written_in_order_and_not_replaced(tmp_path: Path, name: str) -> None:
    code = f"from edgeproof_runtime.system.files import *; print('1'); write_atomically({name!r}, b'2\\n'); print('3')"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "1\n2\n3\n"
    assert is_standard_output(name)
    assert is_stream(name)
    assert not is_stream(tmp_path / "out")
    assert not is_standard_output(tmp_path / "out")


def test_an_inherited_descriptor_is_written(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    write_atomically(f"/dev/fd/{writer}", b"content")
    os.close(writer)
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(f"/dev/fd/{writer}", b"content")


def test_a_user_without_home_has_a_private_cache() -> None:
    code = (
        "from edgeproof_runtime.system.files import cache_folder, write_cached\n"
        "import os; os.environ.pop('HOME'); os.setuid(54321)\n"
        "write_cached(cache_folder() / 'a', {}); print(cache_folder(), (cache_folder() / 'a').exists())"
    )
    if os.geteuid() != 0:
        pytest.skip("not root: cannot become an unknown user")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("EDGEPROOF_CACHE", "XDG_CACHE_HOME")
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    folder, exists = done.stdout.split()
    assert exists == "True"
    assert not Path(folder).exists(), "it is gone with the process"


def test_the_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROOF_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/edgeproof")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/x")
    assert cache_folder() == Path("/home/x/.cache/edgeproof")
    monkeypatch.setenv("HOME", "relative")
    monkeypatch.setitem(os.environ, "EDGEPROOF_CACHE", "")  # is restored at the end
    del os.environ["EDGEPROOF_CACHE"]
    assert cache_folder().is_absolute()


@given(st.text())
def test_json_says_the_same_without_control_characters(text: str) -> None:
    encoded = json_text({text: [text]}, indent=None)
    assert json.loads(encoded) == {text: [text]}
    assert printable(encoded) == encoded
    encoded.encode()  # no lone surrogates


def test_json_with_lone_surrogates_can_be_written(tmp_path: Path) -> None:
    write_json(tmp_path / "j", {"a": "\ud800\x1b\x9b\u202e\udcff"})
    assert (tmp_path / "j").read_text() == '{\n  "a": "\\\\ud800\\u001b\\u009b\\u202e\\\\xff"\n}\n'
    assert read_document(tmp_path / "j") == {"a": "\\ud800\x1b\x9b\u202e\\xff"}


@given(st.text())
def test_text_for_a_terminal_holds_no_control_characters(text: str) -> None:
    shown = printable(text)
    assert not any((ord(c) < 0x20 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not set(shown) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")


def test_escapes_are_shown() -> None:
    assert printable("a\tb\n\x1b[31mred\x07\x9b\u202e é 猫") == "a\tb\n\\x1b[31mred\\x07\\x9b\\u202e é 猫"


@given(st.text() | st.from_regex(r"'*[=+\-@\t\r].*", fullmatch=True))
def test_a_cell_reads_back_and_is_no_formula(text: str) -> None:
    cell = csv_cell(text)
    assert csv_value(cell) == text.replace("\0", r"\x00")
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and cell:
        float(cell)  # only numbers may begin so


@pytest.mark.parametrize("number", [-1, -0.5, float("-inf"), "-1.5e-3", "+2"])
def test_numbers_are_not_text(number: object) -> None:
    assert csv_cell(number) == str(number)


def test_nothing_is_an_empty_cell() -> None:
    assert csv_cell(None) == ""
