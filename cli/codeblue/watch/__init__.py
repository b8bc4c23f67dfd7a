"""Watching an inventory: looks at an even pace, for criteria that look back over minutes."""
