"""Names to choose from in data sets; imports nothing heavy, so that configurations can use it."""

from typing import Literal

Split = Literal["train", "validation", "test"]

DatasetName = Literal["ring", "moons", "circles", "spirals", "checkerboard"]
"""Points in the plane (`datasets.toy_datasets`)."""

TableName = Literal["iris", "wine", "breast_cancer", "digits"]
"""Small real data sets of scikit-learn (`datasets.tables`)."""

SplitName = Literal["stratified", "ordered"]
"""How the rows of a table are divided into splits (`datasets.classes`)."""

MemoryTaskName = Literal[
    "echo",
    "variable_echo",
    "copy",
    "selective_copying",
    "induction_heads",
    "associative_recall",
    "parity",
]
"""Sequences of characters to be remembered (`datasets.memory_tasks`)."""

SELECTIVE_TASKS: tuple[MemoryTaskName, ...] = (
    "selective_copying",
    "induction_heads",
    "associative_recall",
    "parity",
)
"""Those whose inputs say what to remember, and when to recall it (`datasets.selective_tasks`)."""
MAX_PAIRS = 13
"""Pairs of a key and a value that associative recall has letters for."""

AlphabetName = Literal["letters", "characters", "bytes"]
"""What a text is made of (`datasets.corpus`)."""

LevelName = Literal["easy", "normal", "moderate", "hard", "nightmare", "abyss"]
"""Lengths of temporal-order sequences (`datasets.sequence_tasks`)."""

SequenceFormat = Literal["auto", "symbols", "ts", "tsv", "long"]
"""Formats of files of sequences (`datasets.sequence_files`)."""

DigitsOrder = Literal["rows", "pixels"]
"""How an image of a digit is read as a sequence (`datasets.sequence_datasets`)."""

Resize = Literal["squish", "crop"]
"""How a photograph becomes a square (`datasets.pixels`)."""

ClassWeights = Literal["none", "balanced"]
"""How much a sample of each class counts in the loss."""
