# The command line on a processor, as a user who is not root, in the folder that is given to it:
#
#   docker build -t resnets .
#   docker run --rm -v "$PWD:/work" resnets predict photo.jpg
#
# On x86-64, PyPI's torch brings gigabytes for GPUs. The index of torch's CPU builds stands on pytorch.org:
#
#   docker build -t resnets --build-arg TORCH_INDEX=... .
FROM python:3.13-slim-trixie AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim-trixie
ARG TORCH_INDEX=""
# The version is bounded; behind the index the linter does not see it.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "torch>=2.11,<2.14"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl "simplejpeg>=1.8" \
    && useradd --create-home --uid 1000 resnets
USER 1000
WORKDIR /work
ENTRYPOINT ["resnets"]
CMD ["--help"]
