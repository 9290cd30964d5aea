"""imgcap: a sentence for a photograph, and an honest refusal for a blurred one."""

__version__ = "0.1.0"
