from pathlib import Path

import pytest

from imgcap.accounts.database import journal_mode
from imgcap.accounts.storage import explain_risk, filesystem_of, is_remote, storage_risk
from imgcap.settings import Settings

MOUNTS = r"""
22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/l
23 22 0:22 / /data rw,nosuid - fuse.hf-mount hf-mount rw,user_id=0
24 22 8:1 / /home\040of/user rw shared:1 - ext4 /dev/sda1 rw
25 22 0:30 / /home rw - nfs4 server:/home rw
""".strip()


@pytest.fixture
def mounts(tmp_path):
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS + "\n")
    return path


@pytest.mark.parametrize(
    ("path", "filesystem", "remote"),
    [
        ("/data/imgcap", "fuse.hf-mount", True),
        ("/data", "fuse.hf-mount", True),
        ("/database", "overlay", False),
        ("/home of/user/x", "ext4", False),
        ("/home/ada/.local", "nfs4", True),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(mounts, path, filesystem, remote):
    assert filesystem_of(Path(path), mounts) == filesystem
    assert is_remote(filesystem) == remote


def test_where_mounts_cannot_be_read_the_file_system_is_unknown(tmp_path):
    assert filesystem_of(tmp_path, tmp_path / "none") == ""
    assert not is_remote("")


def test_this_machines_mounts_are_understood(tmp_path):
    assert filesystem_of(tmp_path)


def test_no_version_of_sqlite_uses_a_write_ahead_log_on_a_mounted_file_system():
    assert journal_mode((3, 60, 0), "ext4") == "WAL"
    for filesystem in ("fuse.hf-mount", "fuse", "nfs", "nfs4", "cifs", "9p"):
        assert journal_mode((3, 60, 0), filesystem) == "TRUNCATE"


@pytest.mark.parametrize(
    ("folder", "url", "short_lived", "risk"),
    [
        ("/data/imgcap", "", True, "remote"),
        ("/data/imgcap", "postgresql://u:p@h/n", True, ""),
        ("/srv", "", True, "short_lived"),
        ("/srv", "sqlite:////srv/x.db", True, "short_lived"),
        ("/srv", "", False, ""),
    ],
)
def test_what_threatens_the_accounts(mounts, folder, url, short_lived, risk):
    settings = Settings(data_dir=Path(folder), database_url=url, short_lived=short_lived)
    assert storage_risk(settings, mounts) == risk
    if risk:
        assert "set IMGCAP_DATABASE_URL" in explain_risk(risk)
