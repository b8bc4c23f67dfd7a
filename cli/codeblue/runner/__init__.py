"""Runs a runbook: one ansible-playbook through ansible-runner, watched, and judged by its record."""
