"""What the clinical domain tells rooms above it, which it must not import."""

from django.dispatch import Signal

# Prediction runs wait in the queue. A receiver returns True when it could tell a worker.
runs_queued = Signal()
