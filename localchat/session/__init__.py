"""A conversation with an engine: text in, events out, everything kept as it happens.

What front ends stand on: they neither write to the store nor build requests themselves.
"""
