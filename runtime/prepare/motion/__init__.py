"""Who is followed, and where the poses go."""
