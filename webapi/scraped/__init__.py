"""What Prometheus scrapes at the API, beside what the API counts itself: the queue, the database, the GPUs."""
