"""Pages, figures and tables, one file or folder a subject; made from saved results only."""
