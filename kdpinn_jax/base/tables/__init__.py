"""Tables of numbers in files: what their columns are called, and their rows, block by block."""
