"""The probe: checks that every searched parameter has an effect on training."""
