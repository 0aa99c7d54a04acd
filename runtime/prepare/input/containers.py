"""Opens video files, and nothing that they name."""

import av

# FFmpeg's readers of single files. Others, of playlists above all, open further files or addresses.
FORMATS = (
    *("apng", "asf", "av1", "avi", "dv", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mjpeg", "mov"),
    *("mpeg", "mpegts", "mpegvideo", "mxf", "nut", "obu", "ogg", "rm", "webm", "wtv", "yuv4mpegpipe"),
)


def open_container(path: str, **options: str) -> av.container.InputContainer:
    """path: absolute, because a name may look like an address. FFmpegError for what no known reader reads."""
    return av.open(path, options={"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS), **options})
