"""Registers the profiles of the property tests; nobody else's settings change."""

from __future__ import annotations

from hypothesis import settings
from property.profiles import PROFILES

for _name, _profile in PROFILES.items():
    settings.register_profile(f"property-{_name}", _profile)
