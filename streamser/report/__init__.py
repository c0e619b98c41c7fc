"""What a session was like, on one page that needs nothing else, and as plots for papers."""
