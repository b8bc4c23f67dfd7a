"""Drills: break the lab with a runbook's fault, run that runbook, and measure from outside how it went."""
