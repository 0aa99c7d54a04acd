"""One folder per engine library: a traced network and its weights become engine files."""
