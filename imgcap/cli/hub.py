"""`imgcap push-model`, `push-space` and `push-dataset-card`: repositories on the Hugging Face Hub."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgcap.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from imgcap.hub.push import Content

Repo = Annotated[str, typer.Option(help="NAMESPACE/NAME on the Hub; a name alone is one of your own.")]
Private = Annotated[bool, typer.Option("--private", help="Make it private if it is new.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be sent, with sizes, and send nothing.")]


def push_model(
    repo: Repo,
    model: Annotated[Path | None, typer.Option(help="Folder of the captioner; by default the app's.")] = None,
    private: Private = False,
    dry_run: DryRun = False,
) -> None:
    """Push a captioner with its code, card and ONNX files, so that anybody can load it."""
    from imgcap.hub.checkpoint import has_onnx, model_content
    from imgcap.settings import get_settings

    folder = model or Path(get_settings().model)
    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}: give --model the folder of a captioner.")
    api, repo = _open(repo)
    content = model_content(folder, repo)
    if not has_onnx(folder):
        typer.echo(
            "There are no ONNX files beside it, so that a Space would need PyTorch: "
            f"`imgcap export {folder} --calibrate DATA` makes them.",
            err=True,
        )
    _push(api, repo, content, "Push a captioner", private=private, dry_run=dry_run)


def push_space(
    repo: Repo,
    model: Annotated[str, typer.Option(help="Hub id of the captioner that it serves, or ID@REVISION.")],
    private: Private = False,
    dry_run: DryRun = False,
    secret: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, or NAME, whose value is read from the environment.")
    ] = None,
    variable: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, which everybody can read.")] = None,
    hardware: Annotated[str, typer.Option(help="Such as zero-a10g or cpu-upgrade; empty leaves it.")] = "",
) -> None:
    """Push the app as a Space that serves a captioner from the Hub."""
    from imgcap.hub.push import SpaceOptions, check_hardware, set_options
    from imgcap.hub.space import space_content

    check_hardware(hardware)
    options = SpaceOptions(
        variables={"IMGCAP_MODEL": model} | _read_pairs(variable or [], "--variable"),
        secrets=_read_pairs(secret or [], "--secret", from_environment=True),
        hardware=hardware,
    )
    api, repo = _open(repo)
    content = space_content(api, model)
    _push(api, repo, content, "Push the app", private=private, dry_run=dry_run, hardware=hardware)
    named = [*options.variables, *options.secrets]
    if dry_run:
        typer.echo(f"to set: {', '.join(named)}")
    elif done := set_options(api, repo, options):
        typer.echo(f"set: {', '.join(done)}")


def push_dataset_card(
    repo: Repo,
    data: Annotated[str, typer.Option(help="Folder or Hub id to count in; by default the data set itself.")] = "",
    private: Private = False,
    dry_run: DryRun = False,
) -> None:
    """Push the card of a data set of images with captions: its splits, counted, and how it is loaded."""
    from imgcap.hub.dataset import dataset_content

    api, repo = _open(repo)
    content = dataset_content(api, repo, data or repo)
    _push(api, repo, content, "Push the card", private=private, dry_run=dry_run)


def _open(repo: str) -> tuple["HfApi", str]:
    """Return the Hub's client, and a repository's id with its namespace."""
    from huggingface_hub import HfApi

    from imgcap.hub.push import full_id

    api = HfApi()
    return api, full_id(api, repo)


def _push(
    api: "HfApi", repo: str, content: "Content", message: str, *, private: bool, dry_run: bool, hardware: str = ""
) -> None:
    from imgcap.hub.push import compare, format_changes, push

    if dry_run:
        typer.echo(format_changes(compare(api, repo, content)))
        return
    commit = push(api, repo, content, message, private=private, hardware=hardware)
    prefix = "" if content.kind == "model" else f"{content.kind}s/"
    where = f"{api.endpoint}/{prefix}{repo}"
    typer.echo(f"{where} is at commit {commit}" if commit else f"{where} has it all already, so there is no new commit")


def _read_pairs(values: list[str], option: str, *, from_environment: bool = False) -> dict[str, str]:
    """Return NAME=VALUE arguments as a dictionary.

    Raises:
        InputError: an argument has no value, and, if allowed, the environment has none either.
    """
    pairs = {}
    for value in values:
        name, equals, given = value.partition("=")
        if not equals and from_environment:
            given = os.environ.get(name, "")
        if not name.isidentifier() or not given:
            raise InputError(f"{option} {name} has no value: write {option} NAME=VALUE, or export the variable first.")
        pairs[name] = given
    return pairs
