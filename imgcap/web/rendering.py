"""The templates of the pages, and what they have in common."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from imgcap.blur.sharpness import format_variance
from imgcap.web.gauge import badge_html

HERE = Path(__file__).parent

templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)
templates.globals |= {"badge": badge_html, "format_variance": format_variance}
