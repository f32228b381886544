"""The faster ways to run the models this process has loaded: tried in the background, taken up once proven.

A worker serves at once with what needs no preparation. Compiling takes from half a minute to several on a small
machine, so it happens beside the work, in another process, and only the first time: later starts find what was made.
The models' engine changes between two batches, never within one, so what is recorded with a run is what ran it.
"""

import logging
import threading
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from django.conf import settings

from ml.choosing import choose
from ml.predictor import Predictor

logger = logging.getLogger(__name__)

# Held while a batch is predicted and its backend noted, and while an engine is exchanged.
engines_fixed = threading.Lock()

_reasons: WeakKeyDictionary[Predictor, str] = WeakKeyDictionary()
_trying: threading.Thread | None = None


def engines_improve(predictors: Iterable[Predictor], batch: int) -> None:
    """Start to look for a faster engine for whatever has not been tried; returns at once."""
    global _trying  # noqa: PLW0603 - one for each process
    untried = [predictor for predictor in predictors if predictor not in _reasons]
    if untried and (_trying is None or not _trying.is_alive()):
        _trying = threading.Thread(target=engine_improve, args=(untried[0], batch), name="backends", daemon=True)
        _trying.start()


def engine_improve(predictor: Predictor, batch: int) -> None:
    """Find the engine that is to serve, and exchange it between two batches."""
    try:
        choice = choose(predictor, settings.INFERENCE_BACKEND, batch, settings.INFERENCE_CACHE_DIR)
    except Exception as error:  # the worker serves on with what it has
        logger.exception("No faster backend could be tried")
        _reasons[predictor] = f"{predictor.backend} kept: {error!r}."
        return
    with engines_fixed:
        predictor.engine = choice.engine
        _reasons[predictor] = choice.reason
    logger.info("%s %s: %s", predictor.manifest.task, predictor.manifest.version, choice.reason)


def engine_reason(predictor: Predictor) -> str:
    """Why it runs as it does, once that was looked into."""
    return _reasons.get(predictor, "")
