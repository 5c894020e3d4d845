"""Runnable measurements, and their committed results."""
