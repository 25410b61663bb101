"""Programs that tests run as clients: Azure's own libraries, unchanged."""
