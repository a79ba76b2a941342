"""What killed processes have left behind in the tracking store and on the disk."""
