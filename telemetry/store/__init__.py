"""The store: schema, ledger, dimensions, COPY in, retention; `questions` come out. The only room that speaks SQL."""
