"""What answers are written in: formats, packing, and tags by which an answer is known again."""
