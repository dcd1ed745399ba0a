"""The report of a study: one HTML page. Plain values go in, in ``page_input``; sections are made of blocks."""
