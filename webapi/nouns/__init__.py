"""What is asked about GPUs, their readings and steps of them: one file per noun."""
