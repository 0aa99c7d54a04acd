"""The report's sections, one module each: `merge.py` puts them in order."""
