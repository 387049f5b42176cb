"""What is on the wire, after docs/wire.md: types, encodings, defaults. No I/O."""
