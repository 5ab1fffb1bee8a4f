# mien without PyTorch: predicts and evaluates, offline.
#   docker build -t mien .
#   docker run --rm --network none -v "$PWD/photos:/work:ro" mien predict .
FROM python:3.11-slim

COPY . /source
RUN pip install --no-cache-dir /source && rm -rf /source && useradd --create-home mien

USER mien
WORKDIR /work
ENTRYPOINT ["mien"]
CMD ["--help"]
