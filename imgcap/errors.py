"""Define the one exception that a user's mistake raises."""


class InputError(ValueError):
    """A bad picture, link, file or option.

    Its text is one sentence for the person who gave the input: what is wrong and what to do. It never holds a
    traceback, a server's own words or a path of this machine that the person did not type.
    """
