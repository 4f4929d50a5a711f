"""Latency, accuracy and the report."""
