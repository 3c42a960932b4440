"""The benchmark: each figure beside its floor, in one run on one machine (`scripts/bench`)."""
