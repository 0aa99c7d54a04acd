"""What goes in: driving frames, the photo, keypoints of other estimators."""
