"""The queue and what died in it, over HTTP."""
