"""Connects a front end to the engine of a model, starting one where none runs."""
