"""The tab Objects: widgets that draw what the session says of single objects."""
