"""Hold the captioners that a person may choose from; all but the configured one are loaded when first chosen."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""Seconds after a failure during which a model is not loaded again."""


class Model:
    """A captioner that a person may choose.

    name: the last part of its folder or Hub id, which people, the API and the history use.
    """

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self.name = Path(captioner.settings.model).name
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._warm = False

    @property
    def problem(self) -> str | None:
        """The reason why it writes no captions at present, in a few words; None if none is known."""
        return None if self._failed_at is None else "the model cannot be used"

    def load(self) -> Captioner:
        """Return the loaded captioner, which is warmed at first. After a failure it is tried again only after a while.

        The cause of a failure is only logged, for the operator.

        Raises:
            InputError: the model cannot be used.
        """
        with self._lock:
            failed = self._failed_at
            try:
                if failed is None or time.monotonic() - failed > RETRY_SECONDS:
                    if self._warm:
                        self.captioner.load()
                    else:
                        self.captioner.warm()
                    self._failed_at, self._warm = None, True
            except Exception as error:  # noqa: BLE001  a broken file can make a library raise anything
                logger.error("The model cannot be used: %s", error)  # noqa: TRY400  a sentence for the operator
                self._failed_at = time.monotonic()
            if self._failed_at is not None:
                raise InputError("The server cannot write captions at present; its operator finds why in the log.")
        return self.captioner

    def scores(self) -> Mapping[str, float]:
        """Return its scores by metric from `scores.json` beside its weights; empty without that file."""
        path = Path(self.captioner.settings.model) / "scores.json"
        if not path.is_file():
            return {}
        measured = json.loads(path.read_text(encoding="utf-8"))
        return {name: value for name, value in measured.items() if isinstance(value, float)}


class Models:
    """The captioners by name; the first is the configured one, which is the default.

    Args:
        captioner: the configured captioner.
        settings: `more_models` names the others.
    """

    def __init__(self, captioner: Captioner, settings: Settings) -> None:
        others = [source.strip() for source in settings.more_models.split(",") if source.strip()]
        captioners = [captioner, *(Captioner(settings.model_copy(update={"model": source})) for source in others)]
        self._models = {model.name: model for model in map(Model, captioners)}

    @property
    def default(self) -> Model:
        """The configured model."""
        return next(iter(self._models.values()))

    def __iter__(self) -> Iterator[Model]:
        """Return an iterator over all models, with the configured one first."""
        return iter(self._models.values())

    def get(self, name: str) -> Model:
        """Return the model of a name, or the configured one for an empty name.

        Raises:
            InputError: no model has that name.
        """
        if not name:
            return self.default
        if name in self._models:
            return self._models[name]
        raise InputError(f"model must be {' or '.join(self._models)}, not {name[:40]!r}.")
