"""What request handlers work with, kept on the app: nothing here is module state."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from telemetry.store.questions.reader import Reader
from webapi.options import ApiOptions
from webapi.queue.observer import Observer

_KEY = "telemetry"


@dataclass(frozen=True)
class Services:
    """The parts that every noun may use."""

    reader: Reader
    options: ApiOptions
    observer: Observer

    def attach(self, app: Flask) -> None:
        """Make them what `services()` gives in this app's requests."""
        app.extensions[_KEY] = self


def services() -> Services:
    """The services of the app that answers the current request."""
    return cast(Services, current_app.extensions[_KEY])
