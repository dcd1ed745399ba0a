"""ConfirmationResult: the best trials once more on fresh seeds beside controls, and what that proves."""
