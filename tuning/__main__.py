"""`python -m tuning EXPERIMENT`: search its hyperparameters and register the best model."""

from tuning import forks

if __name__ == "__main__":  # workers import this file, too, and need none of what follows
    forks.start()

    from experiments.harness import signals
    from experiments.harness.config import parse
    from experiments.harness.launch import run_command
    from tuning.config import StudyConfig
    from tuning.study import Stopper, tune

    stopper = Stopper()
    signals.listen(gently=stopper.stop)
    run_command(lambda: tune(parse(StudyConfig), stopper=stopper))
