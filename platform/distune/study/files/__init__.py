"""Files: the folder of a study and its contents."""
