"""The input: driving frames, the photo, keypoints of other estimators."""
