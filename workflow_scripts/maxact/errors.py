"""The one exception that a user may see."""


class UserError(Exception):
    """A mistake that the user can mend.

    The text is one line: which file or key, what is wrong, what to do. Scripts and the command line print it
    without a traceback and exit non-zero; any other exception is a defect of ours and keeps its traceback.
    """


class UnavailableError(UserError):
    """A source that cannot be had now (no network, a package withdrawn); an optional checkpoint goes without it."""


class PolicyError(UserError):
    """A tokenizer cannot do what a policy of special tokens says."""
