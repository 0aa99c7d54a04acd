# sa-serve on NVIDIA GPUs: docker build -f docs/containers/cuda.Dockerfile -t sa-serve-cuda . ; docker run --gpus all ...
# The wheels bring CUDA and cuDNN; the host brings the driver. `prepare` cannot be installed beside `cuda`, so this server
# takes prepared cases.
FROM python:3.11-slim-bookworm
WORKDIR /opt/stableanimator
COPY . .
RUN python -m pip install --no-cache-dir --constraint constraints.txt '.[cuda,serve]' \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin sa \
    && install -d -o sa -g sa /data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["sa-serve", "--data", "/data/serve", "--host", "0.0.0.0", "--device", "cuda"]
CMD ["--engines", "/engines", "--token", "/run/secrets/token"]
