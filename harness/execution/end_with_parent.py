"""To be imported by the server that workers are forked from: it ends with its parent process.

By itself it would notice only after its imports that nobody needs it any more.
"""

from harness.signals import signal_at_death_of_parent

signal_at_death_of_parent("SIGKILL")
