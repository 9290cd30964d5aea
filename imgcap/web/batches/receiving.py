"""Add received files to a user's batch, and unpack archives."""

from collections.abc import Iterator
from pathlib import Path

from imgcap.images.archives import Member, clean_name, is_archive, read_archive
from imgcap.reading import check_length
from imgcap.web.batches.batch import Batch
from imgcap.web.batches.store import BatchStore
from imgcap.web.intake.opening import Caller


def add_file(store: BatchStore, path: Path, name: str, caller: Caller, length: str = "normal") -> None:
    """Add a received file, an image or a ZIP archive of images, to the caller's batch.

    Args:
        store: of the batches.
        path: of the received file.
        name: of the file on the caller's machine.
        caller: who sent it.
        length: of the captions of all images in the batch.

    Raises:
        InputError: the batch has no room for it, the archive cannot be read, or the length does not exist. The images
            read before the error stay in the batch.
    """
    wanted, batch = check_length(length), store.get_or_begin(caller.user_id)
    with store.changed:
        batch.length, batch.address = wanted, caller.address
    for member in _members(store, batch, path, name):
        store.add(batch, member)


def _members(store: BatchStore, batch: Batch, path: Path, name: str) -> Iterator[Member]:
    """Yield the files of an archive for which the batch has room, or else the file itself."""
    limits = store.limits
    if not is_archive(path):
        too_large = path.stat().st_size > limits.file_bytes
        large = f"The file is larger than {limits.file_bytes / 2**20:.3g} MB: send a smaller copy."
        yield Member(clean_name(name), b"" if too_large else path.read_bytes(), large if too_large else "")
        return
    with store.changed:
        files, room = limits.max_files - len(batch.items), limits.max_bytes - batch.bytes
    yield from read_archive(path, most_files=files, file_bytes=limits.file_bytes, total_bytes=room)
