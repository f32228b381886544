"""The names of the broker's queues. Sweeps have one of their own, so that a long backlog of nudges never delays them:
a worker takes from both in turn."""

NUDGES = "leukoscope"
SWEEPS = "leukoscope-sweep"
