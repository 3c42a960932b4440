"""Where readings come from: a CSV export today; each source turns a range of its rows into a Block."""
