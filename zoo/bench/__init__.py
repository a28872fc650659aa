"""Measuring honestly: latency, memory, operations, and reports of them."""
