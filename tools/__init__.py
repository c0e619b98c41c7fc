"""What measures the program and makes what it carries; not part of it."""
