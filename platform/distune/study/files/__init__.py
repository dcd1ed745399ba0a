"""Files: the folder of a study and what lies in it."""
