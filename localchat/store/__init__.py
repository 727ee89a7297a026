"""Conversations on disk: stored before they are answered, searchable, never lost."""
