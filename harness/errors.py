"""Errors that a user can cause, and can fix."""


class UserError(ValueError):
    """A value, file, device or run that the user named cannot be used.

    The message is one line that names the parameter, its value and what is allowed. On the
    command line it is all that is shown, and the exit status is 2.
    """
