"""The one exception that means: the user can mend this."""


class InputError(ValueError):
    """Data, a name or a setting that cannot be used.

    The message says what was expected, what came (with the file, line or value) and what to do.
    The command line prints it without a traceback.
    """
