# The two commands in a container, on the CPU:
#
#     docker build --tag experiments .
#     docker run --rm experiments                 train and track a mixture of experts
#     docker run --rm experiments make test       run the tests
#
# With a GPU: docker build --build-arg UV_TORCH_BACKEND=cu130 ..., and docker run --gpus all ...
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home learner
USER learner
WORKDIR /home/learner/experiments

# A layer of its own, made anew only where these files change.
ARG UV_TORCH_BACKEND=cpu
COPY --chown=learner pyproject.toml README.md LICENSE Makefile make.py dl_experiments.py ./
RUN make install && rm -rf ~/.cache

COPY --chown=learner . .
ENV PATH=/home/learner/experiments/.venv/bin:$PATH
CMD ["make", "moe"]
