"""imgcap: a caption for a sharp photograph, and a plain refusal for a blurred one."""

__version__ = "0.1.0"
