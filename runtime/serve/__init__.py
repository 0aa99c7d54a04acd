"""sa-serve: jobs over HTTP, and a page to try them. FastAPI and its kin are imported in http/ alone."""
