"""Simulated labelers who do real tasks: what they answer, and the hands that send it."""
