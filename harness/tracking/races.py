"""Runs that write the same to a tracking server at the same moment."""

from collections.abc import Callable

from mlflow.exceptions import MlflowException


def again_after_race(write: Callable[[], object]) -> None:
    """Write what several runs share, such as their data set, and may write at the same moment.

    MLflow looks whether it is there, and then inserts it. In between another run may have done so,
    and the database refuses a second row of the same key; by now it is found there.
    """
    try:
        write()
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":  # that of any refusal by the database
            raise
        write()
