# sa-serve on a CPU. Build it in the project's folder: docker build -f docs/containers/cpu.Dockerfile -t sa-serve .
FROM python:3.11-slim-bookworm
WORKDIR /opt/stableanimator
# What OpenCV's wheel takes from the system.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN python -m pip install --no-cache-dir --constraint constraints.txt '.[cpu,prepare,serve]' \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin sa \
    && install -d -o sa -g sa /data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["sa-serve", "--data", "/data/serve", "--host", "0.0.0.0"]
CMD ["--engines", "/engines", "--models", "/models", "--token", "/run/secrets/token"]
