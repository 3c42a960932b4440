"""The REST API: one file per noun, over the store's reader.

What lives here: HTTP, and nothing else: parameters, pages, formats, problems, the contract. What does not: SQL
(`telemetry.store`), settings (`telemetry.config`; what this room needs of them is `ApiOptions`).
"""
