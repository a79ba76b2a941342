"""What `torchrun` tells each process that it starts: its number, and how many there are."""

import os


def rank() -> int:
    """Return the number of this process, from 0 on; 0 where torchrun did not start it."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes torchrun has started; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Return how many processes torchrun has started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
