"""The registry: versions of each architecture's model, and which of them is the champion.

A registered model bears the name of its architecture. `challenger` is the winner of the latest
study, `champion` the best so far, `previous` the champion before it.
"""
