"""Collectors: blocks from the topic into the database, each once, then acknowledged.

What lives here: what a collector does with a batch, and with a message that cannot be stored. What does not: SQL
(`store`), Redis (`broker`), settings (`config`).
"""
