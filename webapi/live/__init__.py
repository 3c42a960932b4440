"""The live tail: who listens, and what is told."""
