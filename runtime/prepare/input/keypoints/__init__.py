"""Keypoints of other estimators, in the formats people have them in (docs/prepare.md, "Keypoints")."""
