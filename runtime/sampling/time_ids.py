"""What the UNet is told of a video's rate and motion (docs/model.md, section 3)."""

FPS_ID = 6.0  # the model's frames-per-second id, 7 - 1; the written video may have another rate
MOTION_BUCKET_ID = 127.0
