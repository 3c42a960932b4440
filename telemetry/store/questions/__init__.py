"""What people ask the store: readings, steps, the fleet, newest values, what is new. It only reads; the API asks it."""
