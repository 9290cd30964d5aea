"""Options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text, one object a line.")]
DataSource = Annotated[str, typer.Option(help="Folder or Hub id of the data set.")]
