import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgcap.errors import InputError
from imgcap.images.archives import NAME_LENGTH, clean_name, is_archive, read_archive


@pytest.fixture
def pack(tmp_path):
    def pack_it(files: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "archive.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in (files or {}).items():
                archive.writestr(name, data)
        return path

    return pack_it


def read(path: Path, most_files: int = 10, file_bytes: int = 1_000, total_bytes: int = 5_000):
    return list(read_archive(path, most_files=most_files, file_bytes=file_bytes, total_bytes=total_bytes))


def test_files_come_with_their_folders_and_without_what_systems_leave(pack):
    path = pack({
        "holiday/": b"", "holiday/a.jpg": b"1", "__MACOSX/holiday/._a.jpg": b"2", "holiday/.DS_Store": b"3",
        "Thumbs.db": b"4", "b.jpg": b"5",
    })  # fmt: skip
    assert is_archive(path)
    assert [(member.name, member.data, member.error) for member in read(path)] == [
        ("holiday/a.jpg", b"1", ""),
        ("b.jpg", b"5", ""),
    ]


def test_one_bad_file_does_not_stop_the_others(pack):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x", b"x")
    path = pack({"large.jpg": bytes(1_001), "damaged.jpg": b"abcdefgh" * 40, "inner.zip": inner.getvalue(), "b": b"5"})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("damaged.jpg").header_offset + 30 + len("damaged.jpg")
    content[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    found = {member.name: member.error for member in read(path)}
    assert "larger than" in found["large.jpg"]
    assert "damaged" in found["damaged.jpg"]
    assert "unpack it first" in found["inner.zip"]
    assert found["b"] == ""


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_may_take_any_memory_are_not_used(pack, method):
    [member] = read(pack({"a.jpg": b"1" * 100}, method))
    assert "ordinary ZIP" in member.error


def test_a_password_is_said(pack):
    path = pack({"a.jpg": b"1"})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1
    path.write_bytes(content)
    [member] = read(path)
    assert "password" in member.error


def test_a_bomb_unpacks_no_further_than_the_limits(pack):
    path = pack({f"{number}.jpg": bytes(1_000) for number in range(9)})
    found = []
    with pytest.raises(InputError, match="unpacks to more than"):
        found.extend(read_archive(path, most_files=10, file_bytes=1_000, total_bytes=3_000))
    assert sum(len(member.data) for member in found) <= 3_000
    claims = bytearray(pack({"a.jpg": bytes(10**6)}).read_bytes())
    directory = claims.index(b"PK\x01\x02")
    claims[directory + 24 : directory + 28] = struct.pack("<L", 5)  # claims to be small
    path.write_bytes(claims)
    [member] = read(path)
    assert len(member.data) <= 1_000


def test_too_many_files_are_refused_before_one_is_read(pack):
    with pytest.raises(InputError, match="11 files, and there is room for 10"):
        read(pack({f"{number}": b"1" for number in range(11)}))


def test_a_directory_too_large_to_read_is_refused_unread(pack, monkeypatch):
    path = pack({"a.jpg": b"1"})
    content = bytearray(path.read_bytes())
    end = content.index(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 5 * 2**20)
    path.write_bytes(content)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(InputError, match="too many files"):
        read(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(500)])
def test_what_is_no_archive_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read(path)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_sentence(tmp_path_factory, tail):
    path = tmp_path_factory.getbasetemp() / "fuzz.zip"
    path.write_bytes(b"PK\x03\x04" + tail + b"PK\x05\x06" + bytes(8) + tail[:10])
    try:
        read(path)
    except InputError as error:
        assert str(error).endswith(".")  # noqa: PT017


@given(st.text(max_size=400))
def test_a_name_leads_out_of_no_folder(name):
    clean = clean_name(name)
    assert 0 < len(clean) <= NAME_LENGTH
    assert not clean.startswith("/")
    assert {".", ".."}.isdisjoint(clean.split("/"))
    assert clean.isprintable()
    assert clean_name("../../etc/pass\0wd") == "etc/passwd"
    assert clean_name("C:\\photos\\a.jpg") == "C_/photos/a.jpg"
