"""Streamers: sources become blocks, reserved in the ledger and published to the topic.

What lives here: sources, the reservation of rows, pace, the loop. What does not: SQL (`store`), Redis
(`broker`), settings (`config`).
"""
