"""The tab Attention."""
