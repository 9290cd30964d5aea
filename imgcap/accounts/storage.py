"""Find the kind of disk on which the accounts are stored, and whether it is permanent."""

import re
from pathlib import Path

from imgcap.settings import Settings

DATA_FOLDER_UNWRITABLE = "The data folder cannot be written to; set IMGCAP_DATA_DIR to one that can."
MOUNTS = Path("/proc/self/mountinfo")
REMOTE = frozenset({"9p", "afs", "ceph", "cifs", "fuse", "fuseblk", "glusterfs", "lustre", "ncpfs", "smb2", "smb3"})
"""File systems of the network or of a program, by their names in Linux; `nfs*` and `fuse.*` belong to them too."""


def filesystem_of(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that a path is on, such as "ext4" or "fuse.hf-mount"; empty if unknown.

    Args:
        path: a path, which need not exist.
        mounts: the list of mounts in Linux's format.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    resolved, found = path.resolve(), (0, "")
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split()[4]))
        if resolved.is_relative_to(point):
            found = max(found, (len(point.parts), after.split()[0]), key=lambda one: one[0])
    return found[1]


def is_remote(filesystem: str) -> bool:
    """Return whether a file system belongs to the network or a program, so that its locks cannot be trusted."""
    return filesystem in REMOTE or filesystem.startswith(("nfs", "fuse."))


def storage_risk(settings: Settings, mounts: Path = MOUNTS) -> str:
    """Return what threatens accounts and histories: "short_lived", "remote", or "" if no risk is known.

    Args:
        settings: say where they are stored.
        mounts: as for `filesystem_of`.
    """
    if settings.database_url and not settings.database_url.startswith("sqlite"):
        return ""
    if is_remote(filesystem_of(settings.data_dir, mounts)):
        return "remote"
    return "short_lived" if settings.short_lived else ""


def explain_risk(risk: str) -> str:
    """Return the message to the operator about a risk that `storage_risk` found."""
    cure = "set IMGCAP_DATABASE_URL to a PostgreSQL to keep them."
    if risk == "remote":
        return f"The data folder is on a network or mounted file system, where SQLite may lose accounts: {cure}"
    return f"The data folder does not outlast this machine, and accounts and histories end with it: {cure}"
