"""What can go wrong with a source."""


class SourceError(Exception):
    """Raised when a source cannot be read at all; the text names it and the remedy. Exit code 2."""


class SourceChanged(SourceError):
    """Raised when a file is no longer the one whose content was hashed."""
