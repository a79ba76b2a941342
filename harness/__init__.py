"""What all experiments share: configuration, training, tracking, execution, figures.

It knows no architecture: experiments find it, and it finds experiments by looking.
"""

import os

# Threads that have nothing to do sleep instead of spinning, and leave their core to others: a
# convolutional network of two threads took seven times as long where one of two cores was busy.
# Read by OpenMP when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
