# One image for web, worker and beat; docker-compose.yml says which is which. For the CPU; research use only.
FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# torch brings its GPU libraries along (about 3 GB) unless an index of CPU builds is given here.
ARG PIP_EXTRA_INDEX_URL=
COPY requirements.txt .
RUN pip install -r requirements.txt

COPY . .

# An account of its own that owns nothing but var/, where static files and beat's timetable live.
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin leukoscope \
    && mkdir -p var \
    && SECRET_KEY=only-while-building DATABASE_URL=postgres://nobody@localhost/none \
       python manage.py collectstatic --noinput -v0 \
    && chown -R leukoscope var
USER leukoscope

EXPOSE 8000
CMD ["python", "-m", "gunicorn", "-c", "python:portal.web_server"]
