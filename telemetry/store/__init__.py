"""The store: schema, ledger, dimensions, COPY in, the questions out. The only room that speaks SQL."""
