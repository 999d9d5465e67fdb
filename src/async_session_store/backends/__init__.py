"""The backends that come with the library, each a module that imports its own driver."""
