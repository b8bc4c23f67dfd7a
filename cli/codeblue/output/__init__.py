"""What a person or a program sees of a run: a live view, plain lines, or JSON lines."""
