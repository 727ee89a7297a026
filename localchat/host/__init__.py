"""The engine process: one per model file and load options, shared by every client of the user."""
