"""Push files to a repository on the Hub: compare them with its present files, and send the differences as one commit.

huggingface_hub's client does the work. It stores large files in LFS or Xet, and does not send files again that an
interrupted push has already sent.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Literal

from httpx2 import TransportError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from imgcap.errors import InputError

Kind = Literal["model", "dataset", "space"]
Action = Literal["new", "changed", "same", "gone"]
NAMES: Mapping[Kind, str] = {"model": "model", "dataset": "data set", "space": "Space"}


@dataclass(frozen=True)
class Content:
    """The files that a repository should contain.

    kind: kind of the repository.
    files: path in the repository -> a local file, or the bytes themselves.
    owned: patterns of the paths that imgcap manages. A file in the repository that matches one and is not among `files`
        is deleted; all other files stay.
    """

    kind: Kind
    files: Mapping[str, Path | bytes]
    owned: Sequence[str] = ()


@dataclass(frozen=True)
class Change:
    """What a push does with one file; `size` is in bytes, 0 for a file that is deleted."""

    path: str
    action: Action
    size: int


@dataclass(frozen=True)
class SpaceOptions:
    """A Space's public variables, secrets and hardware ("" leaves the hardware as it is)."""

    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""


def full_id(api: HfApi, repo: str) -> str:
    """Return a repository's id with its namespace, by default the token's user.

    Raises:
        InputError: the id is not valid, the Hub knows no such token, or the Hub cannot be reached.
    """
    if re.match(r"(models?|datasets?|spaces?)/|https?:", repo):
        raise InputError(f"{repo!r} is no repository's id: write NAMESPACE/NAME, without the kind before it.")
    with one_sentence(repo, "model"):
        validate_repo_id(repo)
        user = api.whoami()["name"]
    return repo if "/" in repo else f"{user}/{repo}"


def compare(api: HfApi, repo: str, content: Content) -> list[Change]:
    """Return what a push would do with each file, in the order of the paths.

    Raises:
        InputError: the Hub cannot be reached, or does not let this token read the repository.
    """
    with one_sentence(repo, content.kind):
        try:
            tree = list(api.list_repo_tree(repo, recursive=True, repo_type=content.kind))
        except RepositoryNotFoundError:
            tree = []
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    changes = [
        Change(path, "new" if path not in there else "same" if _equals(there[path], file) else "changed", _size(file))
        for path, file in content.files.items()
    ]
    owned = (path for path in there if path not in content.files and _matches(path, content.owned))
    return sorted(changes + [Change(path, "gone", 0) for path in owned], key=lambda change: change.path)


def push(
    api: HfApi, repo: str, content: Content, message: str, *, private: bool = False, hardware: str = ""
) -> str | None:
    """Create the repository unless it exists, and commit what differs.

    Args:
        api: client with a token that may write there.
        repo: id with its namespace.
        content: the files that the repository should contain.
        message: message of the commit.
        private: whether a new repository is private; an existing one stays as it is.
        hardware: hardware of a new Space; empty for the Hub's default.

    Returns:
        The new commit's id; None if nothing differed, so that no commit was made.

    Raises:
        InputError: the Hub refuses or cannot be reached; the sentence says what to do.
    """
    with one_sentence(repo, content.kind):
        space = {"space_sdk": "gradio", "space_hardware": hardware or None} if content.kind == "space" else {}
        api.create_repo(repo, private=private or None, repo_type=content.kind, exist_ok=True, **space)  # type: ignore[arg-type]
        sdk = api.space_info(repo).sdk if content.kind == "space" else None
        if sdk not in {None, "gradio"}:
            raise InputError(f"The Space {repo!r} is made with {sdk} and not with Gradio: push to another name.")
        changes = [change for change in compare(api, repo, content) if change.action != "same"]
        if not changes:
            return None
        operations = [
            CommitOperationDelete(change.path)
            if change.action == "gone"
            else CommitOperationAdd(change.path, _readable(content.files[change.path]))
            for change in changes
        ]
        commit = api.create_commit(repo, operations, commit_message=message, repo_type=content.kind)
        return str(commit.oid)


