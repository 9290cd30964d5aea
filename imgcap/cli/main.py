"""The command line: `imgcap COMMAND`, or `python -m imgcap COMMAND`.

Each group of commands has its own file. A command imports its libraries inside its function, so that `--help` and the
other commands start without them.
"""

import typer

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

app = typer.Typer(
    name="imgcap",
    help="Caption sharp photographs and refuse blurred ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
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
    """Run the command that the arguments name; print a user's mistake as one sentence and exit with status 2."""
    try:
        app()
    except InputError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING_LIBRARIES:
            raise
        typer.echo(
            f"This command needs {error.name}, which only training and evaluation use: pip install 'imgcap[train]'",
            err=True,
        )
        raise SystemExit(2) from None
