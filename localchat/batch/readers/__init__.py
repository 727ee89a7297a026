"""The formats of the input. Each reader turns a stream of bytes into records, one at a time.

What can't be read is a record with a fault, never an exception: one bad row stops nothing.
"""
