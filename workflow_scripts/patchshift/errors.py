"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake or a missing thing outside the program.

    The message names the thing and the remedy. Command-line entry points print it without a traceback.
    """
