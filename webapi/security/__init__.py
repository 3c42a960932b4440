"""Who may ask: bearer tokens, scopes, and pages of other origins."""
