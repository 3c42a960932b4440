"""The promise under faults: real processes, a seeded plan of what is broken, every row accounted for at the end.

What lives here: `python -m tests.chaos` (scripts/chaos), its faults, its comparison, and the planted bugs by which it
is shown that it can fail. What does not: faults of one part, which are tests of that part.
"""
