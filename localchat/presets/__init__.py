"""Named presets: instructions, a model and sampling values, one TOML file each.

The shipped ones lie in this folder, the user's own in the configuration; a file of the user's takes
the place of the shipped one of its name.
"""
