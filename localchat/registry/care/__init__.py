"""What becomes of a model that is installed: proved, mended, carried away, taken away."""
