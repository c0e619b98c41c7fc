# The server with the bundled model and English words; nothing is downloaded when it runs.
#
#   docker build -t streamser .
#   docker run --rm -p 127.0.0.1:8377:8377 streamser serve --host 0.0.0.0 --insecure
#
# How to let others in: docs/deploying.md.
FROM debian:trixie-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
RUN python3 -m venv /opt/streamser
WORKDIR /src
# What it needs, before what changes from day to day.
COPY pyproject.toml ./
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['words'], *p['optional-dependencies']['cluster'], sep='\n')" > requirements.txt \
 && /opt/streamser/bin/pip install --no-cache-dir -r requirements.txt
COPY README.md LICENSE ./
COPY configs configs
COPY demo_client demo_client
COPY streamser streamser
RUN /opt/streamser/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
 && /opt/streamser/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/streamser streamser
COPY --from=build /opt/streamser /opt/streamser
COPY deploy/health.py /opt/streamser/health.py
ENV PATH=/opt/streamser/bin:/usr/local/bin:/usr/bin:/bin
ENV PYTHONUNBUFFERED=1
# Words by Whisper tiny.en, which is in the image; -e STREAMSER_CONFIG=… takes another preset.
ENV STREAMSER_CONFIG=embedded
USER streamser
WORKDIR /var/lib/streamser
EXPOSE 8377
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python3", "/opt/streamser/health.py"]
ENTRYPOINT ["streamser"]
# Without tokens and TLS it refuses to start, and says so; no secret belongs into an image.
CMD ["serve", "--host", "0.0.0.0"]
