"""Probe: does every searched parameter change anything?"""
