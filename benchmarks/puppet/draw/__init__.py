"""Draws puppets: who they are, how they move, their pictures and pose images."""
