"""Leaderboards: runs published as CSV files and rows, recomputed from those rows by whoever doubts them."""