def check_hardware(name: str) -> None:
    """Raise InputError unless `name` is hardware that a Space can have, or empty."""
    known = [hardware.value for hardware in SpaceHardware]
    if name and name not in known:
        raise InputError(f"--hardware {name} is unknown: choose one of {', '.join(known)}.")


def set_options(api: HfApi, repo: str, options: SpaceOptions) -> list[str]:
    """Set a Space's variables, secrets and hardware, and return the names of those that were set.

    Variables and hardware with the right value are left alone, since each change restarts the Space. Secrets cannot be
    read, so they are always set.

    Raises:
        InputError: as for `push`.
    """
    done = []
    with one_sentence(repo, "space"):
        known = {name: variable.value for name, variable in api.get_space_variables(repo).items()}
        for name, value in options.variables.items():
            if known.get(name) != value:
                api.add_space_variable(repo, name, value)
                done.append(name)
        for name, value in options.secrets.items():
            api.add_space_secret(repo, name, value)
            done.append(name)
        if options.hardware and api.get_space_runtime(repo).requested_hardware != options.hardware:
            api.request_space_hardware(repo, SpaceHardware(options.hardware))
            done.append("hardware")
    return done


def format_changes(changes: Iterable[Change]) -> str:
    """Return one line per file with what would happen to it, its size and its path; then a line with the sums."""
    changes = list(changes)
    lines = [f"{change.action:8}{change.size / 1e6:10.3f} MB  {change.path}" for change in changes]
    going = [change for change in changes if change.action in {"new", "changed"}]
    total = sum(change.size for change in going) / 1e6
    gone = sum(change.action == "gone" for change in changes)
    same = sum(change.action == "same" for change in changes)
    return "\n".join([*lines, f"{len(going)} files to send ({total:.3f} MB), {gone} to delete, {same} as they are"])


def _equals(there: RepoFile, file: Path | bytes) -> bool:
    if there.size != _size(file):
        return False
    if there.lfs is None:
        return there.blob_id == git_hash(file if isinstance(file, bytes) else file.read_bytes())
    with BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
        return there.lfs.sha256 == sha_fileobj(stream).hex()


def _size(file: Path | bytes) -> int:
    return len(file) if isinstance(file, bytes) else file.stat().st_size


def _readable(file: Path | bytes) -> str | bytes:
    return file if isinstance(file, bytes) else str(file)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


@contextmanager
def one_sentence(repo: str, kind: Kind) -> Iterator[None]:
    """Turn the exceptions of the Hub's client into an InputError that says what is wrong and what to do."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise InputError(_NO_TOKEN) from None
    except HFValidationError:
        raise InputError(
            f"{repo!r} is no repository's id: write NAMESPACE/NAME with letters, digits, '-', '_' and '.'."
        ) from None
    except RepositoryNotFoundError as error:
        raise InputError(
            f"The Hub has no {NAMES[kind]} {repo!r} that this token may see: check the id and the token."
        ) from error
    except HfHubHTTPError as error:
        raise InputError(_explain(error, repo, kind)) from error
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE forbids to ask the Hub: unset it, and try again.") from None
    except (TransportError, ConnectionError) as error:
        raise InputError("The Hub cannot be reached: check the network and HF_ENDPOINT, and try again.") from error
    except ValueError as error:  # the client's message about the front matter of a README
        raise InputError(f"The Hub does not take these files: {' '.join(str(error).split())}") from error


_NO_TOKEN = (
    "There is no token for the Hub: run `hf auth login`, or set HF_TOKEN to one with the right to write "  # noqa: S105
    "(https://huggingface.co/settings/tokens)."
)


def _explain(error: HfHubHTTPError, repo: str, kind: Kind) -> str:
    status = error.response.status_code
    if status == 401:
        return "The Hub does not know this token: run `hf auth login` again, or set HF_TOKEN to a valid one."
    if status == 402:
        return f"The Hub asks for a paid plan to run {repo!r}: give --hardware zero-a10g, or see your billing settings."
    if status == 403:
        return (
            f"This token may not write to the {NAMES[kind]} {repo!r}: take one with the right to write, of somebody "
            f"who may write to {repo.partition('/')[0]!r}."
        )
    said = " ".join((error.server_message or f"status {status}").split())
    return f"The Hub did not take this push ({said}): try again, which sends only what is still missing."
