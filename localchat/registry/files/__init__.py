"""The files of the models folder: named by their content, locked, hashed, half there."""
