"""The backends that come with the library. Each is a package that imports its own driver."""
