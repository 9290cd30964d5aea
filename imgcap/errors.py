"""Define the one exception that a user's mistake raises."""


class InputError(ValueError):
    """A bad image, link, file or option.

    Its text is one sentence for the person who gave the input: what is wrong and what to do. It never contains a
    traceback, text from another server, or a path of this machine that the person did not type.
    """
