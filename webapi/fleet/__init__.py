"""Questions about all GPUs at once."""
