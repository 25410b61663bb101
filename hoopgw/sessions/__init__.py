"""The life of a session: what all protocols' client legs share."""
