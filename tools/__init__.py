"""What measures the program and makes what comes with it; not part of the package."""
