"""How the commands speak and end."""
