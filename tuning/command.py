"""What `python -m tuning` does."""

from harness import signals
from tuning.config import StudyConfig, require_space


def main(config: StudyConfig) -> None:
    """Carry out a study; the first Ctrl-C ends its search only.

    Raises:
        UserError: something that the user can correct.

    """
    require_space(config.experiment)

    from tuning.search import Stopper
    from tuning.study import tune

    signals.check()
    stopper = Stopper()
    signals.listen(gently=stopper.stop)
    tune(config, stopper=stopper)
