# mien without PyTorch: predicts, evaluates and serves, offline.
#   docker build -t mien .                                   # with other extras: --build-arg EXTRAS=serve,video,report
#   docker run --rm --network none -v "$PWD/photos:/work:ro" mien predict .
#   docker run --rm -p 127.0.0.1:8000:8000 -e MIEN_TOKEN mien serve --host 0.0.0.0     # MIEN_TOKEN: a secret of 16 characters or more
FROM python:3.11-slim

ARG EXTRAS=serve
COPY . /source
RUN pip install --no-cache-dir "/source[$EXTRAS]" && rm -rf /source && useradd --create-home mien

USER mien
WORKDIR /work
ENTRYPOINT ["mien"]
CMD ["--help"]
