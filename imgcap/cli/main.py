"""The command line: `imgcap COMMAND`, or `python -m imgcap COMMAND`.

Each group of commands has its own file. A command imports its libraries inside its function, so that `--help` and the
other commands start without them.
"""

from typing import Annotated

import typer

from imgcap import __version__
from imgcap.cli.accounts import user_app
from imgcap.cli.blur import calibrate_blur
from imgcap.cli.caption import caption
from imgcap.cli.evaluation import calibrate_confidence, evaluate
from imgcap.cli.export import export
from imgcap.cli.hub import push_dataset_card, push_model, push_space
from imgcap.cli.serve import serve
from imgcap.cli.tokens import token_app
from imgcap.errors import InputError

TRAINING_LIBRARIES = {
    "datasets",
    "evaluate",
    "matplotlib",
    "onnx",
    "pycocoevalcap",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "transformers",
}
"""Libraries that some commands need and that a plain `pip install imgcap` does not install."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgcap {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="imgcap",
    help="Caption sharp photographs and refuse blurred ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Define the options of the command line itself."""


for command in (
    caption,
    serve,
    evaluate,
    calibrate_blur,
    calibrate_confidence,
    export,
    push_model,
    push_space,
    push_dataset_card,
):
    app.command()(command)
app.add_typer(user_app)
app.add_typer(token_app)


def main() -> None:
    """Run the command that the arguments name; print what stops it as one sentence.

    The exit status is 2 after a user's mistake, and 1 if the system refuses to read or write something.
    """
    try:
        app()
    except InputError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno is None:  # a library's own error, which says nothing of the system
            raise
        place = f" ({error.filename})" if error.filename else ""
        typer.echo(f"The command could not go on: {error.strerror}{place}.", err=True)
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING_LIBRARIES:
            raise
        typer.echo(
            f"This command needs {error.name}, which only training and evaluation use: pip install 'imgcap[train]'",
            err=True,
        )
        raise SystemExit(2) from None
