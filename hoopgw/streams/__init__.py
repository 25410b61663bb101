"""What programs print: masked while it streams, and kept as it was shown."""
