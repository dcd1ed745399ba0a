"""The reasons why distillation helped or did not: checks of a study, and where its gain is."""
